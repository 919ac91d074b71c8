package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// truncating is a Raft group that follows another site and has stored a truncate-to, which is not carried out yet.
type truncating struct {
	*powered
	g      *Group
	p      *producer
	index  uint64 // of the truncate-to
	offset int64
	kept   []byte // the records below it
}

// truncationCase says what was there.
type truncationCase struct {
	sizes    []int // of the data entries
	class    entry.Class
	snapshot uint64 // taken so far in front of the truncate-to; 0 = none
	keep     int    // of the batches
	midway   bool   // the entry of the last batch kept has another one, which goes
}

func newTruncating(t testing.TB, c truncationCase) *truncating {
	t.Helper()
	pw := &powered{t: t, w: &world{mem: vfs.NewMem(), level: 2}, dir: scratchDir(t)}
	pw.open()
	t.Cleanup(func() { pw.s.Close(false) })
	x := &truncating{powered: pw}
	x.g, x.p = pw.create(1, log.Options{SegmentBytes: 2500})
	x.p.state = x.g.State()
	entries := []Entry{x.p.noop(), x.p.epochBase()}
	for _, size := range c.sizes {
		if c.midway {
			for { // until it has two batches
				before := *x.p // but for its random numbers
				if e := x.p.data(size, c.class); twoBatches(t, e) {
					entries = append(entries, e)
					break
				}
				*x.p = before
			}
			continue
		}
		entries = append(entries, x.p.data(size, c.class))
	}
	for i := range entries {
		if err := x.g.Append(entries[i:i+1], x.stateAt(t, entries[:i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if c.snapshot != 0 {
		if err := x.g.SaveSnapshot(snapshotAt(x.g, c.snapshot)); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, x.g, x.p, x.p.follow(1, -1))
	list, _, err := batches(entries, 0)
	if err != nil {
		t.Fatal(err)
	}
	epoch := int32(-1)
	for _, b := range list[:c.keep] {
		x.kept, x.offset, epoch = append(x.kept, b.bytes...), b.last+1, b.epoch
	}
	mustAppend(t, x.g, x.p, x.p.truncateTo(x.offset, epoch))
	x.index = x.g.LastIndex()
	return x
}

func twoBatches(t testing.TB, e Entry) bool {
	var h entry.Header
	if err := h.Decode(e.Data); err != nil {
		t.Fatal(err)
	}
	return len(h.Rows) == 2
}

// stateAt is the admission state behind entries, which are all that the log has.
func (x *truncating) stateAt(t testing.TB, entries []Entry) entry.State {
	t.Helper()
	b := newBasis(2, 0)
	for i := range entries {
		if entries[i].Type != TypeCommand {
			continue
		}
		var h entry.Header
		if err := h.Decode(entries[i].Data); err != nil {
			t.Fatal(err)
		}
		if err := b.advance(&h); err != nil {
			t.Fatal(err)
		}
	}
	return b.State
}

// finish carries out the truncate-to as the machine's goroutine does behind a start, and goes on where the log ends.
func (x *truncating) finish(how string) {
	x.t.Helper()
	g := x.want(1, "")
	if g.mu.last != x.index {
		x.t.Fatalf("%s: the log ends at index %d, the truncation is at %d", how, g.mu.last, x.index)
	}
	if err := g.TruncateTo(x.index); err != nil {
		x.t.Fatalf("%s: %v", how, err)
	}
	if got := payloads(x.t, g); !bytes.Equal(got, x.kept) || g.Log().LogEnd() != x.offset {
		x.t.Fatalf("%s: %d bytes up to offset %d, want %d up to %d", how, len(got), g.Log().LogEnd(), len(x.kept), x.offset)
	}
	if _, err := g.Log().Read(x.offset+1, 1, x.offset+1, true); !errors.Is(err, log.ErrOffsetOutOfRange) {
		x.t.Fatalf("%s: read behind the end: %v", how, err)
	}
	p := newProducer(rand.New(rand.NewPCG(3, 3)), 0)
	p.resume(g.mu.last, x.p.term, g.State())
	mustAppend(x.t, g, p, p.follow(1, x.offset), p.linked(300, entry.Synced), p.linked(2000, entry.Synced))
	want := payloads(x.t, g)
	if !bytes.HasPrefix(want, x.kept) || len(want) <= len(x.kept)+2300 {
		x.t.Fatalf("%s: what comes behind: %d bytes", how, len(want))
	}
	for _, snapshot := range []uint64{0, x.index, g.mu.last} { // and again
		if snapshot != 0 {
			snap := snapshotAt(g, snapshot)
			snap.LogStart = g.Log().LogStart()
			if err := g.SaveSnapshot(snap); err != nil {
				x.t.Fatalf("%s: snapshot at %d: %v", how, snapshot, err)
			}
		}
		x.lose()
		g = x.want(1, "")
		if got := payloads(x.t, g); !bytes.Equal(got, want) {
			x.t.Fatalf("%s: behind a power loss, snapshot at %d: %d bytes, want %d", how, snapshot, len(got), len(want))
		}
	}
}

var truncationCases = map[string]truncationCase{
	"nothing goes":                  {sizes: []int{300, 300}, keep: 2},
	"all goes":                      {sizes: []int{300, 2000, 300}, keep: 0},
	"in front of the checkpoint":    {sizes: []int{300, 300, 300, 300}, snapshot: 5, keep: 1},
	"all, with a checkpoint":        {sizes: []int{300, 2000, 300, 2000}, snapshot: 5, keep: 0},
	"behind the checkpoint":         {sizes: []int{300, 300, 300, 300, 300, 300}, snapshot: 3, keep: 3},
	"many segments":                 {sizes: []int{2000, 2000, 300, 300, 2000, 2000, 2000, 300}, keep: 3},
	"many segments, checkpoint":     {sizes: []int{2000, 2000, 300, 300, 2000, 2000, 2000, 300}, snapshot: 9, keep: 2},
	"many segments, in front of it": {sizes: []int{2000, 2000, 2000, 2000, 2000, 2000, 300}, snapshot: 4, keep: 4},
	"cached":                        {sizes: []int{300, 2000, 2000, 300}, class: entry.Cached, keep: 2},
	"in the midst of an entry":      {sizes: []int{900, 900, 900}, keep: 3, midway: true},
	"in the midst, by reference":    {sizes: []int{2000, 2000, 2000}, snapshot: 4, keep: 1, midway: true},
}

// A power loss in front of each call that changes something: the next start, and what the Raft group does behind it, end in the same log.
func TestTruncateToIsFinishedFromEveryCrashPoint(t *testing.T) {
	for name, c := range truncationCases {
		t.Run(name, func(t *testing.T) {
			x := newTruncating(t, c)
			stop := x.gather(2, rand.New(rand.NewPCG(1, 2)))
			if err := x.g.TruncateTo(x.index); err != nil {
				t.Fatal(err)
			}
			if err := x.g.Log().Sync(); err != nil {
				t.Fatal(err)
			}
			states := append(stop(), x.capture())
			if len(states) < 4 {
				t.Fatalf("%d states", len(states))
			}
			for i, w := range states {
				x.goOn(w)
				x.finish(fmt.Sprintf("state %d of %d", i, len(states)))
			}
		})
	}
}

// A start that finishes a truncation may itself be cut short anywhere.
func TestStartThatFinishesATruncationCrashes(t *testing.T) {
	for _, name := range []string{"many segments, checkpoint", "all, with a checkpoint", "in the midst, by reference"} {
		t.Run(name, func(t *testing.T) {
			x := newTruncating(t, truncationCases[name])
			var begun *world
			x.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
				if begun == nil && c.Op&(vfs.OpTruncate|vfs.OpRemove) != 0 && strings.HasPrefix(c.Name, worldData) {
					begun = x.capture() // the journal has the record, the segments are whole
				}
				return vfs.Outcome{}
			})
			if err := x.g.TruncateTo(x.index); err != nil {
				t.Fatal(err)
			}
			if x.w.mem.SetHook(nil); begun == nil {
				t.Fatal("nothing was cut")
			}
			x.goOn(begun)
			x.s.Close(false)
			again := &world{mem: begun.mem.CrashClone(nil), meta: begun.meta}
			var states []*world
			again.mem.SetHook(func(c vfs.Call) vfs.Outcome {
				if c.Op&vfs.OpChanges != 0 && strings.HasPrefix(c.Name, worldData) {
					states = append(states, &world{mem: again.mem.CrashClone(nil), meta: begun.meta},
						&world{mem: again.mem.CrashClone(rand.New(rand.NewPCG(uint64(len(states)), 1))), meta: begun.meta})
				}
				return vfs.Outcome{}
			})
			s, err := again.start(x.dir)
			if err != nil {
				t.Fatal(err)
			}
			again.mem.SetHook(nil)
			s.Close(false)
			if len(states) == 0 {
				t.Fatal("the start changed nothing")
			}
			for i, w := range states {
				x.goOn(w)
				x.finish(fmt.Sprintf("state %d of %d", i, len(states)))
			}
		})
	}
}

// Nobody knows yet that a truncate-to is committed which is only stored: a start must leave the records alone.
func TestStoredTruncateToIsNotCarriedOutByAStart(t *testing.T) {
	x := newTruncating(t, truncationCase{sizes: []int{300, 2000, 300}, keep: 1})
	whole := payloads(t, x.g)
	for range 2 {
		x.lose()
		if got := payloads(t, x.want(1, "")); !bytes.Equal(got, whole) {
			t.Fatalf("%d bytes, want %d", len(got), len(whole))
		}
	}
	g := x.want(1, "")
	p := newProducer(rand.New(rand.NewPCG(3, 3)), 0)
	p.resume(g.mu.last, x.p.term, g.State())
	f := p.follow(1, x.offset)
	e := p.linked(300, entry.Synced)
	if err := g.Append([]Entry{f, e}, p.state); !errors.Is(err, ErrCut) {
		t.Fatalf("a payload behind it: %v", err)
	}
	x.lose()
	x.finish("carried out then")
}

// What a snapshot below the truncation would vouch for is gone; compaction would change what a start compares with.
func TestNothingIsSavedBelowATruncation(t *testing.T) {
	x := newTruncating(t, truncationCase{sizes: []int{2000, 2000, 2000, 2000, 2000, 2000, 300}, snapshot: 7, keep: 6})
	if err := x.g.TruncateTo(x.index); err != nil {
		t.Fatal(err)
	}
	if err := x.g.SaveSnapshot(snapshotAt(x.g, x.index-1)); !errors.Is(err, ErrCut) {
		t.Fatalf("snapshot below: %v", err)
	}
	segments := x.g.Log().Segments()
	if len(segments) < 3 {
		t.Fatalf("%d segments", len(segments))
	}
	if err := x.g.ReplaceSegments(writeSwap(t, x.g, segments[0].Base, segments[1].Base)); !errors.Is(err, log.ErrInvalid) {
		t.Fatalf("compaction: %v", err)
	}
	if index, offset, ok := x.g.Truncated(); !ok || index != x.index || offset != x.offset {
		t.Fatalf("truncated at %d to %d, %v", index, offset, ok)
	}
	select {
	case <-x.s.CheckpointC():
	default:
		t.Error("no checkpoint is due")
	}
	if err := x.g.SetVote(Vote{Term: 9, VotedTerm: 9, Candidate: "2@disk"}); err != nil { // a row is stored for it all the same
		t.Fatal(err)
	}
	if err := x.g.saveRow(); err != nil {
		t.Fatal(err)
	}
	x.lose()
	x.p.term = 9
	x.finish("with a row of a vote")
}

// The carried copies of the records that pin the journal have the truncation among them.
func TestTruncationSurvivesACarry(t *testing.T) {
	x := newTruncating(t, truncationCase{sizes: []int{300, 2000, 300}, keep: 1})
	if err := x.g.TruncateTo(x.index); err != nil {
		t.Fatal(err)
	}
	done, err := x.s.journal.CarryAll([]journal.Live{{Group: x.g.id, From: x.g.needs()}})
	if err != nil || done[0].Err != nil {
		t.Fatal(done, err)
	}
	x.lose()
	if got := payloads(t, x.want(1, "")); !bytes.Equal(got, x.kept) {
		t.Fatalf("%d bytes, want %d", len(got), len(x.kept))
	}
	x.finish("carried")
}

// A directory of level 1 that has the record is refused, as with every kind of a later level.
func TestVoidPayloadsIsRefusedAtLevelOne(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	v := journal.Voided{From: 1, To: 2}
	if _, err := s.journal.Append([]journal.Record{journal.VoidPayloadsRecord(g.id, &v)}, true).Wait(); err != nil {
		t.Fatal(err)
	}
	s.Close(false)
	if _, err := Open(o); !errors.Is(err, journal.ErrKind) || !strings.Contains(err.Error(), "kind 6") {
		t.Fatalf("got %v", err)
	}
}

// A log that begins above the offset is empty behind the truncation, and goes on there.
func TestTruncateToBelowTheLogStart(t *testing.T) {
	x := newTruncating(t, truncationCase{sizes: []int{2000, 2000, 2000, 300}, keep: 1})
	if err := x.g.Log().SetLogStart(x.g.Log().LogEnd() - 1); err != nil {
		t.Fatal(err)
	}
	snap := snapshotAt(x.g, x.index-1)
	snap.LogStart = x.g.Log().LogStart()
	if err := x.g.SaveSnapshot(snap); err != nil {
		t.Fatal(err)
	}
	if n, err := x.g.Log().DeleteBelow(snap.LogStart); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	stop := x.gather(1, rand.New(rand.NewPCG(1, 2)))
	if err := x.g.TruncateTo(x.index); err != nil {
		t.Fatal(err)
	}
	states := append(stop(), x.capture())
	x.kept = nil
	for i, w := range states {
		x.goOn(w)
		x.finish(fmt.Sprintf("state %d of %d", i, len(states)))
	}
}

// The positions of compaction do not outlive the records: others come in their place.
func TestTruncationForgetsWhatWasCompacted(t *testing.T) {
	o := testOptions(t.TempDir())
	o.FormatLevel = 2
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	p.state = g.State()
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced), p.data(100, entry.Synced), p.follow(1, -1))
	name := filepath.Join(g.Log().Dir(), "cleaner-offset-checkpoint")
	if err := os.WriteFile(name, fmt.Appendf(nil, "0\n1\ntopic 1 %d\n", g.Log().LogEnd()), 0o644); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, g, p, p.truncateTo(0, -1))
	if err := g.TruncateTo(g.LastIndex()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s: %v", name, err)
	}
}

// The n-th call of a truncation fails, for every n: either it is said, and a start puts it right, or it did not matter.
func TestEveryCallOfATruncationFails(t *testing.T) {
	for _, name := range []string{"many segments, checkpoint", "all, with a checkpoint", "cached"} {
		for n := 0; ; n++ {
			x := newTruncating(t, truncationCases[name])
			f := &vfs.Fault{Ops: vfs.OpChanges, N: n, Err: syscall.EIO, Short: n % 50}
			x.w.mem.SetHook(f.Hook)
			err := x.g.TruncateTo(x.index)
			x.w.mem.SetHook(nil)
			if err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s, call %d: the cause is lost: %v", name, n, err)
			}
			if f.Hit() && err != nil && x.s.Failed() == nil {
				t.Fatalf("%s, call %d failed, and the store goes on: %v", name, n, err)
			}
			left := []*world{x.capture(), capture(x.w.mem, x.dir, x.s, model{}, rand.New(rand.NewPCG(uint64(n), 1)), "")}
			for i, w := range left {
				x.goOn(w)
				x.finish(fmt.Sprintf("%s, call %d failed, state %d", name, n, i))
			}
			x.s.Close(false)
			if !f.Hit() {
				break
			}
		}
	}
}

// A full disk has no room for what lies beside the segments: the truncation goes through, and a start makes that again.
func TestTruncationOnAFullDisk(t *testing.T) {
	x := newTruncating(t, truncationCases["many segments"])
	full := 0
	x.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op == vfs.OpWrite && strings.HasPrefix(c.Name, worldData) && !strings.HasSuffix(c.Name, ".log") {
			full++
			return vfs.Outcome{Err: syscall.ENOSPC}
		}
		return vfs.Outcome{}
	})
	if err := x.g.TruncateTo(x.index); err != nil || full == 0 {
		t.Fatalf("%d writes refused, %v", full, err)
	}
	x.w.mem.SetHook(nil)
	x.lose()
	x.finish("behind a full disk")
}
