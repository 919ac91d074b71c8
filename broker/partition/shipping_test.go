package partition

import (
	"bytes"
	"slices"
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

// What is shipped from its file has the rows that reading it has; small batches are read.
func TestLargeBatchesAreShippedFromTheirFile(t *testing.T) {
	for name, c := range map[string]struct {
		sizes  []int
		stored bool
	}{
		"large":                  {[]int{20_000, 70_000, 300_000}, true},
		"small":                  {[]int{100, 200, 300}, false},
		"one small one":          {[]int{100}, false},
		"small behind large":     {[]int{200_000, 100, 100}, true},
		"many small behind one":  {[]int{20_000, 100, 100, 100}, false},
		"large behind the small": {[]int{100, 200_000}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPairedBroker(t)
			p := b.create(t, 0)
			for i, size := range c.sizes {
				mustAppend(t, p, write{size: size, ts: int64(i)})
			}
			end := int64(len(c.sizes))
			fresh := func(n int) []byte { return make([]byte, n) }
			want, bytesOf, err := p.Shipped(0).ReadShipped(0, end, 1<<20, fresh)
			if err != nil || len(want) != len(c.sizes) {
				t.Fatalf("%d rows, %v", len(want), err)
			}
			rows, payload, stored, err := p.Shipped(0).TakeShipped(0, end, 1<<20, fresh)
			if err != nil || !slices.Equal(rows, want) || (stored != nil) != c.stored {
				t.Fatalf("rows %+v, want %+v; stored: %v; %v", rows, want, stored != nil, err)
			}
			if stored != nil {
				defer stored.Release()
				if payload != nil {
					t.Error("a payload as well")
				}
				if payload, err = stored.ReadAll(); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(payload, bytesOf) {
				t.Errorf("%d bytes, want these %d", len(payload), len(bytesOf))
			}
		})
	}
}

// A batch whose header cannot be is not shipped by what it says: reading it whole tells what is wrong.
func TestRowsWithinStopsAtWhatIsNoHeader(t *testing.T) {
	b := newPairedBroker(t)
	p := b.create(t, 0)
	for range 3 {
		mustAppend(t, p, write{size: 40_000})
	}
	_, _, stored, err := p.Shipped(0).TakeShipped(0, 3, 1<<20, func(n int) []byte { return make([]byte, n) })
	if err != nil || stored == nil {
		t.Fatal(err)
	}
	defer stored.Release()
	file, pos, n := stored.File()
	for _, at := range []int64{8, 16} { // length, magic
		var was [1]byte
		second := pos + n/3 + at
		if _, err := file.ReadAt(was[:], second); err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte{0x7f}, second); err != nil {
			t.Fatal(err)
		}
		if rows, ok := rowsWithin(stored); ok {
			t.Errorf("byte %d: %d rows", at, len(rows))
		}
		if _, err := file.WriteAt(was[:], second); err != nil {
			t.Fatal(err)
		}
	}
	if rows, ok := rowsWithin(stored); !ok || len(rows) != 3 {
		t.Errorf("%d rows, %v", len(rows), ok)
	}
}

// A link asks which leader has written the record at an offset; what is not there nobody can say.
func TestWhoHasWrittenARecord(t *testing.T) {
	b := newPairedBroker(t)
	p := b.create(t, 0)
	for range 3 {
		mustAppend(t, p, write{})
	}
	first := p.Epoch()
	b.kill(t)
	b.start(t)
	p = b.get(t, 0)
	for range 3 {
		mustAppend(t, p, write{})
	}
	later := p.Epoch()
	if first == later {
		t.Fatal("the leader is the same")
	}
	view, _ := p.Shipped(0).LogView()
	for _, c := range []struct {
		offset int64
		epoch  int32
		want   bool
	}{{2, first, true}, {2, later, false}, {3, later, true}, {3, first, false}, {5, first, false}, {6, first, true}, {6, later, true}} {
		if got := view.Epochs.Wrote(c.offset, c.epoch); got != c.want {
			t.Errorf("offset %d, leader epoch %d: %v", c.offset, c.epoch, got)
		}
	}
}
