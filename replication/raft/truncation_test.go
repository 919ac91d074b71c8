package raft

import (
	"bytes"
	"errors"
	"testing"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage/entry"
)

// cutter is a machine that looks at the log when a truncate-to is applied, and may hold it up there.
type cutter struct {
	recorder
	g       *Group
	ends    []int64 // log end offset at each
	entered chan struct{}
	held    chan struct{} // nil = does not wait
	err     error         // what it answers
}

func (m *cutter) Apply(index uint64, h *entry.Header) any {
	if h.Kind == entry.TruncateTo {
		m.ends = append(m.ends, m.g.sg.Log().LogEnd())
		if m.held != nil {
			close(m.entered)
			<-m.held
		}
		if m.err != nil {
			return m.err
		}
	}
	return m.recorder.Apply(index, h)
}

func truncateTo(offset int64) *entry.Header {
	return &entry.Header{Kind: entry.TruncateTo, SiteEpoch: 1, Body: entry.Truncation{Offset: offset}.Append(nil)}
}

// The tail of a returning site goes, by the log alone: records, lineage, durable end; and the other site's come in its place.
func TestTruncateToEndToEnd(t *testing.T) {
	for name, checkpoint := range map[string]bool{"from the entries": false, "from a checkpoint in front of it": true} {
		t.Run(name, func(t *testing.T) {
			d := newSitesDisk(t)
			b := d.start(t, Options{})
			m := &cutter{}
			g := b.openGroup(t, 1, m, 0)
			m.g = g
			for range 6 {
				mustCommit(t, g, 1)
			}
			kept := readAt(t, g, 0)
			if checkpoint {
				if err := b.Checkpoint(context20(t)); err != nil {
					t.Fatal(err)
				}
			}
			follow(t, g, 1, -1)
			if _, err := g.Propose(truncateTo(2), nil, nil).Wait(context20(t)); err != nil {
				t.Fatal(err)
			}
			v := g.Sites()
			if len(m.ends) != 1 || m.ends[0] != 2 || v.Durable != v.Tip || v.Tip.NextOffset != 2 ||
				v.Tip.Cut != (entry.Cut{SiteEpoch: 1, Offset: 2}) || v.Lineage.Spans[0].End != 2 {
				t.Fatalf("ends %v, tip %+v, durable %+v, lineage %+v", m.ends, v.Tip, v.Durable, v.Lineage)
			}
			follow(t, g, 1, 2)
			h, payload := shipped(t, 2, 40, 2, 1<<entry.LeaderEpochBits)
			want := append(kept[:len(kept)/3:len(kept)/3], payload...)
			if err := link(t, g, 1, h, payload); err != nil {
				t.Fatal(err)
			}
			before := g.Sites()
			for range 2 {
				b.stop(t)
				b = d.start(t, Options{})
				g, err := b.Open(groupID(1), &recorder{}, Boot{})
				if err != nil {
					t.Fatal(err)
				}
				if err := g.WaitReady(context20(t)); !errors.Is(err, ErrNotLeader) {
					t.Fatal(err)
				}
				if got := readAt(t, g, 0); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, want %d", len(got), len(want))
				}
				now := g.Sites()
				if now.Tip != before.Tip || now.Durable != before.Tip || now.Lineage.Spans[0] != before.Lineage.Spans[0] || len(now.Lineage.Spans) != 2 {
					t.Fatalf("%+v, was %+v", now, before)
				}
				if err := b.Checkpoint(context20(t)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Nothing is stored behind a truncate-to before it is carried out: its records would stand behind those that are to go.
func TestTruncateToIsABarrier(t *testing.T) {
	b := newSitesDisk(t).start(t, Options{})
	m := &cutter{entered: make(chan struct{}), held: make(chan struct{})}
	g := b.openGroup(t, 1, m, 0)
	m.g = g
	mustCommit(t, g, 3)
	follow(t, g, 1, -1)
	last := g.sg.LastIndex()
	f := g.Propose(truncateTo(0), nil, nil)
	wantVoid(t, control(t, g, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: 0}.Append(nil)), entry.VoidSequence) // stored or not
	<-m.entered
	wantVoid(t, control(t, g, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: 0}.Append(nil)), entry.VoidSequence)
	if g.sg.LastIndex() != last+1 {
		t.Fatalf("%d entries behind the truncation", g.sg.LastIndex()-last-1)
	}
	close(m.held)
	if _, err := f.Wait(context20(t)); err != nil {
		t.Fatal(err)
	}
	follow(t, g, 1, 0)
	h, payload := shipped(t, 1, 10, 0, 1<<entry.LeaderEpochBits)
	if err := link(t, g, 1, h, payload); err != nil {
		t.Fatal(err)
	}
}

// A follower learns late that a truncate-to is committed: records that the leader sends behind it say so.
func TestFollowerCarriesOutATruncateToInFrontOfRecords(t *testing.T) {
	for name, chunk := range map[string]int{"in one append": 3, "one by one": 1} {
		t.Run(name, func(t *testing.T) {
			b := newSitesDisk(t).start(t, Options{})
			g := b.openGroup(t, 1, &recorder{}, 0)
			mustCommit(t, g, 1)
			kept := readAt(t, g, 0)
			mustCommit(t, g, 3)
			follow(t, g, 1, -1)
			s := newLogStoreView(g)
			s.state = g.sg.State()
			term, _ := g.Leads()
			linked, payload := shipped(t, 2, 40, 1, 1<<entry.LeaderEpochBits)
			linked.SiteEpoch = 1
			if err := linked.CheckLinked(payload); err != nil {
				t.Fatal(err)
			}
			var logs []*hraft.Log
			for i, h := range []*entry.Header{truncateTo(1), {Kind: entry.Follow, SiteEpoch: 1, Body: entry.Followed{SiteEpoch: 1, Shared: 1}.Append(nil)}, linked} {
				h.ValidatedTerm, h.AppendSequence = term, s.state.AppendSequence+1+uint64(i)
				l := &hraft.Log{Index: g.sg.LastIndex() + 1 + uint64(i), Term: term, Data: h.Append(nil)}
				if h == linked {
					l.Extensions = bytes.Clone(payload)
				}
				logs = append(logs, l)
			}
			for i := 0; i < len(logs); i += chunk {
				if err := s.StoreLogs(logs[i : i+chunk]); err != nil {
					t.Fatal(err)
				}
			}
			if got := readAt(t, g, 0); !bytes.Equal(got, append(kept, payload...)) || g.sg.Log().LogEnd() != 3 {
				t.Fatalf("%d bytes up to offset %d", len(got), g.sg.Log().LogEnd())
			}
		})
	}
}

// A machine that cannot follow the cut has no state to serve from.
func TestMachineThatCannotBeCutEndsTheGroup(t *testing.T) {
	b := newSitesDisk(t).start(t, Options{})
	m := &cutter{err: errors.New("cannot read")}
	g := b.openGroup(t, 1, m, 0)
	m.g = g
	mustCommit(t, g, 3)
	follow(t, g, 1, -1)
	if _, err := g.Propose(truncateTo(0), nil, nil).Wait(context20(t)); !errors.Is(err, ErrOffline) {
		t.Fatalf("got %v", err)
	}
	if err := g.Offline(); !errors.Is(err, m.err) {
		t.Fatalf("offline: %v", err)
	}
}
