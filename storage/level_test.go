package storage

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
)

// A directory of level 1 is opened at level 2 and used: what it held is there, its logs have heard of no site.
func TestFormatLevelIsRaisedAndKept(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	if s.FormatLevel() != 1 {
		t.Fatalf("level %d", s.FormatLevel())
	}
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	other, op := createGroup(t, s, 2)
	mustAppend(t, other, op, op.noop(), op.epochBase(), op.data(100, entry.Synced))
	if err := g.SaveSnapshot(snapshotAt(g, 3)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, g, p, p.data(3000, entry.Synced))
	want := payloads(t, g)
	end := g.State().NextOffset
	s.Close(false)

	o.FormatLevel = 2
	for range 2 {
		s = openStore(t, o)
		g, _ = s.Group(groupID(1))
		state := g.State()
		sites := entry.NewSitesState(0).Sites
		if s.FormatLevel() != 2 || state.Sites != sites || state.NextOffset != end || string(payloads(t, g)) != string(want) {
			t.Fatalf("level %d, state %+v", s.FormatLevel(), state)
		}
		p.resume(g.mu.last, p.term, state)
		mustAppend(t, g, p, p.data(100, entry.Synced))
		want, end = payloads(t, g), g.State().NextOffset
		if err := g.SaveSnapshot(snapshotAt(g, g.LastIndex())); err != nil {
			t.Fatal(err)
		}
		fresh, err := s.CreateGroup(GroupID{Partition: 9, Incarnation: uint32(g.LastIndex())}, "", 7, log.Options{})
		if err != nil || fresh.State() != entry.NewSitesState(7) {
			t.Fatalf("%+v, %v", fresh.State(), err)
		}
		rows, _, err := s.meta.LoadGroups()
		if err != nil || rows[g.ID()].Version() != 3 {
			t.Fatalf("%v, %v", rows, err)
		}
		l := rows[g.ID()].Lineage()
		if span := (entry.EpochSpan{SiteEpoch: 0, FirstEpoch: 0, Base: -1, Shared: -1, Start: 0, End: end}); !reflect.DeepEqual(l.Spans, []entry.EpochSpan{span}) {
			t.Fatalf("lineage %+v", l)
		}
		s.Close(true)
		o.FormatLevel = 1 // a lower one changes nothing
	}
	o.FormatLevel = meta.FormatLevel + 1
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "format level 3") {
		t.Fatal(err)
	}
}

// Nothing of level 2 is written below it.
func TestLevelOneRowsAreAsBefore(t *testing.T) {
	s := openStore(t, testOptions(t.TempDir()))
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	if err := g.SaveSnapshot(snapshotAt(g, 3)); err != nil {
		t.Fatal(err)
	}
	rows, _, err := s.meta.LoadGroups()
	if err != nil || rows[g.ID()].Version() != 2 || g.State().Sites != (entry.Sites{}) {
		t.Fatalf("version %d, %+v, %v", rows[g.ID()].Version(), g.State(), err)
	}
}
