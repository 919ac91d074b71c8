package partition

import (
	"math"
	"testing"
	"time"
)

// What a client sent behind a batch that was refused is not written before that batch, though the partition is led by then and would take any
// sequence: librdkafka takes what is in front of a written batch for written.
func TestBatchBehindARefusedOneIsNotWrittenBeforeIt(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	follow(t, p, 1, 0)
	ship(t, p, 1, write{producer: 9, sequence: 6}, 0, leaderEpoch(1))
	ship(t, p, 1, write{producer: 8, sequence: 0}, 1, leaderEpoch(1))
	ship(t, p, 1, write{producer: 7, sequence: math.MaxInt32 - 1}, 2, leaderEpoch(1))
	for _, w := range []write{{producer: 9, sequence: 8}, {producer: 9, sequence: 7}, {producer: 5, sequence: 0}, {producer: 8, sequence: 1}, {producer: 7, sequence: math.MaxInt32}} {
		wantError(t, p, w, ErrNotLeader)
	}
	base := promote(t, p, 2, -1)
	wantError(t, p, write{producer: 9, sequence: 8}, ErrNotLeader) // may jump
	wantError(t, p, write{producer: 5, sequence: 1}, ErrNotLeader) // is not known
	wantError(t, p, write{producer: 7, sequence: 0}, ErrNotLeader) // sequences begin again behind the largest
	for i, w := range []write{{producer: 9, sequence: 7}, {producer: 9, sequence: 8}, {producer: 5, sequence: 0}, {producer: 5, sequence: 1}, {producer: 7, sequence: math.MaxInt32}, {producer: 7, sequence: 0}} {
		if at := mustAppend(t, p, w); at != base+int64(i) {
			t.Errorf("%+v: written at %d", w, at)
		}
	}
	if at := mustAppend(t, p, write{producer: 8, epoch: 1, sequence: 0}); at != base+6 { // given up: the client goes on in another epoch
		t.Errorf("another epoch: written at %d", at)
	}
}

// A batch that was refused here, written at the other site, and shipped from there is waited for no more: its producer would be held up
// by the next failover for as long as a refusal holds.
func TestBatchThatCameFromTheOtherSiteIsNotWaitedFor(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	follow(t, p, 1, 0)
	refused := []write{{producer: 9, sequence: 7}, {producer: 8, sequence: 7}, {producer: 7, sequence: 0}, {producer: 6, sequence: 7}, {producer: 5, epoch: 1}}
	for _, w := range refused {
		wantError(t, p, w, ErrNotLeader)
	}
	shipped := []write{{producer: 9, sequence: 7}, {producer: 8, sequence: 9}, {producer: 7, sequence: math.MaxInt32}, {producer: 6, epoch: 1}, {producer: 5, sequence: 9}}
	for i, w := range shipped {
		ship(t, p, 1, w, int64(i), leaderEpoch(1))
	}
	promote(t, p, 2, -1)
	mustAppend(t, p, write{producer: 9, sequence: 8})
	mustAppend(t, p, write{producer: 8, sequence: 10})
	wantError(t, p, write{producer: 7, sequence: 1}, ErrNotLeader) // what came is older
	mustAppend(t, p, write{producer: 6, epoch: 1, sequence: 1})    // of a newer epoch
	if epoch := p.mu.refusals[5].epoch; epoch != 1 {               // of an older one
		t.Errorf("a refusal of epoch %d is left", epoch)
	}
}

// A refusal holds for a while, and of so many producers.
func TestRefusalsEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	row := write{producer: 9, sequence: 3}
	rs := refusals{}
	pass := func(w write, at time.Time) bool {
		a := &Append{}
		if err := a.describe(w.batch(t), 0); err != nil {
			t.Fatal(err)
		}
		return rs.pass(&a.row[0], at)
	}
	rs.note(9, 0, 2, now)
	if pass(row, now.Add(refusedFor-1)) || !pass(row, now.Add(refusedFor)) || len(rs) != 0 {
		t.Errorf("not over when it should be: %v", rs)
	}
	rs.note(9, 0, 2, now)
	if !pass(write{producer: 9, epoch: 1, sequence: 5}, now) || len(rs) != 0 {
		t.Errorf("kept for another epoch: %v", rs)
	}
	for id := range int64(2 * refusedMax) {
		rs.note(id, 0, 0, now.Add(time.Duration(id)))
	}
	if len(rs) > refusedMax {
		t.Errorf("%d producers remembered", len(rs))
	}
}
