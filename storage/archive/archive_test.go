package archive

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

func TestDocumentGolden(t *testing.T) {
	p := newPart(orders)
	p.grow(t, 3, epochOf(1, 4), nil)
	p.grow(t, 2, epochOf(3, 5), nil)
	p.batches = append(p.batches, record.ControlBatch(record.Control{Type: record.Abort, BaseOffset: 5, LeaderEpoch: epochOf(3, 5), ProducerID: 8}))
	fsys := newMem(t)
	a := open(t, fsys, options())
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 4, Offset: 0})
	const id = "orders-3.4.0.AAAAAAAAAAAAAAAAAAAABw"
	got, err := readFile(fsys, path.Join(dir, "lost-records", id, "archive.json"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "version": 1,
  "topic": "orders",
  "topic_id": "AAAAAAAAAAAAAAAAAAAABw",
  "partition": 3,
  "site_epoch": 4,
  "cut_offset": 0,
  "old_site_epoch": 3,
  "first_offset": 0,
  "last_offset": 5,
  "records": 5,
  "markers": 1,
  "batches": 3,
  "bytes": 300,
  "leader_epochs": [
    {
      "epoch": 262148,
      "start_offset": 0
    },
    {
      "epoch": 786437,
      "start_offset": 3
    }
  ],
  "segments": [
    {
      "file": "00000000000000000000.log",
      "bytes": 300,
      "crc32c": "4944900d"
    }
  ],
  "archived": "2026-03-01T12:00:00.005Z",
  "reason": "returned behind a failover",
  "crc32c": "642318f2"
}
`
	if string(got) != want {
		t.Fatalf("document\n%s, docs/formats.md says\n%s", got, want)
	}
	list, err := a.List(t.Context())
	if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], described) {
		t.Fatalf("listed as %+v, %v; staged as %+v", list, err, described)
	}
}

func TestIdentity(t *testing.T) {
	long := Partition{strings.Repeat("x.-", 83), uuid.UUID{1}, 1<<31 - 1}
	for _, p := range []Partition{orders, payments, long, {"-", uuid.UUID{}, 0}, {"a.1.2", uuid.UUID{2}, 4}} {
		n := identify(p, entry.Cut{SiteEpoch: 8191, Offset: 1<<63 - 1})
		if got, ok := parseIdentity(n.String()); !ok || got != n || len(n.String()+suffixUnfinished) > 255 {
			t.Errorf("%s reads as %+v, %v", n, got, ok)
		}
	}
	for _, id := range []string{"", "orders-3", "orders-3.4.0", "../x-3.4.0.AAAAAAAAAAAAAAAAAAAABw", "orders-03.4.0.AAAAAAAAAAAAAAAAAAAABw",
		"orders-3.4.-1.AAAAAAAAAAAAAAAAAAAABw", "orders-3.4.0.AAAAAAAAAAAAAAAAAAAAB", "-3.4.0.AAAAAAAAAAAAAAAAAAAABw",
		"a/b-3.4.0.AAAAAAAAAAAAAAAAAAAABw", "orders-3.4.0.AAAAAAAAAAAAAAAAAAAABw.staged"} {
		if n, ok := parseIdentity(id); ok {
			t.Errorf("%q reads as %+v", id, n)
		}
	}
}

// Every codec, headers, nulls; from any offset on.
func TestRecordsAreReadAsWritten(t *testing.T) {
	p := newPart(payments)
	for _, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		p.grow(t, 2, epochOf(1, 1), func(b *record.Builder) { b.Codec = codec })
	}
	o := options()
	o.SegmentBytes = 200 // two files or more
	a := open(t, newMem(t), o)
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	if len(described.Segments) < 2 || described.Records != 10 {
		t.Fatalf("%+v", described)
	}
	whole, err := text(t, a, described.ID, 0)
	lines := strings.Split(whole, "\n")
	if err != nil || len(lines) != 10 || lines[3] != "3 1003 k3=value 3 h:3" {
		t.Fatalf("%v\n%s", err, whole)
	}
	for from := range lines {
		if got, err := text(t, a, described.ID, int64(from)); err != nil || got != strings.Join(lines[from:], "\n") {
			t.Errorf("from %d: %v\n%s", from, err, got)
		}
	}
	stop := errors.New("enough")
	r, err := a.Reader(t.Context(), described.ID)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	if err := r.Records(t.Context(), 0, func(Record) error { count++; return stop }); err != stop || count != 1 {
		t.Errorf("a callback that stops: %v behind %d records", err, count)
	}
}

func TestTransactionsAreFlagged(t *testing.T) {
	p := newPart(orders)
	txn := func(pid int64) func(*record.Builder) {
		return func(b *record.Builder) {
			b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = pid, 1, 0, true
		}
	}
	marker := func(pid int64, what record.ControlType) {
		p.batches = append(p.batches, record.ControlBatch(record.Control{Type: what, BaseOffset: p.end(), LeaderEpoch: 1, ProducerID: pid, ProducerEpoch: 1}))
	}
	p.grow(t, 1, 1, txn(7)) // 0
	p.grow(t, 1, 1, txn(8)) // 1
	marker(7, record.Abort) // 2
	p.grow(t, 1, 1, txn(7)) // 3
	p.grow(t, 1, 1, nil)    // 4
	marker(7, record.Commit)
	p.grow(t, 1, 1, txn(7)) // 6
	marker(7, record.Abort)
	p.grow(t, 1, 1, txn(7))                                                                              // 8
	p.grow(t, 1, 1, func(b *record.Builder) { b.ProducerID, b.ProducerEpoch, b.BaseSequence = 7, 1, 5 }) // 9
	marker(9, record.Commit)
	a := open(t, newMem(t), options())
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	got, err := text(t, a, described.ID, 0)
	want := `0 1000 k0=value 0 h:0 aborted
1 1001 k1=value 1 h:1 undecided
2 control
3 1003 k3=value 3 h:3 committed
4 1004 k4=value 4 h:4
5 control
6 1006 k6=value 6 h:6 aborted
7 control
8 1008 k8=value 8 h:8 undecided
9 1009 k9=value 9 h:9
10 control`
	if err != nil || got != want {
		t.Fatalf("%v\n%s", err, got)
	}
	if described.Records != 7 || described.Markers != 4 {
		t.Fatalf("%d records and %d markers", described.Records, described.Markers)
	}
}

// What is not the whole tail, or could not be read again, or is not to be cut, is not staged.
func TestTailIsChecked(t *testing.T) {
	fill := func() *part {
		p := newPart(orders)
		p.grow(t, 2, epochOf(1, 1), nil)
		p.grow(t, 2, epochOf(1, 2), nil)
		p.grow(t, 2, epochOf(1, 2), nil)
		return p
	}
	for name, spoil := range map[string]func(*part, *Tail){
		"a cut that was made":            func(_ *part, tail *Tail) { tail.LogCut = tail.Cut },
		"a cut at the end":               func(_ *part, tail *Tail) { tail.Cut.Offset = 6 },
		"a cut below zero":               func(_ *part, tail *Tail) { tail.Cut.Offset = -1 },
		"a log that ends before":         func(_ *part, tail *Tail) { tail.End = 8 },
		"a log that ends behind a batch": func(_ *part, tail *Tail) { tail.End = 5 },
		"a damaged batch":                func(p *part, _ *Tail) { p.batches[2][70]++ },
		"half a batch":                   func(p *part, _ *Tail) { p.batches[2] = p.batches[2][:80] },
		"offsets that go back":           func(p *part, _ *Tail) { p.batches[2].SetBaseOffset(3) },
		"leader epochs that go back":     func(p *part, _ *Tail) { p.batches[2].SetLeaderEpoch(epochOf(1, 1)) },
		"records of the followed site":   func(p *part, _ *Tail) { p.batches[2].SetLeaderEpoch(epochOf(2, 1)) },
		"a name that is a path":          func(_ *part, tail *Tail) { tail.Partition.Topic = "../x" },
		"no name":                        func(_ *part, tail *Tail) { tail.Partition.Topic = ".." },
		"a name that is too long":        func(_ *part, tail *Tail) { tail.Partition.Topic = strings.Repeat("x", 250) },
	} {
		p := fill()
		p.piece = 1
		tail := p.tail(entry.Cut{SiteEpoch: 2, Offset: 2})
		spoil(p, &tail)
		a := open(t, newMem(t), options())
		if _, err := a.Stage(t.Context(), tail); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err := check(a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := fill()
	a := open(t, newMem(t), options())
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 2})
	p.grow(t, 4, 1, nil)
	p.cut = noCut
	if _, err := a.Stage(t.Context(), p.tail(described.Cut)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a cut that has its archive: %v", err)
	}
}

// A batch that begins in front of the cut is cut as a whole, so it is archived as a whole.
func TestBatchAcrossTheCutIsArchived(t *testing.T) {
	p := newPart(orders)
	p.grow(t, 4, 1, nil)
	p.grow(t, 4, 1, nil)
	a := open(t, newMem(t), options())
	if described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 6}); described.FirstOffset != 4 || described.Records != 4 {
		t.Fatalf("%+v", described)
	}
	if err := check(a, p); err != nil {
		t.Fatal(err)
	}
}

// Offsets jump where another site took over: a file of Kafka's format spans less than 2^31 of them.
func TestOffsetsThatJumpBeginANewFile(t *testing.T) {
	p := newPart(orders)
	p.grow(t, 1, 1, nil)
	p.batches = append(p.batches, batchOf(t, 1<<31, 1, 1, nil), batchOf(t, 1<<31+1, 1, 1, nil))
	p.piece = 3
	a := open(t, newMem(t), options())
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	if len(described.Segments) != 2 || described.Segments[1].File != "00000000002147483648.log" {
		t.Fatalf("%+v", described.Segments)
	}
	if err := check(a, p); err != nil {
		t.Fatal(err)
	}
}

// A disk that fills, or a reserve that is reached, stages nothing and takes no space; once there is room it goes on.
func TestFullDisk(t *testing.T) {
	const room, large = 3 << 10, 1 << 20
	full := &vfs.Fault{Ops: vfs.OpWrite, N: 3, Err: syscall.ENOSPC, Short: 10}
	for name, disk := range map[string]struct {
		capacity, reserve int64
		hook              func(vfs.Call) vfs.Outcome
	}{
		"full":              {room, 0, nil},
		"reserve":           {large, large - room, nil},
		"filled by another": {large, 0, full.Hook},
	} {
		p := newPart(orders)
		for range 20 {
			p.grow(t, 10, 1, nil)
		}
		fsys, o := newMem(t), options()
		o.ReserveBytes = disk.reserve
		fsys.SetCapacity(disk.capacity)
		a := open(t, fsys, o)
		fsys.SetHook(disk.hook)
		if _, err := a.Stage(t.Context(), p.tail(entry.Cut{SiteEpoch: 2, Offset: 0})); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("%s: %v", name, err)
		}
		fsys.SetHook(nil)
		if free, err := fsys.Free(dir); err != nil || int64(free) != disk.capacity {
			t.Errorf("%s: %d bytes are free of %d: %v", name, free, disk.capacity, err)
		}
		if err := errors.Join(a.Seal(p.id, entry.Cut{SiteEpoch: 2, Offset: 0}), check(a)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		fsys.SetCapacity(1 << 30)
		sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
		if err := check(a, p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallsForOnePartitionDoNotOverlap(t *testing.T) {
	p, q := newPart(orders), newPart(payments)
	p.grow(t, 5, 1, nil)
	q.grow(t, 5, 1, nil)
	a := open(t, newMem(t), options())
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	p.grow(t, 5, 1, nil)
	p.hook = func(int64) {
		p.hook = nil
		if _, err := a.Stage(t.Context(), p.tail(entry.Cut{SiteEpoch: 6, Offset: 0})); !errors.Is(err, ErrBusy) {
			t.Errorf("stage: %v", err)
		}
		if err := a.Seal(p.id, p.cut); !errors.Is(err, ErrBusy) {
			t.Errorf("seal: %v", err)
		}
		if err := a.Remove(described.ID); !errors.Is(err, ErrBusy) {
			t.Errorf("remove: %v", err)
		}
		sealed(t, a, q, entry.Cut{SiteEpoch: 2, Offset: 0})
	}
	sealed(t, a, p, entry.Cut{SiteEpoch: 4, Offset: 0})
	if err := check(a, p, q); err != nil {
		t.Fatal(err)
	}
}

// Partitions are archived beside each other, while others list, read and remove.
func TestManyPartitionsAtOnce(t *testing.T) {
	a := open(t, newMem(t), options())
	var parts []*part
	var all sync.WaitGroup
	for i := range 8 {
		p := newPart(Partition{"orders", orders.TopicID, int32(i)})
		for range 4 {
			p.grow(t, 3, 1, nil)
		}
		parts = append(parts, p)
		all.Go(func() {
			first, second := entry.Cut{SiteEpoch: 2, Offset: 6}, entry.Cut{SiteEpoch: 4, Offset: 0}
			for _, c := range []entry.Cut{first, second} {
				if _, err := a.Stage(t.Context(), p.tail(c)); err != nil {
					t.Error(err)
				}
				p.truncate(c)
			}
			if err := errors.Join(a.Seal(p.id, p.cut), a.Remove(identify(p.id, first).String())); err != nil {
				t.Error(err)
			}
			delete(p.lost, first)
		})
		all.Go(func() {
			list, err := a.List(t.Context())
			if err != nil {
				t.Error(err)
			}
			for _, described := range list {
				r, err := a.Reader(t.Context(), described.ID)
				if err == nil {
					err = r.Records(t.Context(), 0, func(Record) error { return nil })
				}
				if err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := check(a, parts...); err != nil {
		t.Fatal(err)
	}
}

// Another call fails, and the folder is read again, while a copy is going on.
func TestCopySurvivesAFailureOfAnotherCall(t *testing.T) {
	fsys := newMem(t)
	p, q := newPart(orders), newPart(payments)
	p.grow(t, 5, 1, nil)
	q.grow(t, 5, 1, nil)
	a := open(t, fsys, options())
	if _, err := a.Stage(t.Context(), q.tail(entry.Cut{SiteEpoch: 2, Offset: 0})); err != nil {
		t.Fatal(err)
	}
	q.truncate(entry.Cut{SiteEpoch: 2, Offset: 0})
	p.hook = func(int64) {
		p.hook = nil
		a.mu.Lock()
		a.mu.known = false // as a failed sync leaves it
		a.mu.Unlock()
		if err := a.Seal(q.id, q.cut); err != nil {
			t.Error(err)
		}
	}
	sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	if err := check(a, p, q); err != nil {
		t.Fatal(err)
	}
}

func TestFailedReadStagesNothing(t *testing.T) {
	p := newPart(orders)
	for range 6 {
		p.grow(t, 5, 1, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failure := errors.New("no such segment")
	a := open(t, newMem(t), options())
	for want, fail := range map[error]func(int64) error{
		failure: func(offset int64) error {
			if offset > 10 {
				return failure
			}
			return nil
		},
		context.Canceled: func(int64) error { cancel(); return nil },
	} {
		p.fail = fail
		if _, err := a.Stage(ctx, p.tail(entry.Cut{SiteEpoch: 2, Offset: 0})); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if err := errors.Join(a.Seal(p.id, entry.Cut{SiteEpoch: 2, Offset: 0}), check(a)); err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
}

// The operator removes one; what else lies in the folder is left alone.
func TestRemove(t *testing.T) {
	fsys := newMem(t)
	p := newPart(orders)
	for range 4 {
		p.grow(t, 5, 1, nil)
	}
	a := open(t, fsys, options())
	first := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 10})
	sealed(t, a, p, entry.Cut{SiteEpoch: 4, Offset: 0})
	note := path.Join(dir, rootName, "read me.txt")
	replaceFile(t, fsys, note, []byte("of the operator"))
	a = open(t, fsys, options())
	if err := a.Remove(first.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{first.ID, "read me.txt", "..", "", "../orders-3"} {
		if err := a.Remove(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("remove %q: %v", id, err)
		}
		if _, err := a.Reader(t.Context(), id); !errors.Is(err, ErrUnknown) {
			t.Errorf("read %q: %v", id, err)
		}
	}
	if _, err := fsys.Stat(note); err != nil {
		t.Error(err)
	}
	delete(p.lost, first.Cut)
	if err := fsys.Remove(note); err != nil {
		t.Fatal(err)
	}
	if err := check(a, p); err != nil {
		t.Error(err)
	}
}

func TestOpenMakesNothing(t *testing.T) {
	fsys := newMem(t)
	a := open(t, fsys, options())
	if err := a.Seal(orders, noCut); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat(path.Join(dir, rootName)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the folder is there: %v", err)
	}
	if _, err := Open(fsys, dir, Options{ReserveBytes: -1}); err == nil {
		t.Error("a negative reserve is taken")
	}
}
