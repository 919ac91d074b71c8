package archive

import (
	"slices"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A log that goes as a whole is archived from where it starts, and found under its incarnation; archives of another one, or of a tail, are not.
func TestLogThatGoesAsAWhole(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	a, err := Open(fsys, dir, options())
	if err != nil {
		t.Fatal(err)
	}
	p := newPart(orders)
	for range 4 {
		p.grow(t, 3, epochOf(1, 2), nil)
	}
	p.batches = p.batches[1:] // retention
	whole := func(incarnation uint32, from int64) Tail {
		tail := p.tail(Whole(1, incarnation)) // also of the very site epoch that is followed
		tail.From = from
		return tail
	}
	if _, err := a.Stage(t.Context(), whole(4, 12)); err == nil {
		t.Error("nothing was archived")
	}
	for _, wrong := range []entry.Cut{Whole(1, 7), Whole(2, 8), {SiteEpoch: 5, Offset: 6}} {
		if _, err := a.Stage(t.Context(), whole(8, 3)); err != nil { // what is staged already is of a log that was never dropped
			t.Fatal(err)
		}
		if err := a.Confirm(orders, wrong); err != nil {
			t.Fatal(err)
		}
		if list, err := a.List(t.Context()); len(list) != 0 || err != nil {
			t.Fatalf("%+v counts by %+v, %v", list, wrong, err)
		}
	}
	for range 2 { // twice is as once
		if err := a.Confirm(orders, Whole(1, 8)); err != nil {
			t.Fatal(err)
		}
	}
	for incarnation := range uint32(2) {
		got, err := a.Stage(t.Context(), whole(incarnation, 3))
		if err != nil || got.FirstOffset != 3 || got.LastOffset != 11 || got.Records != 9 {
			t.Fatalf("%+v, %v", got, err)
		}
		if err := a.Seal(orders, Whole(1, incarnation)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Stage(t.Context(), p.tail(entry.Cut{SiteEpoch: 5, Offset: 6})); err != nil {
		t.Fatal(err)
	}
	if err := a.Seal(orders, entry.Cut{SiteEpoch: 5, Offset: 6}); err != nil {
		t.Fatal(err)
	}
	has := func(want ...bool) {
		t.Helper()
		for i, w := range want {
			if got, err := a.Wholes(orders, uint32(i)); len(got) == 1 != w || err != nil || w && (got[0].Damage != nil || got[0].LastOffset != 11) {
				t.Errorf("incarnation %d: archived %+v, %v", i, got, err)
			}
		}
	}
	has(true, true, false, false, false, false, false, false, true)
	logs, err := a.WholeLogs()
	slices.SortFunc(logs, func(x, y WholeLog) int { return int(x.Incarnation) - int(y.Incarnation) })
	if want := []WholeLog{{orders.TopicID, orders.Index, 0}, {orders.TopicID, orders.Index, 1}, {orders.TopicID, orders.Index, 8}}; !slices.Equal(logs, want) || err != nil {
		t.Errorf("archives of %+v, %v, want %+v", logs, err, want)
	}
	if got, err := a.Wholes(payments, 1); len(got) != 0 || err != nil {
		t.Errorf("of another partition: %+v, %v", got, err)
	}
	for _, incarnation := range []uint32{0, 8} {
		if err := a.Remove(identify(orders, Whole(1, incarnation)).String()); err != nil {
			t.Fatal(err)
		}
	}
	has(false, true, false)
	if a, err = Open(fsys, dir, options()); err != nil {
		t.Fatal(err)
	}
	has(false, true, false)
	list, err := a.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Damage != nil || list[1].Damage != nil {
		t.Fatalf("%+v, %v", list, err)
	}
}
