package partition

import (
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

// What was deleted on purpose is known for good: through the log, a checkpoint and a restart.
func TestPurposeOfADeletionIsKept(t *testing.T) {
	b := newPairedBroker(t)
	p := b.create(t, 0)
	for range 10 {
		mustAppend(t, p, write{})
	}
	if err := p.proposeLogStart(waitContext(t), entry.LogStartBody(4)); err != nil { // retention
		t.Fatal(err)
	}
	if got := p.purged.Load(); got != 0 {
		t.Fatalf("deleted on purpose below %d: it was retention", got)
	}
	if start, err := p.DeleteRecords(waitContext(t), 3); err != nil || start != 4 || p.purged.Load() != 3 {
		t.Fatalf("log start %d, deleted on purpose below %d, %v", start, p.purged.Load(), err)
	}
	if start, err := p.DeleteRecords(waitContext(t), 6); err != nil || start != 6 {
		t.Fatalf("log start %d, %v", start, err)
	}
	for _, restart := range []func(testing.TB){b.kill, b.stop} {
		restart(t)
		b.start(t)
		p = b.get(t, 0)
		if v, _ := p.Shipped(0).LogView(); v.Purged != 6 || v.Lineage.LogStart != 6 {
			t.Fatalf("after a restart log start %d, deleted on purpose below %d", v.Lineage.LogStart, v.Purged)
		}
	}
}

// Where all is deleted, the last batch stays until another one is there: the other site's log has to end alike.
func TestLastBatchStaysForTheOtherSite(t *testing.T) {
	b := newPairedBroker(t)
	p := b.create(t, 0)
	for range 5 {
		mustAppend(t, p, write{})
	}
	if _, err := p.DeleteRecords(waitContext(t), 5); err != nil {
		t.Fatal(err)
	}
	if err := b.host.Checkpoint(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	rows, _, err := p.Shipped(0).ReadShipped(4, 5, 1<<20, func(n int) []byte { return make([]byte, n) })
	if err != nil || len(rows) != 1 || rows[0].LastOffset != 4 {
		t.Fatalf("%+v, %v", rows, err)
	}
}

func TestStateVersions(t *testing.T) {
	for _, s := range []state{{hw: 7, producerOffset: -1}, {hw: 7, producerOffset: 7, purged: 5}} {
		b := s.encode()
		var got state
		if err := got.decode(b); err != nil || got.hw != s.hw || got.purged != s.purged {
			t.Fatalf("%+v, %v, want %+v", got, err, s)
		}
		for cut := range b {
			if err := got.decode(b[:cut]); err == nil {
				t.Fatalf("%d of %d bytes decode", cut, len(b))
			}
		}
	}
}
