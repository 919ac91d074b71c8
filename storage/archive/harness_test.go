package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

const dir = "/data/one"

var (
	orders   = Partition{"orders", uuid.UUID{15: 7}, 3}
	payments = Partition{"payments.eu", uuid.UUID{0: 0xff, 15: 9}, 0}
	noCut    = entry.Cut{Offset: entry.UnknownOffset}
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
)

func options() Options {
	return Options{Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return noon }}
}

// epochOf is the leader epoch n of a site epoch.
func epochOf(siteEpoch uint32, n int32) int32 { return int32(siteEpoch<<entry.LeaderEpochBits) | n }

// batchOf makes a batch of records from offset base on; each tells its offset.
func batchOf(t testing.TB, base int64, count int, epoch int32, change func(*record.Builder)) record.Batch {
	t.Helper()
	b := record.NewBuilder()
	b.BaseOffset, b.LeaderEpoch = base, epoch
	if change != nil {
		change(b)
	}
	for i := range count {
		at := fmt.Sprint(base + int64(i))
		b.Append(1_000+base+int64(i), []byte("k"+at), []byte("value "+at), record.Header{Key: []byte("h"), Value: []byte(at)})
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(batch)
}

// part is a partition's log, as a tail is read from it.
type part struct {
	id      Partition
	batches []record.Batch
	cut     entry.Cut            // the newest truncate-to
	lost    map[entry.Cut][]byte // what each truncate-to took away
	order   []entry.Cut          // in the order of their making
	piece   int                  // how many batches are read at a time
	hook    func(offset int64)   // before each read
	fail    func(int64) error    // of a read
}

func newPart(id Partition) *part {
	return &part{id: id, cut: noCut, lost: map[entry.Cut][]byte{}, piece: 2}
}

// grow appends a batch of count records at the end.
func (p *part) grow(t testing.TB, count int, epoch int32, change func(*record.Builder)) {
	p.batches = append(p.batches, batchOf(t, p.end(), count, epoch, change))
}

func (p *part) end() int64 {
	if len(p.batches) == 0 {
		return 0
	}
	return p.batches[len(p.batches)-1].LastOffset() + 1
}

func (p *part) at(offset int64) int {
	i := slices.IndexFunc(p.batches, func(b record.Batch) bool { return b.LastOffset() >= offset })
	if i < 0 {
		return len(p.batches)
	}
	return i
}

func (p *part) read(_ context.Context, offset int64) ([]byte, error) {
	if p.hook != nil {
		p.hook(offset)
	}
	if p.fail != nil {
		if err := p.fail(offset); err != nil {
			return nil, err
		}
	}
	i := p.at(offset)
	return join(p.batches[i:min(i+p.piece, len(p.batches))]), nil
}

func join(batches []record.Batch) []byte {
	var all []byte
	for _, b := range batches {
		all = append(all, b...)
	}
	return all
}

func (p *part) tail(cut entry.Cut) Tail {
	return Tail{Partition: p.id, Cut: cut, LogCut: p.cut, End: p.end(), Reason: "returned behind a failover", Read: p.read}
}

// truncate stores a truncate-to: from here on what it takes away is in the archive or nowhere.
func (p *part) truncate(cut entry.Cut) {
	i := p.at(cut.Offset)
	p.lost[cut] = join(p.batches[i:])
	p.order = append(p.order, cut)
	p.batches, p.cut = slices.Clone(p.batches[:i]), cut
}

func open(t testing.TB, fsys vfs.FS, o Options) *Archives {
	t.Helper()
	a, err := Open(fsys, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newMem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	if err := errors.Join(m.MkdirAll(dir, 0o755), m.SyncDir("/"), m.SyncDir("/data")); err != nil {
		t.Fatal(err)
	}
	return m
}

// check says whether the archives are those of the cuts that the logs hold, byte for byte, and nothing else is in the folder.
func check(a *Archives, parts ...*part) error {
	want := map[string][]byte{}
	for _, p := range parts {
		for cut, b := range p.lost {
			want[identify(p.id, cut).String()] = b
		}
	}
	list, err := a.List(context.Background())
	if err != nil {
		return err
	}
	var total int64
	for _, described := range list {
		if described.Damage != nil {
			return described.Damage
		}
		b, ok := want[described.ID]
		if !ok {
			return fmt.Errorf("%s is sealed, but its records were never cut", described.ID)
		}
		if got, err := contents(a, described.ID); err != nil || !bytes.Equal(got, b) {
			return fmt.Errorf("%s holds %d bytes, %d were cut: %w", described.ID, len(got), len(b), err)
		}
		r, err := a.Reader(context.Background(), described.ID)
		if err != nil {
			return err
		}
		if err := r.Records(context.Background(), 0, func(Record) error { return nil }); err != nil {
			return err
		}
		total += described.Bytes
		delete(want, described.ID)
	}
	for id := range want {
		return fmt.Errorf("%s is lost", id)
	}
	if n, size, err := a.Figures(); n != len(list) || size != total || err != nil {
		return fmt.Errorf("figures: %d archives of %d bytes, want %d of %d: %w", n, size, len(list), total, err)
	}
	names, err := a.fs.ReadDir(a.root)
	if len(names) != len(list) || err != nil && len(list) > 0 {
		return fmt.Errorf("%v in the folder of %d archives: %w", names, len(list), err)
	}
	return nil
}

// contents are the bytes of all batches of an archive.
func contents(a *Archives, id string) ([]byte, error) {
	files, err := logFiles(a.fs, path.Join(a.root, id))
	var all []byte
	for _, f := range files {
		b, err := readFile(a.fs, path.Join(a.root, id, f.name))
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, err
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64))
}

func replaceFile(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, filePerm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// sealed makes an archive of the tail of p from offset on.
func sealed(t testing.TB, a *Archives, p *part, cut entry.Cut) Archive {
	t.Helper()
	described, err := a.Stage(t.Context(), p.tail(cut))
	if err != nil {
		t.Fatal(err)
	}
	p.truncate(cut)
	if err := a.Seal(p.id, p.cut); err != nil {
		t.Fatal(err)
	}
	return described
}

// text lists the records of an archive.
func text(t testing.TB, a *Archives, id string, from int64) (string, error) {
	t.Helper()
	r, err := a.Reader(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	err = r.Records(t.Context(), from, func(rec Record) error {
		line := fmt.Sprintf("%d %d %s=%s", rec.Offset, rec.Timestamp, rec.Key, rec.Value)
		for _, h := range rec.Headers {
			line += fmt.Sprintf(" %s:%s", h.Key, h.Value)
		}
		if rec.Control {
			line = fmt.Sprintf("%d control", rec.Offset)
		}
		if rec.Transaction != NoTransaction {
			line += " " + rec.Transaction.String()
		}
		lines = append(lines, line)
		return nil
	})
	return strings.Join(lines, "\n"), err
}

func checksumOf(b []byte) uint32 { return crc32.Checksum(b, entry.Castagnoli) }

func put32(b []byte, v uint32) { binary.BigEndian.PutUint32(b, v) }
