package storage

import (
	"math/rand/v2"
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
