package archive

import (
	"bytes"
	"context"
	"errors"
	"path"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// The tail of a log of several segments on a real disk, read as the log is read, then cut and settled by another start.
func TestTailOfALogOnDisk(t *testing.T) {
	where := t.TempDir()
	l, err := log.Create(vfs.OS{}, path.Join(where, "orders-3"), orders.TopicID, 0, log.Options{SegmentBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var all []byte
	var begins []int
	for i := range 30 {
		b := batchOf(t, l.LogEnd(), 5, epochOf(1, int32(i/10)), func(b *record.Builder) { b.Codec = record.Codec(i % 5) })
		row := entry.Row{Length: uint32(len(b)), BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), LeaderEpoch: b.LeaderEpoch(),
			CoordinatorEpoch: -1, ProducerID: -1, MaxTimestamp: b.MaxTimestamp(), BaseSequence: -1, ProducerEpoch: -1,
			Attributes: b.Attributes(), ControlType: -1, LastOffsetDelta: b.LastOffsetDelta()}
		if _, err := l.Append(b, []entry.Row{row}); err != nil {
			t.Fatal(err)
		}
		begins = append(begins, len(all))
		all = append(all, b...)
	}
	a, err := Open(vfs.OS{}, where, options())
	if err != nil {
		t.Fatal(err)
	}
	tail := Tail{Partition: orders, Cut: entry.Cut{SiteEpoch: 2, Offset: 35}, LogCut: noCut, End: l.LogEnd(),
		Read: func(_ context.Context, offset int64) ([]byte, error) {
			e, err := l.Read(offset, 700, l.LogEnd(), true)
			if err != nil {
				return nil, err
			}
			defer e.Release()
			return e.ReadAll()
		}}
	described, err := a.Stage(t.Context(), tail)
	if err != nil || described.Records != 115 || len(described.LeaderEpochs) != 3 {
		t.Fatalf("%+v, %v", described, err)
	}
	if err := l.Truncate(35); err != nil {
		t.Fatal(err)
	}
	if a, err = Open(vfs.OS{}, where, options()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Seal(orders, tail.Cut), a.Seal(orders, tail.Cut)); err != nil {
		t.Fatal(err)
	}
	if got, err := contents(a, described.ID); err != nil || !bytes.Equal(got, all[begins[7]:]) {
		t.Fatalf("%d bytes of %d: %v", len(got), len(all)-begins[7], err)
	}
	if got, err := text(t, a, described.ID, 149); err != nil || got != "149 1149 k149=value 149 h:149" {
		t.Fatalf("%s, %v", got, err)
	}
}
