package lost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

const dir = "/data"

// batchOf makes a batch of records with values of so many bytes.
func batchOf(t *testing.T, base int64, valueBytes int, change func(*record.Builder)) []byte {
	t.Helper()
	b := record.NewBuilder()
	b.BaseOffset, b.LeaderEpoch = base, 3
	if change != nil {
		change(b)
	}
	for i := range int64(3) {
		b.Append(1000+base+i, []byte(fmt.Sprint("k", base+i)), []byte(strings.Repeat("v", valueBytes)), record.Header{Key: []byte("h")})
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(batch)
}

// shelf has one archive, of offsets 10 to 18: a large record among small ones.
func shelf(t *testing.T, pageBytes int) (*Shelf, *vfs.Mem, string) {
	t.Helper()
	mem := vfs.NewMem()
	if err := mem.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	archives, err := archive.Open(mem, dir, archive.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	log := slices.Concat(batchOf(t, 10, 5, nil), batchOf(t, 13, 300, nil), batchOf(t, 16, 5, nil))
	p := archive.Partition{Topic: "orders", TopicID: uuid.UUID{1}, Index: 2}
	cut := entry.Cut{SiteEpoch: 5, Offset: 10}
	a, err := archives.Stage(t.Context(), archive.Tail{Partition: p, Cut: cut, LogCut: entry.Cut{Offset: entry.UnknownOffset}, End: 19,
		Read: func(context.Context, int64) ([]byte, error) { return log, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := archives.Seal(p, cut); err != nil {
		t.Fatal(err)
	}
	return New(Options{Archives: archives, Site: "east", Node: 7, PageBytes: pageBytes}), mem, a.ID
}

// read pages through an archive.
func read(t *testing.T, s *Shelf, id string, from int64) (records []operator.LostRecord, pages int, damage string) {
	t.Helper()
	var text []byte
	at := &operator.LostPlace{ID: id, Offset: from}
	for at != nil {
		page, err := s.Show(t.Context(), *at)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Lines) > s.opts.PageBytes || page.Next != nil && len(page.Lines) == 0 {
			t.Fatalf("page of %d bytes, next %+v", len(page.Lines), page.Next)
		}
		text = append(text, page.Lines...)
		at, damage = page.Next, page.Damage
		pages++
	}
	for line := range strings.Lines(string(text)) {
		var r operator.LostRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		records = append(records, r)
	}
	return records, pages, damage
}

// TestPagesOfAnySizeGiveTheSameRecords: also where a page ends within a record, or just behind one.
func TestPagesOfAnySizeGiveTheSameRecords(t *testing.T) {
	s, _, id := shelf(t, 1<<20)
	want, pages, damage := read(t, s, id, 0)
	if len(want) != 9 || pages != 1 || damage != "" {
		t.Fatalf("%d records on %d pages, damage %q", len(want), pages, damage)
	}
	if r := want[0]; r.Topic != "orders" || r.Partition != 2 || r.Offset != 10 || r.Timestamp != 1010 || string(r.Key) != "k10" || len(r.Headers) != 1 || r.Headers[0].Value != nil ||
		r.Transaction != "none" {
		t.Errorf("%+v", r)
	}
	for size := 50; size < 1000; size += 7 {
		s.opts.PageBytes = size
		for from, offset := range []int64{0, 10, 11, 12, 13, 14, 15, 16, 17, 18} {
			got, _, _ := read(t, s, id, offset)
			if want := want[max(from-1, 0):]; !slices.EqualFunc(got, want, func(a, b operator.LostRecord) bool { return a.Offset == b.Offset && string(a.Value) == string(b.Value) }) {
				t.Fatalf("pages of %d bytes from offset %d: %d records, want %d", size, offset, len(got), len(want))
			}
		}
	}
}

func TestListAndRemove(t *testing.T) {
	s, _, id := shelf(t, 0)
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].Site != "east" || list[0].Node != 7 || list[0].Records != 9 || list[0].FirstOffset != 10 || list[0].LastOffset != 18 {
		t.Fatalf("%+v: %v", list, err)
	}
	if _, _, damage := read(t, s, id, 0); damage != "" {
		t.Fatal(damage)
	}
	if err := s.Remove(operator.LostPlace{ID: id}); err != nil {
		t.Fatal(err)
	}
	var told *operator.Error
	if _, err := s.Show(t.Context(), operator.LostPlace{ID: id}); !errors.As(err, &told) || told.Next == "" {
		t.Errorf("a removed archive is shown: %v", err)
	}
	if err := s.Remove(operator.LostPlace{ID: id}); !errors.As(err, &told) {
		t.Errorf("%v", err)
	}
	if f, err := s.Figures(); err != nil || f.Archives != 0 {
		t.Errorf("%+v: %v", f, err)
	}
}

func TestNoSuchPlace(t *testing.T) {
	s, _, id := shelf(t, 0)
	for _, p := range []operator.LostPlace{{ID: id, Offset: -1}, {ID: id, Byte: -1}, {ID: "../x"}, {ID: ""}} {
		if _, err := s.Show(t.Context(), p); err == nil {
			t.Errorf("%+v is shown", p)
		}
	}
	page, err := s.Show(t.Context(), operator.LostPlace{ID: id, Offset: 18, Byte: 1 << 40})
	if err != nil || len(page.Lines) > 0 || page.Next != nil {
		t.Errorf("behind the end of a record: %q, %v", page.Lines, err)
	}
}

// TestDamageIsToldAndTheRestShown: on the last page.
func TestDamageIsToldAndTheRestShown(t *testing.T) {
	s, mem, id := shelf(t, 400)
	name := path.Join(dir, "lost-records", id, "00000000000000000010.log")
	f, err := mem.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0xff}, 90); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	records, pages, damage := read(t, s, id, 0)
	if len(records) != 6 || records[0].Offset != 13 || pages < 2 || !strings.Contains(damage, "00010.log") {
		t.Errorf("%d records on %d pages, damage %q", len(records), pages, damage)
	}
}
