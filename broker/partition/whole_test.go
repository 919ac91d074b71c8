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
