package partition

import "testing"

// shipTo makes the other site have p up to an offset, -1 = unknown.
func (b *broker) shipTo(offset int64, ships bool) {
	b.OnShipped(func(*Partition) (int64, bool, bool) { return max(offset, 0), offset >= 0, ships })
}

func (b *broker) retained(t *testing.T, p *Partition) (logStart int64) {
	t.Helper()
	if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	logStart, _, _, _ = p.Offsets()
	return logStart
}

// holdingBroker has a partition of 20 batches of 5 KB in segments of four, of which the newest six may stay.
func holdingBroker(t *testing.T, hold int64) (*broker, *Partition) {
	b := newPairedBroker(t)
	b.kill(t)
	b.hold = hold
	b.config.SegmentBytes, b.config.RetentionBytes = 21_000, 30_000
	b.start(t)
	p := b.create(t, 0)
	for range 20 {
		mustAppend(t, p, write{size: 5000, ts: b.clock.Now().UnixMilli()})
	}
	return b, p
}

func TestRetentionWaitsForTheOtherSite(t *testing.T) {
	b, p := holdingBroker(t, 1<<30)
	if start := b.retained(t, p); start != 0 {
		t.Fatalf("log start %d before anything is known of the other site", start)
	}
	held := b.HeldBytes()
	if held < 40_000 || held > 80_000 {
		t.Fatalf("%d bytes held", held)
	}
	b.shipTo(-1, true)
	if start := b.retained(t, p); start != 0 || b.HeldBytes() != held {
		t.Fatalf("log start %d, %d bytes held: unknown is not all", start, b.HeldBytes())
	}
	b.shipTo(6, true)
	start := b.retained(t, p)
	if start == 0 || start > 6 || b.HeldBytes() >= held {
		t.Fatalf("log start %d, %d bytes held, the other site has all below 6", start, b.HeldBytes())
	}
	b.shipTo(20, true)
	if start := b.retained(t, p); start < 10 || b.HeldBytes() != 0 {
		t.Fatalf("log start %d, %d bytes held, the other site has all", start, b.HeldBytes())
	}
}

func TestRetentionHoldsNoMoreThanItMay(t *testing.T) {
	b, p := holdingBroker(t, 45_000)
	b.shipTo(0, true)
	start := b.retained(t, p)
	if held := b.HeldBytes(); start == 0 || held == 0 || held > 45_000 {
		t.Fatalf("log start %d, %d bytes held of 45000", start, held)
	}
	if v, _ := p.Shipped(0).LogView(); v.Purged != 0 {
		t.Fatal("retention counts as wanted: the other site would not hear of the gap")
	}
}

func TestRetentionOfWhatIsNotShippedDoesNotWait(t *testing.T) {
	b, p := holdingBroker(t, 1<<30)
	b.shipTo(-1, false)
	if start := b.retained(t, p); start < 10 || b.HeldBytes() != 0 {
		t.Fatalf("log start %d, %d bytes held", start, b.HeldBytes())
	}
}

func TestCompactionStaysBelowWhatIsShipped(t *testing.T) {
	b, p := holdingBroker(t, 0)
	if err := b.host.Checkpoint(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ acked, most int64 }{{-1, 0}, {7, 7}} {
		b.shipTo(c.acked, true)
		if below := p.cleanBound(p.config.Load()).Below; below > c.most {
			t.Fatalf("compaction up to %d, the other site has %d", below, c.acked)
		}
	}
	b.shipTo(20, true)
	if below := p.cleanBound(p.config.Load()).Below; below < 8 {
		t.Fatalf("compaction up to %d", below)
	}
}
