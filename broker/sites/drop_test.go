package sites

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// dropping is a log and its metadata, which note what is asked of them.
type dropping struct {
	notes  []string
	recopy func(context.Context) error
	stage  func()
}

func (d *dropping) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (d *dropping) StageAnew(ctx context.Context, offset int64, _ uint32) error {
	d.note("stage from %d", offset)
	d.stage()
	return ctx.Err()
}

func (d *dropping) ConfirmAnew(uint32) error {
	d.note("confirm")
	return nil
}

func (d *dropping) Recopy(ctx context.Context, _ uuid.UUID, _ int32, incarnation, dropped, epoch uint32) error {
	d.note("drop %d of %d under %d", dropped, incarnation, epoch)
	return d.recopy(ctx)
}

func (d *dropping) Settle(context.Context) error {
	d.note("settle")
	return nil
}

func (d *dropping) decide() (*drop, error) {
	return &drop{log: d, incarnation: 3, dropped: 2, epoch: 4, from: 7}, nil
}

func newDropping() (*dropping, *drops) {
	d := &dropping{recopy: func(context.Context) error { return nil }, stage: func() {}}
	return d, &drops{metadata: d, warn: func(site.PartitionID, error) {}}
}

func (d *dropping) want(t *testing.T, when string, want ...string) {
	t.Helper()
	if !slices.Equal(d.notes, want) {
		t.Errorf("%s: %q, want %q", when, d.notes, want)
	}
	d.notes = nil
}

// What is archived of a log is thrown away by whoever archives it next. So nobody does while a commit is on its way that would drop the log: who waits
// for it may give up, and it may not be known what became of it.
func TestNoArchiveIsBegunWhileALogMayBeDropped(t *testing.T) {
	d, all := newDropping()
	ctx, cancel := context.WithCancel(t.Context())
	d.recopy = func(run context.Context) error {
		cancel() // the link begins anew
		if all.mu.TryLock() {
			t.Error("another archive can be begun")
		}
		return run.Err()
	}
	if err := all.run(ctx, t.Context(), d.decide); err != nil {
		t.Fatal(err)
	}
	d.want(t, "given up", "stage from 7", "drop 2 of 3 under 4", "confirm")

	lost := errors.New("no leader")
	d.recopy = func(context.Context) error { return lost }
	if err := all.run(t.Context(), t.Context(), d.decide); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	d.want(t, "not known", "stage from 7", "drop 2 of 3 under 4")
	d.recopy = func(context.Context) error { return controller.ErrRecopy }
	for range 2 {
		if err := all.run(t.Context(), t.Context(), d.decide); !errors.Is(err, controller.ErrRecopy) {
			t.Fatal(err)
		}
	}
	d.want(t, "refused", "settle", "stage from 7", "drop 2 of 3 under 4", "stage from 7", "drop 2 of 3 under 4")

	ctx, cancel = context.WithCancel(t.Context())
	d.stage = cancel
	if err := all.run(ctx, t.Context(), d.decide); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	d.want(t, "archive given up", "stage from 7")
}

// A log is dropped by order only while nothing is cut off it.
func TestLogThatIsBeingComparedIsNotDropped(t *testing.T) {
	linked := entry.NewSitesState(0)
	linked.SiteEpoch, linked.Role, linked.Shared = 4, entry.Following, 5
	view := site.View{Role: site.Standby, Epoch: 4}
	for name, change := range map[string]func(v *site.View, log *site.LogView, leads *bool){
		"not led":            func(_ *site.View, _ *site.LogView, leads *bool) { *leads = false },
		"active":             func(v *site.View, _ *site.LogView, _ *bool) { v.Role = site.Active },
		"another site epoch": func(v *site.View, _ *site.LogView, _ *bool) { v.Epoch = 8 },
		"being compared": func(_ *site.View, log *site.LogView, _ *bool) {
			log.Tip.Shared, log.Durable.Shared = entry.UnknownOffset, entry.UnknownOffset
		},
		"compared, not on disk":  func(_ *site.View, log *site.LogView, _ *bool) { log.Durable.Shared = entry.UnknownOffset },
		"follows, not on disk":   func(_ *site.View, log *site.LogView, _ *bool) { log.Durable.SiteEpoch = 0 },
		"promoted, not followed": func(_ *site.View, log *site.LogView, _ *bool) { log.Tip.Role = entry.Promoted },
	} {
		v, log, leads := view, site.LogView{Tip: linked, Durable: linked}, true
		if refused := undroppable(v, &log, leads); refused != nil {
			t.Fatalf("linked: %v", refused)
		}
		change(&v, &log, &leads)
		if undroppable(v, &log, leads) == nil {
			t.Errorf("%s: it may be dropped", name)
		}
	}
}

// table is a log by its leader epochs: each begins at an offset.
type table [][2]int64

func (e table) LastEpoch() int32 {
	if len(e) == 0 {
		return -1
	}
	return int32(e[len(e)-1][0])
}

func (e table) EndOffsetForEpoch(epoch int32, end int64) (int32, int64) {
	i, found := slices.BinarySearchFunc(e, int64(epoch), func(s [2]int64, epoch int64) int { return int(s[0] - epoch) })
	switch {
	case len(e) == 0 || i == len(e):
		return -1, -1
	case found && i == len(e)-1:
		return epoch, end
	case found:
		return epoch, e[i+1][1]
	case i == 0:
		return epoch, e[0][1]
	}
	return int32(e[i-1][0]), e[i][1]
}

// What the standby holds and the active does not is found by site epochs and by leader epochs, also while the partition is written to.
func TestWhatTheActiveLacksIsFound(t *testing.T) {
	b1 := entry.BandStart(1)
	for _, c := range []struct {
		name        string
		ours        table
		end         int64
		theirs      table
		theirEnd    int64
		start, want int64
		cut         map[uint32]int64 // the active's lineage; nil = ours
	}{
		{name: "nothing", ours: table{{0, 0}, {3, 40}}, end: 100, theirs: table{{0, 0}, {3, 40}}, theirEnd: 120, want: 100},
		{name: "written again by a later leader", ours: table{{0, 0}, {3, 40}}, end: 100, theirs: table{{0, 0}, {3, 40}, {4, 80}}, theirEnd: 120, want: 80},
		{name: "written again since an earlier one", ours: table{{0, 0}, {3, 40}, {5, 60}}, end: 100, theirs: table{{0, 0}, {6, 50}}, theirEnd: 120, want: 40},
		{name: "leaders in turns", ours: table{{0, 0}, {2, 30}, {5, 60}}, end: 100, theirs: table{{0, 0}, {1, 20}, {4, 50}}, theirEnd: 120, want: 20},
		{name: "not written again", ours: table{{0, 0}, {3, 40}, {5, 90}}, end: 100, theirs: table{{0, 0}, {3, 40}}, theirEnd: 80, want: 80, cut: map[uint32]int64{0: 80}},
		{name: "by site epochs", ours: table{{0, 0}, {1 << entry.LeaderEpochBits, b1}}, end: b1 + 9, theirs: table{{0, 0}}, theirEnd: 50, want: 50, cut: map[uint32]int64{0: 50}},
		{name: "retention of the active", ours: table{{0, 0}, {3, 40}}, end: 100, theirs: table{{7, 900}}, theirEnd: 950, want: 100},
		{name: "the active's log has no record", ours: table{{0, 0}, {3, 40}}, end: 100, theirs: table{}, theirEnd: 100, want: 100},
		{name: "no record here", ours: table{}, end: 0, theirs: table{{0, 0}}, theirEnd: 50, want: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			span := func(e uint32, end int64) entry.EpochSpan {
				return entry.EpochSpan{SiteEpoch: e, Start: entry.BandStart(e), End: end, Base: -1}
			}
			lineage := &entry.Lineage{LogStart: c.start}
			if c.end > b1 {
				lineage.Spans = []entry.EpochSpan{span(0, 60), span(1, c.end)}
			} else if c.end > 0 {
				lineage.Spans = []entry.EpochSpan{span(0, c.end)}
			}
			log := site.LogView{Lineage: lineage, Durable: entry.State{NextOffset: c.end, LastEpoch: c.ours.LastEpoch()}, Tip: entry.State{NextOffset: c.end}}
			asked := 0
			ask := func(epoch int32) (operator.LineageAnswer, error) {
				asked++
				a := operator.LineageAnswer{Lineage: *lineage}
				if c.cut != nil {
					a.Lineage = entry.Lineage{}
					for e, end := range c.cut {
						a.Lineage.Spans = append(a.Lineage.Spans, span(e, end))
					}
				}
				if last := c.theirs.LastEpoch(); last >= 0 {
					found, end := c.theirs.EndOffsetForEpoch(min(epoch, last), c.theirEnd)
					a.Found = &operator.EpochEnd{Epoch: found, End: end}
				}
				return a, nil
			}
			if got, err := lacking(&log, c.ours, ask); got != c.want || err != nil || asked > len(c.ours)+1 {
				t.Errorf("from %d, %v, asked %d times; want %d", got, err, asked, c.want)
			}
			log.Tip.NextOffset += 5 // it is being written
			if got, err := lacking(&log, c.ours, ask); (err == nil) != (c.want == c.end) {
				t.Errorf("while it is written: %d, %v", got, err)
			}
		})
	}
}
