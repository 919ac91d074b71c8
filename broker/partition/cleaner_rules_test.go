package partition

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
)

// keyed is a batch of one record of an idempotent producer.
func keyed(t testing.TB, id int64, sequence int32, key string, ts int64) record.Batch {
	t.Helper()
	b := record.NewBuilder()
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = id, 0, sequence
	b.Append(ts, []byte(key), fmt.Appendf(nil, "%d-%d", id, sequence))
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// What a producer has written last is remembered when compaction has taken all of it: across restarts a retry is answered with
// the offset that it got, a gap is refused, and the next batch is taken.
func TestCompactionKeepsProducers(t *testing.T) {
	b := newCompacted(t)
	p := b.create(t, 0)
	send := func(sequence int32) (int64, error) {
		r, err := wait(t, p.Append(keyed(t, 7, sequence, "k0", b.clock.Now().UnixMilli()), func() {}))
		return r.BaseOffset, err
	}
	offsets := map[int32]int64{}
	for sequence := range int32(8) {
		offset, err := send(sequence)
		if err != nil {
			t.Fatal(err)
		}
		offsets[sequence] = offset
	}
	b.fillKeys(t, p, 10)
	b.checkpoint(t)
	if done := b.cleanNow(t, p); done.Replaced == 0 {
		t.Fatalf("%+v", done)
	}
	if start := firstRecord(t, p); start <= offsets[7] {
		t.Fatalf("the first record left is at %d: the producer's are not gone", start)
	}
	next := int32(8)
	for _, restart := range []func(testing.TB){nil, b.kill, b.stop, b.kill} {
		if restart != nil {
			restart(t)
			b.start(t)
			p = b.get(t, 0)
		}
		for sequence := next - 5; sequence < next; sequence++ { // as many as Kafka remembers
			if offset, err := send(sequence); err != nil || offset != offsets[sequence] {
				t.Fatalf("the retry of sequence %d is answered with offset %d, %v, want %d", sequence, offset, err, offsets[sequence])
			}
		}
		if offset, err := send(next + 1); err == nil {
			t.Fatalf("sequence %d was taken behind %d, at offset %d", next+1, next-1, offset)
		}
		_, end, _, _ := p.Offsets()
		offset, err := send(next)
		if err != nil || offset != end {
			t.Fatalf("sequence %d: offset %d, %v, want %d", next, offset, err, end)
		}
		offsets[next] = offset
		next++
	}
}

// firstRecord is the offset of the first record that a reader finds.
func firstRecord(t testing.TB, p *Partition) int64 {
	t.Helper()
	r, err := p.Read(0, 1, ReadUncommitted, -1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Extent.Release()
	raw, err := r.Extent.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	first := int64(-1)
	err = record.Batch(raw).Each(0, func(r record.Record) error {
		if first < 0 {
			first = r.Offset
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// Offsets that compaction has emptied are never given out again, not even when nothing is left behind them; a fetch at any of
// them goes on behind the hole, and a search by time finds the first of the records left that is young enough.
func TestReadsOverHoles(t *testing.T) {
	for _, appendTime := range []bool{false, true} {
		t.Run(fmt.Sprintf("appendTime=%v", appendTime), func(t *testing.T) {
			b := newCompacted(t)
			b.config.DeleteRetentionMs, b.config.LogAppendTime = 0, appendTime
			p := b.create(t, 0)
			begin := b.clock.Now().UnixMilli()
			for i := range 40 {
				b.putThree(t, p, i)
			}
			for round := range 4 {
				b.checkpoint(t)
				b.cleanNow(t, p)
				b.clock.add(time.Hour) // tombstones expire
				b.checkHoles(t, p, begin)
				if round == 1 {
					b.kill(t)
					b.start(t)
					p = b.get(t, 0)
					b.checkHoles(t, p, begin)
				}
				_, end, _, _ := p.Offsets()
				if got := put(t, p, "new", "value", b.clock.Now().UnixMilli()); got != end {
					t.Fatalf("the next record went to offset %d, want %d", got, end)
				}
			}
		})
	}
}

// putThree appends a batch of three records, of which the first one is the first to be superseded.
func (b *broker) putThree(t testing.TB, p *Partition, n int) {
	t.Helper()
	b.clock.add(3 * time.Second)
	bb := record.NewBuilder()
	for i := range 3 {
		value := fmt.Appendf(nil, "%0900d", n)
		if (n+i)%4 == 3 {
			value = nil
		}
		ts := b.clock.Now().UnixMilli() - int64((n+i)%3)*1500 // not in order
		bb.Append(ts, fmt.Appendf(nil, "k%d", i*(n%7+n/20)), value)
	}
	batch, err := bb.Batch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wait(t, p.Append(batch, func() {})); err != nil {
		t.Fatal(err)
	}
}

func (b *broker) checkHoles(t *testing.T, p *Partition, begin int64) {
	t.Helper()
	type at struct{ offset, ts int64 }
	var left []at
	start, end, _, _ := p.Offsets()
	for offset := start; offset < end; offset++ {
		r, err := p.Read(offset, 1, ReadUncommitted, -1, true)
		if err != nil || r.Extent == nil || r.Extent.Next() <= offset {
			t.Fatalf("read at %d of %d: %+v, %v", offset, end, r, err)
		}
		raw, err := r.Extent.ReadAll()
		r.Extent.Release()
		if err != nil {
			t.Fatal(err)
		}
		err = record.Batch(raw).Each(0, func(r record.Record) error {
			if r.Offset >= offset && (len(left) == 0 || left[len(left)-1].offset < r.Offset) {
				left = append(left, at{r.Offset, r.Timestamp})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(left) == 0 || len(left) > 60 {
		t.Fatalf("%d records are left", len(left))
	}
	for ts := begin - 1000; ts < begin+130_000; ts += 500 {
		want := at{-1, -1}
		for _, r := range left {
			if r.ts >= ts {
				want = r
				break
			}
		}
		offset, found, _, err := p.ListOffset(ts, ReadUncommitted, -1)
		if err != nil || offset != want.offset || found != want.ts {
			t.Fatalf("the first record from time %d on: offset %d, time %d, %v, want %+v", ts, offset, found, err, want)
		}
	}
}

// With cleanup.policy=compact,delete segments are compacted, and go when they are too old, last values of keys with them.
func TestCompactionAndDeletion(t *testing.T) {
	b := newCompacted(t)
	b.config.Delete, b.config.RetentionMs = true, 60_000
	p := b.create(t, 0)
	put(t, p, "old", "value", b.clock.Now().UnixMilli())
	b.fillKeys(t, p, 10)
	b.checkpoint(t)
	before, _ := all(t, p, ReadUncommitted)
	if done := b.cleanNow(t, p); done.Replaced == 0 {
		t.Fatalf("%+v", done)
	}
	if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if after, _ := all(t, p, ReadUncommitted); !maps.Equal(before, after) {
		t.Fatalf("%v\nwant\n%v", after, before)
	}
	b.clock.add(2 * time.Minute)
	_, old, _, _ := p.Offsets()
	b.fillKeys(t, p, 3)
	retain := func() {
		t.Helper()
		if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
			t.Fatal(err)
		}
	}
	retain()
	start, end, _, _ := p.Offsets()
	if start == 0 || start > old || end != old+30 {
		t.Fatalf("the log is [%d, %d) after its first %d offsets have expired", start, end, old)
	}
	for range 2 { // below the log start, with its segments there and gone
		b.cleanNow(t, p)
		last, _ := all(t, p, ReadUncommitted)
		if _, there := last["old"]; there || len(last) != 10 {
			t.Fatalf("%v", last)
		}
		b.checkpoint(t)
		retain()
		b.kill(t)
		b.start(t)
		p = b.get(t, 0)
		if again, endAgain, _, _ := p.Offsets(); again < start || endAgain != end {
			t.Fatalf("the log is [%d, %d) after a restart, want [%d, %d)", again, endAgain, start, end)
		}
	}
}
