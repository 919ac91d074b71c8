package partition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func segments(t *testing.T, b *broker) (n int) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(b.dir, "t-0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".log") {
			n++
		}
	}
	return n
}

// Segments go only once a durable snapshot lies behind them, and every restart sees the same log start.
func TestRetentionBySize(t *testing.T) {
	b := newBroker(t)
	b.config.SegmentBytes, b.config.RetentionBytes = 20_000, 30_000
	p := b.create(t, 0)
	for range 20 {
		mustAppend(t, p, write{size: 5000, ts: b.clock.Now().UnixMilli()})
	}
	before := segments(t, b)
	n, err := p.Retain(waitContext(t), b.clock.Now())
	start, hw, _, _ := p.Offsets()
	if err != nil || n != 0 || start < 10 || start > 16 || segments(t, b) != before {
		t.Fatalf("before a checkpoint: %d segments deleted, log start %d, %v", n, start, err)
	}
	b.kill(t)
	b.start(t)
	p = b.get(t, 0)
	if again, hwAgain, _, _ := p.Offsets(); again != start || hwAgain != hw {
		t.Fatalf("after a restart log start %d, high watermark %d, want %d, %d", again, hwAgain, start, hw)
	}
	if err := b.host.Checkpoint(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	n, err = p.Retain(waitContext(t), b.clock.Now())
	if err != nil || n == 0 || segments(t, b) != before-n {
		t.Fatalf("after a checkpoint: %d of %d segments deleted, %d left, %v", n, before, segments(t, b), err)
	}
	b.kill(t)
	b.start(t)
	p = b.get(t, 0)
	if again, hwAgain, _, _ := p.Offsets(); again != start || hwAgain != hw {
		t.Fatalf("after another log start %d, high watermark %d, want %d, %d", again, hwAgain, start, hw)
	}
	r, err := p.Read(start, 1<<20, ReadUncommitted, -1, true)
	if err != nil || r.Extent == nil {
		t.Fatal(err)
	}
	r.Extent.Release()
	mustAppend(t, p, write{})
}

func TestRetentionByTime(t *testing.T) {
	b := newBroker(t)
	b.config.SegmentBytes, b.config.RetentionMs = 20_000, 60_000
	p := b.create(t, 0)
	for range 10 {
		mustAppend(t, p, write{size: 5000, ts: b.clock.Now().UnixMilli()})
	}
	if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if start, _, _, _ := p.Offsets(); start != 0 {
		t.Fatalf("log start %d before its time", start)
	}
	b.clock.add(2 * time.Minute)
	if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if start, hw, _, _ := p.Offsets(); start != hw {
		t.Fatalf("log start %d, high watermark %d: all is older than retention.ms", start, hw)
	}
	// The snapshot's end lies in the segment that goes now.
	if err := b.host.Checkpoint(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Retain(waitContext(t), b.clock.Now()); err != nil || n == 0 || segments(t, b) != 1 {
		t.Fatalf("%d segments deleted, %d left, %v", n, segments(t, b), err)
	}
	for range 2 {
		b.kill(t)
		b.start(t)
		if start, hw, _, _ := b.get(t, 0).Offsets(); start != 10 || hw != 10 {
			t.Fatalf("log start %d, high watermark %d", start, hw)
		}
	}
	if got := mustAppend(t, b.get(t, 0), write{}); got != 10 {
		t.Fatalf("next offset %d", got)
	}
}
