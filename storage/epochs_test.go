package storage

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Kafka's leader-epoch-checkpoint has no checksum: whatever byte of it is wrong, all records are read and have their epochs.
func TestDamagedLeaderEpochs(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{SegmentBytes: 5000})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for range 4 {
		p.resume(g.LastIndex(), p.term+1, g.State())
		mustAppend(t, g, p, p.noop(), p.data(2000, entry.Synced), p.data(2000, entry.Synced))
	}
	if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	whole, epochs := readLog(t, g), epochsOf(g)
	if strings.Count(epochs, "@") < 4 {
		t.Fatal(epochs)
	}
	name := path.Join(g.Log().Dir(), "leader-epoch-checkpoint")
	b, err := readFile(pw.w.mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	state := pw.capture()
	for at := range b {
		for _, mask := range []byte{1, 2, 8, 0x40} {
			w := *state
			w.mem = state.mem.CrashClone(nil)
			flip(t, w.mem, name, int64(at), mask)
			pw.goOn(&w)
			g := pw.want(1, "")
			if got := epochsOf(g); got != epochs {
				t.Fatalf("byte %d ^ %#x: epochs %s, want %s", at, mask, got, epochs)
			}
			if readLog(t, g) != whole {
				t.Fatalf("byte %d ^ %#x: other records", at, mask)
			}
		}
	}
}

// epochsOf lists the leader epochs with their first offsets.
func epochsOf(g *Group) string {
	var b strings.Builder
	last := int32(-1)
	for offset := g.Log().LogStart(); offset < g.Log().LogEnd(); offset++ {
		if e := g.Log().EpochAt(offset); e != last {
			fmt.Fprintf(&b, "%d@%d ", e, offset)
			last = e
		}
	}
	return b.String()
}
