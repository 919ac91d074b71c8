package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// fakeLog is a log of one-record batches; a batch's bytes are its text.
type fakeLog struct {
	rows    []entry.Row
	bytes   [][]byte
	start   int64
	durable int64 // -1 = the end
	state   entry.Sites
	away    bool
	hook    func()
}

func newLog(offsets ...int64) *fakeLog {
	l := &fakeLog{durable: -1}
	for _, o := range offsets {
		l.add(o, 1, fmt.Sprint("record ", o))
	}
	return l
}

func (l *fakeLog) add(offset int64, epoch int32, text string) {
	l.rows = append(l.rows, entry.Row{BaseOffset: offset, LastOffset: offset, LeaderEpoch: epoch, Length: uint32(len(text))})
	l.bytes = append(l.bytes, []byte(text))
}

func (l *fakeLog) LogView() (site.LogView, bool) {
	tip, end := int64(0), l.durable
	if len(l.rows) > 0 {
		tip = l.rows[len(l.rows)-1].LastOffset + 1
	}
	if end < 0 {
		end = tip
	}
	return site.LogView{Tip: entry.State{NextOffset: tip}, Durable: entry.State{NextOffset: end, Sites: l.state}, Lineage: &entry.Lineage{LogStart: l.start}}, !l.away
}

func (l *fakeLog) ReadShipped(offset, end int64, bytesMax int, _ func(int) []byte) (rows []entry.Row, payload []byte, err error) {
	if l.hook != nil {
		l.hook()
	}
	for i, r := range l.rows {
		if r.BaseOffset >= max(offset, l.start) && r.LastOffset < end && (len(rows) == 0 || len(payload) < 50 && bytesMax > 0) {
			r.Pos = uint32(len(payload))
			rows, payload = append(rows, r), append(payload, l.bytes[i]...)
		}
	}
	return rows, payload, nil
}

// side is a site with one partition.
type side struct {
	log *fakeLog
	err error
}

func (s side) Sum(ctx context.Context, r Range) (Sum, error) {
	if s.log == nil {
		return Compute(ctx, nil, r)
	}
	if s.err != nil {
		return Sum{}, s.err
	}
	return Compute(ctx, s.log, r)
}

func upTo(n int64) (all []int64) {
	for o := range n {
		all = append(all, o)
	}
	return all
}

var orders = []Partition{{Topic: "orders", TopicID: uuid.UUID{1}}}

func compare(t *testing.T, here, there *fakeLog, partitions []Partition) operator.Verification {
	t.Helper()
	v, err := Compare(t.Context(), side{log: here}, side{log: there}, partitions, Options{RangeBytes: 300})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFirstDifferenceIsNamed(t *testing.T) {
	for _, n := range []int64{0, 1, 30, 2500} {
		if v := compare(t, newLog(upTo(n)...), newLog(upTo(n)...), orders); v.Difference != nil || v.Batches != n || v.State != operator.Done || len(v.Skipped) > 0 {
			t.Fatalf("equal logs of %d batches: %+v", n, v)
		}
	}
	change := func(at int, fn func(*fakeLog)) func() *fakeLog {
		return func() *fakeLog { l := newLog(upTo(2500)...); fn(l); return l }
	}
	for _, c := range []struct {
		name   string
		there  func() *fakeLog
		offset int64
		text   string
	}{
		{"another byte", change(0, func(l *fakeLog) { l.bytes[1777] = []byte("recorD 1777"); l.bytes[2400] = []byte("recorD 2400") }), 1777, "sha256"},
		{"another byte in the first", change(0, func(l *fakeLog) { l.bytes[0] = []byte("recorD 0") }), 0, "sha256"},
		{"another byte in the last", change(0, func(l *fakeLog) { l.bytes[2499] = []byte("recorD 2499") }), 2499, "sha256"},
		{"another epoch", change(0, func(l *fakeLog) { l.rows[5].LeaderEpoch = 2 }), 5, "leader epoch 2"},
		{"a batch is missing", change(0, func(l *fakeLog) { l.rows, l.bytes = slices.Delete(l.rows, 9, 10), slices.Delete(l.bytes, 9, 10) }), 9, "offsets 10 to 10"},
	} {
		v := compare(t, newLog(upTo(2500)...), c.there(), orders)
		if d := v.Difference; d == nil || d.Topic != "orders" || d.Offset != c.offset || !strings.Contains(d.There, c.text) {
			t.Errorf("%s: %+v", c.name, v)
		}
		v = compare(t, c.there(), newLog(upTo(2500)...), orders)
		if d := v.Difference; d == nil || d.Offset != c.offset || !strings.Contains(d.Here, c.text) {
			t.Errorf("%s, the other way round: %+v", c.name, v)
		}
	}
	var gap []int64
	for o := range int64(10) {
		gap = append(gap, o, entry.BandStart(5)+o)
	}
	slices.Sort(gap)
	if v := compare(t, newLog(gap...), newLog(gap...), orders); v.Difference != nil || v.Batches != 20 {
		t.Errorf("a gap between bands: %+v", v)
	}
}

// TestOnlyWhatBothHaveIsCompared: what is on its way, and what retention has removed at one site, is no difference.
func TestOnlyWhatBothHaveIsCompared(t *testing.T) {
	behind, kept := newLog(upTo(60)...), newLog(upTo(100)...)
	behind.durable = 50
	behind.bytes[55] = []byte("not acknowledged")
	kept.start = 20
	behind.bytes[3] = []byte("retention has removed it there")
	for _, p := range [][2]*fakeLog{{behind, kept}, {kept, behind}} {
		if v := compare(t, p[0], p[1], orders); v.Difference != nil || v.Batches != 30 {
			t.Errorf("%+v", v)
		}
	}
}

// TestWhatMovesIsLookedAtAgain: retention removes a range while it is compared.
func TestWhatMovesIsLookedAtAgain(t *testing.T) {
	here, there := newLog(upTo(100)...), newLog(upTo(100)...)
	reads := 0
	there.hook = func() {
		if reads++; reads == 3 {
			there.start = 40
			there.rows, there.bytes = there.rows[40:], there.bytes[40:]
		}
	}
	if v := compare(t, here, there, orders); v.Difference != nil || len(v.Skipped) > 0 {
		t.Errorf("%+v", v)
	}
	moving := newLog(upTo(100)...)
	moving.hook = func() { moving.start++ }
	if v := compare(t, here, moving, orders); v.Difference != nil {
		t.Errorf("%+v", v)
	}
}

func TestWhatCannotBeComparedIsTold(t *testing.T) {
	good := newLog(upTo(10)...)
	returning, away := newLog(upTo(20)...), newLog(upTo(10)...)
	returning.state = entry.Sites{Role: entry.Following, Shared: entry.UnknownOffset}
	away.away = true
	for _, bad := range []*fakeLog{returning, away, nil} {
		for _, v := range []operator.Verification{compare(t, good, bad, orders), compare(t, bad, good, orders)} {
			if v.Difference != nil || len(v.Skipped) != 1 || !strings.HasPrefix(v.Skipped[0], "orders-0: ") || v.Batches != 0 {
				t.Errorf("%+v", v)
			}
		}
	}
	other := newLog(upTo(10)...)
	other.bytes[4] = nil
	other.rows[4].Length = 0
	compacted := []Partition{{Topic: "orders", Compacted: true}}
	if v := compare(t, good, other, compacted); v.Difference != nil || len(v.Skipped) != 1 || !strings.Contains(v.Skipped[0], "offset 4") {
		t.Errorf("%+v", v)
	}
	if v := compare(t, good, newLog(upTo(10)...), compacted); v.Batches != 10 || len(v.Skipped) > 0 {
		t.Errorf("%+v", v)
	}
}

// Where a link has stopped nobody knows what the longer log has more: equal up to there is not equal.
func TestRestOfALinkThatHasStoppedIsNotCompared(t *testing.T) {
	halted := slices.Clone(orders)
	halted[0].Halted = "divergent logs"
	v := compare(t, newLog(upTo(10)...), newLog(upTo(30)...), halted)
	if v.NotCompared != 1 || v.Batches != 10 || len(v.Skipped) != 1 || !strings.Contains(v.Skipped[0], "(divergent logs): the one log ends at offset 10, the other at 30") {
		t.Errorf("%+v", v)
	}
	other := newLog(upTo(30)...)
	other.bytes[3] = []byte("recorD 3")
	if v = compare(t, newLog(upTo(10)...), other, halted); v.Difference == nil || v.Difference.Offset != 3 {
		t.Errorf("a difference below that: %+v", v)
	}
}

func TestErrorOfASideEndsTheComparison(t *testing.T) {
	down := errors.New("site gone")
	if _, err := Compare(t.Context(), side{log: newLog(1)}, side{log: newLog(1), err: down}, orders, Options{}); !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
}

func TestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		slow := newLog(upTo(10)...)
		slow.hook = func() { <-wait }
		r := NewRuns(side{log: slow}, side{log: newLog(upTo(10)...)}, func(context.Context, []string) ([]Partition, error) { return orders, nil }, Options{})
		defer r.Close()
		if v, err := r.Begin(operator.VerifyOrder{ID: "a"}); err != nil || v.State != operator.Running {
			t.Fatalf("%+v: %v", v, err)
		}
		synctest.Wait()
		if v, err := r.Begin(operator.VerifyOrder{ID: "a"}); err != nil || v.ID != "a" {
			t.Errorf("sent again: %+v: %v", v, err)
		}
		var told *operator.Error
		if _, err := r.Begin(operator.VerifyOrder{ID: "b"}); !errors.As(err, &told) || told.Code != operator.CodeRefused {
			t.Errorf("another one: %v", err)
		}
		close(wait)
		time.Sleep(time.Second)
		if v, err := r.Progress("a"); err != nil || v.State != operator.Done || v.Batches != 10 || v.ID != "a" {
			t.Errorf("%+v: %v", v, err)
		}
		if _, err := r.Progress("x"); err == nil {
			t.Error("an unknown one is known")
		}
	})
}
