package partition

import (
	"context"
	"slices"
	"testing"

	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
)

// An archive of an earlier log of the partition, of the same incarnation, does not stand for one of this log, and is not withdrawn with it.
func TestArchiveOfAnEarlierLogStays(t *testing.T) {
	b := newPairedBroker(t)
	earlier, p := b.create(t, 0), b.create(t, 1)
	for range 3 {
		mustAppend(t, earlier, write{})
	}
	mustAppend(t, p, write{count: 5})
	archives := p.manager.options.Archives
	of := p.archivedAs(p.Topic())
	cut := archive.Whole(5, p.id.Incarnation)
	_, err := archives.Stage(t.Context(), archive.Tail{Partition: of, Cut: cut, LogCut: entry.Cut{}, End: 3, Read: func(_ context.Context, offset int64) ([]byte, error) {
		_, payload, err := earlier.Shipped(0).ReadShipped(offset, 3, archiveReadBytes, fresh)
		return payload, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := archives.Seal(of, cut); err != nil {
		t.Fatal(err)
	}
	ends := func(want ...int64) {
		t.Helper()
		list, err := archives.List(t.Context())
		var got []int64
		for _, a := range list {
			got = append(got, a.LastOffset)
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("archives end at %v, %v, want %v", got, err, want)
		}
	}
	for range 2 { // twice is as once
		if err := p.ArchiveWhole(t.Context(), p.Topic(), 6); err != nil {
			t.Fatal(err)
		}
	}
	ends(2, 4)
	if err := p.Shipped(0).SealArchive(t.Context(), entry.Cut{}); err != nil {
		t.Fatal(err)
	}
	ends(2)
}

// An archive of a log that is to be dropped counts once the metadata says that it was, and not where that came to nothing.
func TestArchiveOfADroppedLogCountsOnceItIs(t *testing.T) {
	b := newPairedBroker(t)
	p := b.create(t, 0)
	for range 3 {
		mustAppend(t, p, write{})
	}
	archives := p.manager.options.Archives
	from := func(want ...int64) {
		t.Helper()
		list, err := archives.List(t.Context())
		var got []int64
		for _, a := range list {
			got = append(got, a.FirstOffset)
		}
		if !slices.Equal(got, want) || err != nil {
			t.Errorf("archives from %v, %v, want %v", got, err, want)
		}
	}
	s := p.Shipped(0)
	if err := s.StageAnew(t.Context(), 1, 5); err != nil {
		t.Fatal(err)
	}
	if err := s.SealArchive(t.Context(), entry.Cut{}); err != nil {
		t.Fatal(err)
	}
	if err := s.ConfirmAnew(5); err != nil {
		t.Fatal(err)
	}
	from()
	if err := s.StageAnew(t.Context(), 3, 5); err != nil { // there is nothing
		t.Fatal(err)
	}
	if err := s.StageAnew(t.Context(), 1, 5); err != nil {
		t.Fatal(err)
	}
	// The log behind it, of another incarnation, begins with an archive of a tail: by then the one before counts.
	later := s.Anew(5, p.id.Incarnation)
	later.p = &Partition{manager: p.manager, id: p.id, log: p.log, group: p.group}
	later.p.topic.Store(p.topic.Load())
	later.p.id.Incarnation++
	if _, err := later.ArchiveTail(t.Context(), entry.Cut{SiteEpoch: 5, Offset: 2}, entry.Cut{}); err != nil {
		t.Fatal(err)
	}
	from(1)
	if err := later.SealArchive(t.Context(), entry.Cut{}); err != nil {
		t.Fatal(err)
	}
	from(1)
}
