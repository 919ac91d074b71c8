package raft

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// newSitesDisk is a data directory of format level 2.
func newSitesDisk(t testing.TB) *disk {
	d := newDisk(t)
	d.level = entry.LevelSites
	return d
}

// control proposes a command of a link and waits until it is applied.
func control(t testing.TB, g *Group, kind entry.Kind, siteEpoch uint32, body []byte) error {
	t.Helper()
	settled(t, g)
	_, err := g.Propose(&entry.Header{Kind: kind, SiteEpoch: siteEpoch, Body: body}, nil, nil).Wait(context20(t))
	return err
}

// settled waits until a void is behind the Group: it is told of a moment before the next proposal is taken.
func settled(t testing.TB, g *Group) {
	t.Helper()
	eventually(t, "nothing in flight behind a void", func() bool { return !g.Draining() })
}

func mustControl(t testing.TB, g *Group, kind entry.Kind, siteEpoch uint32, body []byte) {
	t.Helper()
	if err := control(t, g, kind, siteEpoch, body); err != nil {
		t.Fatalf("kind %d of site epoch %d: %v", kind, siteEpoch, err)
	}
}

func follow(t testing.TB, g *Group, siteEpoch uint32, shared int64) {
	t.Helper()
	mustControl(t, g, entry.Follow, siteEpoch, entry.Followed{SiteEpoch: siteEpoch, Shared: shared}.Append(nil))
}

func promote(t testing.TB, g *Group, siteEpoch uint32, base int64) {
	t.Helper()
	mustControl(t, g, entry.Promote, siteEpoch, entry.Promotion{SiteEpoch: siteEpoch, Base: base, Shared: -1}.Append(nil))
}

func epochBase(t testing.TB, g *Group, siteEpoch uint32) {
	t.Helper()
	term, _ := g.Leads()
	mustControl(t, g, entry.EpochBase, siteEpoch, entry.EpochBaseBody(term, 0))
}

// shipped is a batch of count records as the other site has stored it.
func shipped(t testing.TB, count, size int, offset int64, epoch int32) (*entry.Header, []byte) {
	t.Helper()
	_, payload := batch(t, count, size)
	b := record.Batch(payload)
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(epoch)
	rows, _, err := entry.RowsOf(payload)
	if err != nil {
		t.Fatal(err)
	}
	return &entry.Header{Kind: entry.Data, Rows: rows, PayloadLength: uint32(len(payload))}, payload
}

func link(t testing.TB, g *Group, siteEpoch uint32, h *entry.Header, payload []byte) error {
	t.Helper()
	h.SiteEpoch = siteEpoch
	settled(t, g)
	_, err := g.Propose(h, payload, nil).Wait(context20(t))
	return err
}

func wantVoid(t testing.TB, err error, reason entry.VoidReason) {
	t.Helper()
	var void *VoidError
	if !errors.As(err, &void) || !errors.Is(err, ErrVoid) || void.Reason != reason {
		t.Fatalf("got %v, want a void: %v", err, reason)
	}
}

// bodies is a machine that keeps the newest entry.
type bodies struct {
	recorder
	last atomic.Pointer[entry.Header]
}

func (m *bodies) Apply(index uint64, h *entry.Header) any {
	c := *h
	c.Body, c.Rows = bytes.Clone(h.Body), slices.Clone(h.Rows)
	m.last.Store(&c)
	return m.recorder.Apply(index, h)
}

// The offset where a planned promotion goes on is the one of the log when the fence is stored, in the log and at the machine.
func TestFenceIsStoredWithItsStamp(t *testing.T) {
	b := newSitesDisk(t).start(t, Options{})
	m := &bodies{}
	g := b.openGroup(t, 1, m, 0)
	mustCommit(t, g, 3)
	f := g.Propose(&entry.Header{Kind: entry.Fence, Class: entry.Cached, Body: entry.Fencing{Target: 5, Next: -1}.Append(nil)}, nil, nil)
	if _, err := f.Wait(context20(t)); err != nil {
		t.Fatal(err)
	}
	e, _ := g.sg.Entry(g.sg.LastIndex())
	var h entry.Header
	if err := h.Decode(e.Data); err != nil {
		t.Fatal(err)
	}
	stored, err := entry.ParseFencing(h.Body)
	if want := (entry.Fencing{Target: 5, Next: 3}); err != nil || stored != want || h.Class != entry.Synced {
		t.Fatalf("stored %+v of class %d, %v", stored, h.Class, err)
	}
	if at, err := entry.ParseFencing(m.last.Load().Body); err != nil || at != stored {
		t.Fatalf("the machine saw %+v, %v", at, err)
	}
	f, _ = propose(t, g, 1, 10)
	_, err = f.Wait(context20(t))
	wantVoid(t, err, entry.VoidFenced)
	if v := g.Sites(); v.Tip.FenceTarget != 5 || v.Durable != v.Tip {
		t.Fatalf("tip %+v, durable %+v", v.Tip, v.Durable)
	}
	mustControl(t, g, entry.Unfence, 0, entry.UnfenceBody(5))
	if at := mustCommit(t, g, 1); at != 3 {
		t.Fatalf("behind the fence at offset %d", at)
	}
}

// What a link ships keeps offsets, epochs and bytes, and comes in only while the log follows and was compared.
func TestLinkedDataIsStoredAsItCame(t *testing.T) {
	b := newSitesDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	mustCommit(t, g, 2)
	epoch := int32(1<<entry.LeaderEpochBits | 3)
	h, payload := shipped(t, 2, 10, 100, epoch)
	wantVoid(t, link(t, g, 0, h, payload), entry.VoidRole)
	follow(t, g, 1, -1)
	h, payload = shipped(t, 2, 10, 100, epoch)
	wantVoid(t, link(t, g, 1, h, payload), entry.VoidRole)
	follow(t, g, 1, 2)
	for _, size := range []int{10, 50_000} { // inline, and by reference
		at := g.Sites().Tip.NextOffset + 98
		h, payload = shipped(t, 3, size, at, epoch)
		want := bytes.Clone(payload)
		if err := link(t, g, 1, h, payload); err != nil {
			t.Fatal(err)
		}
		if got := readAt(t, g, at); !bytes.Equal(got, want) {
			t.Fatalf("stored %d bytes, shipped were %d", len(got), len(want))
		}
		if v := g.Sites(); v.Durable != v.Tip || v.Tip.NextOffset != at+3 || v.Tip.LastEpoch != epoch {
			t.Fatalf("tip %+v, durable %+v", v.Tip, v.Durable)
		}
	}
	last := g.sg.LastIndex()
	h, payload = shipped(t, 1, 10, 1000, epoch)
	record.Batch(payload).SetLeaderEpoch(epoch + 1)
	if err := link(t, g, 1, h, payload); !errors.Is(err, ErrLinked) {
		t.Fatalf("a batch of another epoch than its row's: %v", err)
	}
	if g.sg.LastIndex() != last {
		t.Fatal("it is in the log")
	}
	h, payload = shipped(t, 1, 10, 50, epoch)
	wantVoid(t, link(t, g, 1, h, payload), entry.VoidLink)
	h, payload = shipped(t, 1, 10, 2000, 2<<entry.LeaderEpochBits)
	wantVoid(t, link(t, g, 1, h, payload), entry.VoidSiteEpoch)
	h, payload = shipped(t, 1, 10, 2000, epoch)
	wantVoid(t, link(t, g, 0, h, payload), entry.VoidSiteEpoch) // the site epoch is the proposal's own
	f, _ := propose(t, g, 1, 10)
	if _, err := f.Wait(context20(t)); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("a produce into a log that follows: %v", err)
	}
}

// The machine leads where the log is its site's to write: not behind a follow, nor behind a promote without its epoch base.
func TestServingGoesByTheRoleOfTheLog(t *testing.T) {
	d := newSitesDisk(t)
	b := d.start(t, Options{})
	m := &recorder{}
	g := b.openGroup(t, 1, m, 0)
	roles := func(want ...string) {
		t.Helper()
		eventually(t, "the machine's role", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return slices.Equal(m.mu.roles, want)
		})
	}
	roles("leading")
	follow(t, g, 1, -1)
	if _, _, ok := g.Serving(); ok {
		t.Fatal("serves behind a follow")
	}
	if _, ok := g.Leads(); !ok {
		t.Fatal("does not lead behind a follow")
	}
	if err := g.WaitReady(context20(t)); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("WaitReady: %v", err)
	}
	roles("leading", "following")
	promote(t, g, 5, entry.BandStart(5))
	if _, _, ok := g.Serving(); ok {
		t.Fatal("serves without an epoch base")
	}
	epochBase(t, g, 5)
	if err := g.WaitReady(context20(t)); err != nil {
		t.Fatal(err)
	}
	if _, epoch, ok := g.Serving(); !ok || epoch != 5<<entry.LeaderEpochBits {
		t.Fatalf("serves with leader epoch %d, %v", epoch, ok)
	}
	roles("leading", "following", "leading")
	if at := mustCommit(t, g, 1); at != entry.BandStart(5) {
		t.Fatalf("first offset %d", at)
	}
	if n := len(g.sg.Log().Segments()); n != 2 {
		t.Fatalf("%d segments, the first offset of a band begins one", n)
	}
	// A promote whose epoch base was never written: the next leadership writes it.
	promote(t, g, 9, entry.BandStart(9))
	bases := m.count(entry.EpochBase)
	b.stop(t)
	b = d.start(t, Options{})
	m2 := &recorder{}
	g = b.openGroup(t, 1, m2, 0)
	if _, epoch, ok := g.Serving(); !ok || epoch != 9<<entry.LeaderEpochBits || m2.count(entry.EpochBase) != bases+1 {
		t.Fatalf("leader epoch %d, %v, %d epoch bases", epoch, ok, m2.count(entry.EpochBase))
	}
	// And none is written while the log follows.
	follow(t, g, 10, -1)
	b.stop(t)
	b = d.start(t, Options{})
	m3 := &recorder{}
	g, err := b.Open(groupID(1), m3, Boot{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(context20(t)); !errors.Is(err, ErrNotLeader) || m3.count(entry.EpochBase) != bases+1 {
		t.Fatalf("WaitReady: %v, %d epoch bases", err, m3.count(entry.EpochBase))
	}
	if term, ok := g.Leads(); !ok || term != g.Sites().Term {
		t.Fatalf("leads in term %d, %v", term, ok)
	}
}

// A standby's new log must be able to follow site epoch 0: it gets no epoch base of its own.
func TestHeldLogWaitsForItsFollow(t *testing.T) {
	b := newSitesDisk(t).start(t, Options{HoldEpochBase: func(storage.GroupID) bool { return true }})
	m := &recorder{}
	g, err := b.Open(groupID(1), m, Boot{Folder: "t-1", LogOptions: log.Options{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(context20(t)); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	follow(t, g, 0, -1)
	follow(t, g, 0, 0)
	h, payload := shipped(t, 1, 10, 4, 0)
	if err := link(t, g, 0, h, payload); err != nil {
		t.Fatal(err)
	}
	if m.count(entry.EpochBase) != 0 || g.Sites().Durable.NextOffset != 5 {
		t.Fatalf("%d epoch bases, %+v", m.count(entry.EpochBase), g.Sites().Durable)
	}
	// The metadata Raft group is each site's own.
	meta, err := b.Open(entry.MetadataGroup, &recorder{}, Boot{})
	if err != nil {
		t.Fatal(err)
	}
	if err := meta.WaitReady(context20(t)); err != nil {
		t.Fatal(err)
	}
}

// Cached data is acknowledged from page caches: a link must not ship it before it is on disk.
func TestDurableLeavesOutWhatIsCached(t *testing.T) {
	for name, size := range map[string]int{"inline": 10, "by reference": 50_000} {
		t.Run(name, func(t *testing.T) {
			d := newSitesDisk(t)
			b := d.start(t, Options{})
			g := b.openGroup(t, 1, &recorder{}, 0)
			var changes atomic.Int32
			g.OnChange(func() { changes.Add(1) })
			write := func(class entry.Class) {
				h, payload := batch(t, 1, size)
				h.Class = class
				if _, err := g.Propose(h, payload, nil).Wait(context20(t)); err != nil {
					t.Fatal(err)
				}
			}
			write(entry.Synced)
			if v := g.Sites(); v.Durable != v.Tip || v.Durable.NextOffset != 1 {
				t.Fatalf("tip %+v, durable %+v", v.Tip, v.Durable)
			}
			write(entry.Cached)
			write(entry.Cached)
			v := g.Sites()
			if v.Tip.NextOffset != 3 || v.Durable.NextOffset != 1 || v.Lineage.Spans[0].End != 1 {
				t.Fatalf("tip %+v, durable %+v, lineage %+v", v.Tip, v.Durable, v.Lineage)
			}
			changes.Store(0)
			if err := g.MakeDurable(); err != nil {
				t.Fatal(err)
			}
			if v := g.Sites(); v.Durable != v.Tip || v.Lineage.Spans[0].End != 3 || changes.Load() == 0 {
				t.Fatalf("tip %+v, durable %+v, %d changes", v.Tip, v.Durable, changes.Load())
			}
			write(entry.Cached)
			write(entry.Synced) // all before it as well
			if v := g.Sites(); v.Durable != v.Tip || v.Durable.NextOffset != 5 {
				t.Fatalf("tip %+v, durable %+v", v.Tip, v.Durable)
			}
			write(entry.Cached)
			if err := b.Checkpoint(context20(t)); err != nil {
				t.Fatal(err)
			}
			if v := g.Sites(); v.Durable != v.Tip || v.Lineage.Spans[0].End != 6 {
				t.Fatalf("behind a checkpoint: tip %+v, durable %+v", v.Tip, v.Durable)
			}
		})
	}
}

// The lineage comes back from checkpoint and entries, in any mixture of the two.
func TestLineageSurvivesRestarts(t *testing.T) {
	d := newSitesDisk(t)
	var want SitesView
	steps := []func(g *Group){
		func(g *Group) { mustCommit(t, g, 3) },
		func(g *Group) { follow(t, g, 1, -1); follow(t, g, 1, 3) },
		func(g *Group) {
			h, payload := shipped(t, 2, 10, entry.BandStart(1), 1<<entry.LeaderEpochBits)
			if err := link(t, g, 1, h, payload); err != nil {
				t.Fatal(err)
			}
		},
		func(g *Group) { promote(t, g, 4, entry.BandStart(4)); epochBase(t, g, 4) },
		func(g *Group) { mustCommit(t, g, 1) },
		func(g *Group) {
			mustControl(t, g, entry.Fence, 4, entry.Fencing{Target: 5, Next: -1}.Append(nil))
		},
		func(*Group) {},
	}
	for i, step := range steps {
		b := d.start(t, Options{})
		g, err := b.Open(groupID(1), &recorder{}, Boot{Folder: "t-1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.WaitReady(context20(t)); err != nil && !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
		v := g.Sites()
		if i > 0 && (!reflect.DeepEqual(v.Lineage.Spans, want.Lineage.Spans) || v.Tip != want.Tip || v.Durable != v.Tip) {
			t.Fatalf("start %d: lineage %+v, was %+v;\ntip %+v,\nwas %+v", i, v.Lineage, want.Lineage, v.Tip, want.Tip)
		}
		step(g)
		if i%2 == 1 {
			if err := b.Checkpoint(context20(t)); err != nil {
				t.Fatal(err)
			}
		}
		want = g.Sites()
		b.stop(t)
	}
	if spans := want.Lineage.Spans; len(spans) != 3 || spans[0].End != 3 || spans[1].Shared != 3 || spans[1].Start != entry.BandStart(1) ||
		spans[2].Base != entry.BandStart(4) || spans[2].End != entry.BandStart(4)+1 || want.Tip.FenceTarget != 5 {
		t.Fatalf("lineage %+v", spans)
	}
}

// An old directory is opened at level 2 and its log goes over to the other site.
func TestLogOfLevelOneIsRaised(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 7)
	mustCommit(t, g, 4)
	if err := control(t, g, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: -1}.Append(nil)); !errors.Is(err, ErrLevel) {
		t.Fatalf("a follow at level 1: %v", err)
	}
	if v := g.Sites(); v.Tip != (entry.State{}) {
		t.Fatalf("%+v", v)
	}
	if err := b.Checkpoint(context20(t)); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, g, 1)
	b.stop(t)
	d.level = 2
	b = d.start(t, Options{})
	g = b.openGroup(t, 1, &recorder{}, 7)
	mustCommit(t, g, 1)
	span := entry.EpochSpan{SiteEpoch: 0, FirstEpoch: 7, Base: -1, Shared: -1, Start: 0, End: 6}
	if v := g.Sites(); len(v.Lineage.Spans) != 1 || v.Lineage.Spans[0] != span || v.Tip.Level != 2 || v.Durable != v.Tip {
		t.Fatalf("%+v", v)
	}
	follow(t, g, 1, -1)
	if v := g.Sites(); v.Tip.Role != entry.Following || v.Durable != v.Tip {
		t.Fatalf("%+v", v)
	}
}
