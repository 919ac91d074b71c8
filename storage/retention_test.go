package storage

import (
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Retention is interrupted at every call: what lies above the log start offset is all there, and the partition is online.
func TestPowerLossDuringRetention(t *testing.T) {
	for _, all := range []bool{false, true} {
		pw := newPowered(t)
		g, p := pw.create(1, log.Options{SegmentBytes: 5000})
		mustAppend(t, g, p, p.noop(), p.epochBase())
		for range 12 {
			mustAppend(t, g, p, p.data(2000, entry.Synced))
		}
		if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
		if !all {
			mustAppend(t, g, p, p.data(2000, entry.Synced), p.data(300, entry.Synced))
		}
		segments := g.Log().Segments()
		start := segments[len(segments)/2].Base
		if all {
			start = g.State().NextOffset
		}
		if err := g.Log().SetLogStart(start); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, g, p, p.command(entry.Header{Kind: entry.LogStart, Body: entry.LogStartBody(start)}, nil))
		snap := snapshotAt(g, g.LastIndex())
		snap.LogStart = start
		if err := g.SaveSnapshot(snap); err != nil {
			t.Fatal(err)
		}
		if all {
			mustAppend(t, g, p, p.noop())
		}
		rng := rand.New(rand.NewPCG(1, 2))
		stop := pw.gather(6, rng)
		n, err := g.Log().DeleteBelow(min(snap.LogStart, g.RetainFrom()))
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		mustAppend(t, g, p, p.data(900, entry.Cached), p.data(900, entry.Cached))
		mustAppend(t, g, p, p.data(900, entry.Synced))
		for _, w := range stop() {
			pw.goOn(w)
			g := pw.want(1, "")
			if g.Log().LogStart() != start {
				t.Fatalf("start %d", g.Log().LogStart())
			}
			payloads(t, g)
			for range 2 {
				p.resume(g.mu.last, p.term, g.State())
				mustAppend(t, g, p, p.noop(), p.data(900, entry.Synced))
				before := contents(t, g)
				pw.lose()
				g = pw.want(1, before)
			}
		}
	}
}

// DeleteRecords moves the log start into a segment, behind the checkpoint: what the last checkpoint's log start does not cover stays,
// so that no start misses it, and what it covers is all that may be missing.
func TestLogStartMovedBehindTheCheckpoint(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{SegmentBytes: 5000})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for range 16 {
		mustAppend(t, g, p, p.data(2000, entry.Synced))
	}
	segments := g.Log().Segments()
	move := func(start int64, save bool) {
		t.Helper()
		if err := g.Log().SetLogStart(start); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, g, p, p.command(entry.Header{Kind: entry.LogStart, Body: entry.LogStartBody(start)}, nil))
		if save {
			snap := snapshotAt(g, g.LastIndex())
			snap.LogStart = start
			if err := g.SaveSnapshot(snap); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, second := segments[3].Base+1, segments[6].Base+1
	stop := pw.gather(3, rand.New(rand.NewPCG(2, 2)))
	move(first, true)
	move(second, false)
	retain := func() {
		t.Helper()
		snap, _ := g.Snapshot()
		if _, err := g.Log().DeleteBelow(min(snap.LogStart, g.RetainFrom())); err != nil {
			t.Fatal(err)
		}
	}
	retain()
	if err := g.SetVote(Vote{Term: 9, VotedTerm: 9, Candidate: "me"}); err != nil { // the row again, with the same snapshot
		t.Fatal(err)
	}
	if err := g.saveRow(); err != nil {
		t.Fatal(err)
	}
	retain()
	states := append(stop(), pw.capture())
	for _, w := range states {
		pw.goOn(w)
		payloads(t, pw.want(1, ""))
	}
	last := states[len(states)-1]
	for i := 3; i < len(segments)-1; i++ { // the log start is in the first of them
		w := *last
		w.mem = last.mem.CrashClone(nil)
		name := segmentFile(g, segments[i].Base, ".log")
		if err := w.mem.Remove(name); err != nil {
			t.Fatal(err)
		}
		syncDir(t, w.mem, path.Dir(name))
		pw.goOn(&w)
		if hurt, _ := pw.s.Group(groupID(1)); hurt.Offline() == nil || !strings.Contains(hurt.Offline().Error(), path.Base(name)) {
			t.Fatalf("segment %d is gone, the log starts at %d: %v", segments[i].Base, first, hurt.Offline())
		}
	}
}
