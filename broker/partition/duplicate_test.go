package partition

import (
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

// A retry of a batch that is not committed yet is answered when, and only when, that batch is: with its own Append.
func TestRetryOfABatchInFlightIsThatBatch(t *testing.T) {
	p := newBroker(t).create(t, 0)
	w := write{producer: 5, count: 3}
	var appends [2]*Append
	for i := range appends {
		appends[i] = &Append{partition: p, producerID: none}
		if err := appends[i].describe(w.batch(t), entry.Synced); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := p.admit(appends[0]); answer != nil || err != nil { // in flight from here on; nobody proposes it
		t.Fatalf("%+v, %v", answer, err)
	}
	if answer, err := p.admit(appends[1]); answer != appends[0] || err != nil {
		t.Fatalf("the retry is answered by %+v, %v", answer, err)
	}
}

// A duplicate is answered with the offset of its first record, whatever its number of records, also after a restart.
func TestDuplicateIsAnsweredWithItsBaseOffset(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	mustAppend(t, p, write{count: 7})
	want := map[int32]int64{}
	for sequence := int32(0); sequence < 16; sequence += 4 {
		want[sequence] = mustAppend(t, p, write{producer: 5, sequence: sequence, count: 4})
	}
	for _, restart := range []func(testing.TB){nil, b.kill, b.stop, b.kill} {
		if restart != nil {
			restart(t)
			b.start(t)
			p = b.get(t, 0)
		}
		for sequence, offset := range want {
			if got := mustAppend(t, p, write{producer: 5, sequence: sequence, count: 4}); got != offset || offset != int64(sequence)+7 {
				t.Fatalf("sequence %d went to offset %d, its duplicate is answered with %d", sequence, offset, got)
			}
		}
	}
}
