package storage

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A checkpoint meets a full disk, ballast and all, at its files beside the segments or in meta.db. Nothing that was acknowledged
// depends on it: the store goes on, keeps its journal, and a later checkpoint takes all of it in.
func TestCheckpointOnAFullDiskIsTriedAgain(t *testing.T) {
	for name, inMeta := range map[string]bool{"beside the segments": false, "in meta.db": true} {
		t.Run(name, func(t *testing.T) {
			pw := newPowered(t)
			g, p := pw.create(1, log.Options{SegmentBytes: 4000})
			mustAppend(t, g, p, p.noop(), p.epochBase())
			for range 4 {
				mustAppend(t, g, p, p.data(2000, entry.Synced), p.data(100, entry.Synced))
			}
			before := payloads(t, g)
			var refused atomic.Int32
			store := pw.s.commits.store
			if inMeta {
				pw.s.commits.store = func(meta.Commit) error {
					refused.Add(1)
					return meta.ErrNoSpace
				}
			} else {
				pw.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
					if c.Op == vfs.OpWrite && !strings.HasSuffix(c.Name, ".log") {
						refused.Add(1)
						return vfs.Outcome{Err: syscall.ENOSPC, Short: 3}
					}
					return vfs.Outcome{}
				})
			}
			for range 3 {
				if err := pw.s.Checkpoint(t.Context(), snapshotAll); !errors.Is(err, ErrNoSpace) {
					t.Fatalf("a checkpoint on a full disk: %v", err)
				}
			}
			pw.w.mem.SetHook(nil)
			pw.s.commits.store = store
			if refused.Load() < 3 || pw.s.Failed() != nil || g.Offline() != nil || string(payloads(t, g)) != string(before) {
				t.Fatalf("refused %d times, the store: %v, the Raft group: %v", refused.Load(), pw.s.Failed(), g.Offline())
			}
			if _, ok := g.Snapshot(); ok || pw.s.meta.Journal().First > g.needs() {
				t.Fatalf("a snapshot is there (%v), the journal is kept from record %d, needed from %d on", ok, pw.s.meta.Journal().First, g.needs())
			}
			full := pw.capture()
			mustAppend(t, g, p, p.data(2000, entry.Synced))
			after := payloads(t, g)
			if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
				t.Fatal(err)
			}
			if keep, _ := pw.s.keep(); keep != pw.s.journal.NextSequence() {
				t.Fatalf("the journal is needed from record %d on, behind a checkpoint at %d", keep, pw.s.journal.NextSequence())
			}
			pw.lose()
			if got := payloads(t, pw.want(1, "")); string(got) != string(after) {
				t.Fatalf("%d bytes behind the checkpoint, %d were acknowledged", len(got), len(after))
			}
			pw.goOn(full)
			if got := payloads(t, pw.want(1, "")); string(got) != string(before) {
				t.Fatalf("%d bytes behind the full disk, %d were acknowledged", len(got), len(before))
			}
		})
	}
}
