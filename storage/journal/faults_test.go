package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/wal"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// seam sits between the journal and both tidwall/wal and the file system. before is asked in front of each call that changes
// something, and may fail it; after is told once such a call went well.
type seam struct {
	before func(op, name string) error
	after  func(op, name string)
	slow   bool // real syncs; else they are left out, since a test never loses the page cache
}

func (s *seam) options(o Options) Options {
	o.FS = &seamFS{OS: vfs.OS{}, s: s}
	o.OpenLibrary = func(dir string) (Library, error) {
		if err := s.call("library open", dir); err != nil {
			return nil, err
		}
		l, err := newLibraryOpener(0).open(dir)
		return &seamLibrary{l, s, dir}, err
	}
	return o
}

func (s *seam) call(op, name string) error {
	if s.before == nil {
		return nil
	}
	return s.before(op, name)
}

func (s *seam) done(op, name string) {
	if s.after != nil {
		s.after(op, name)
	}
}

type seamLibrary struct {
	Library
	s   *seam
	dir string
}

func (l *seamLibrary) do(op string, fn func() error) error {
	if err := l.s.call(op, l.dir); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		l.s.done(op, l.dir)
	}
	return err
}

func (l *seamLibrary) WriteBatch(b *wal.Batch) error {
	return l.do("library write", func() error { return l.Library.WriteBatch(b) })
}

func (l *seamLibrary) Sync() error {
	return l.do("library sync", func() error {
		if l.s.slow {
			return l.Library.Sync()
		}
		return nil
	})
}

func (l *seamLibrary) Close() error { return l.do("library close", l.Library.Close) }

type seamFS struct {
	vfs.OS
	s *seam
}

func (f *seamFS) do(op, name string, fn func() error) error {
	if err := f.s.call(op, name); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		f.s.done(op, name)
	}
	return err
}

func (f *seamFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	var file vfs.File
	open := func() (err error) { file, err = f.OS.OpenFile(name, flag, perm); return err }
	var err error
	if flag&os.O_CREATE != 0 {
		err = f.do("create", name, open)
	} else {
		err = open()
	}
	if err != nil {
		return nil, err
	}
	return &seamFile{file, f}, nil
}

func (f *seamFS) Remove(name string) error {
	return f.do("remove", name, func() error { return f.OS.Remove(name) })
}

func (f *seamFS) Rename(from, to string) error {
	return f.do("rename", from, func() error { return f.OS.Rename(from, to) })
}

func (f *seamFS) SyncDir(dir string) error {
	return f.do("sync folder", dir, func() error {
		if f.s.slow {
			return f.OS.SyncDir(dir)
		}
		return nil
	})
}

type seamFile struct {
	vfs.File
	fs *seamFS
}

func (f *seamFile) WriteAt(b []byte, pos int64) (n int, err error) {
	err = f.fs.do("write", f.Name(), func() error { n, err = f.File.WriteAt(b, pos); return err })
	return n, err
}

func (f *seamFile) Truncate(size int64) error {
	return f.fs.do("truncate", f.Name(), func() error { return f.File.Truncate(size) })
}

func (f *seamFile) Sync() error {
	return f.fs.do("sync", f.Name(), func() error {
		if f.fs.s.slow {
			return f.File.Sync()
		}
		return nil
	})
}

// lastFileOf is the file of dir that is being written to.
func lastFileOf(t testing.TB, dir string) string {
	t.Helper()
	files, err := listFiles(vfs.OS{}, dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %s: %v, %v", dir, files, err)
	}
	return filepath.Join(dir, fileName(files[len(files)-1].first))
}

// workload appends until something fails, and returns what was acknowledged as synced. It rolls, truncates the front and
// closes; every record is told apart by its index.
func workload(j *Journal) (acked []Record, err error) {
	for i := range 24 {
		recs := []Record{inlineEntry(i%3, uint64(i+1), 200), VoteRecord(group(i%3), uint64(i+1), 1, "1@x")}
		if _, err := j.Append(recs, i%4 != 3).Wait(); err != nil {
			return acked, err
		}
		if i%4 != 3 {
			acked = append(acked, recs...)
		}
		if i == 16 {
			if err := j.TruncateFront(5); err != nil {
				return acked, err
			}
		}
	}
	return acked, j.Close()
}

func TestEveryFailedCallStopsTheJournal(t *testing.T) {
	for n := 1; ; n++ {
		if clean := failNthCall(t, n); clean {
			if n < 40 {
				t.Fatalf("only %d calls in the workload", n)
			}
			return
		}
	}
}

// failNthCall runs the workload with the n-th call failing, and says whether there were fewer calls.
func failNthCall(t *testing.T, n int) (clean bool) {
	dir := filepath.Join(memDir(t), "journal")
	var calls, fatal atomic.Int64
	var failed atomic.Pointer[string]
	s := &seam{before: func(op, name string) error {
		if first := failed.Load(); first != nil {
			t.Errorf("call %d: %s %s after the failed %s", n, op, name, *first)
		}
		if calls.Add(1) == int64(n) {
			if op == "library write" {
				appendGarbage(t, lastFileOf(t, name)) // as a short write does
			}
			failed.Store(&op)
			return syscall.ENOSPC
		}
		return nil
	}}
	o := s.options(Options{SegmentBytes: 2 << 10, MarkInterval: time.Hour, OnFatal: func(error) { fatal.Add(1) }})
	var acked []Record
	j, r, err := Open(dir, o)
	if err == nil {
		acked, err = workload(j)
		if failed.Load() != nil {
			if _, errAfter := j.Append(nil, true).Wait(); !errors.Is(errAfter, ErrFailed) {
				t.Errorf("call %d: append after the failure: %v", n, errAfter)
			}
			if fatal.Load() != 1 {
				t.Errorf("call %d (%s): OnFatal called %d times", n, *failed.Load(), fatal.Load())
			}
		}
		_ = j.Close()
		_ = r.Close()
	}
	if failed.Load() == nil {
		if err != nil {
			t.Fatalf("no call failed, yet %v", err)
		}
		return true
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("call %d (%s): error %v", n, *failed.Load(), err)
	}
	_, r = mustOpen(t, dir, (&seam{}).options(Options{MarkInterval: time.Hour}))
	if len(r.Damage) != 0 {
		t.Fatalf("call %d (%s): damage %+v", n, *failed.Load(), r.Damage)
	}
	wantAcked(t, all(t, r), acked)
	return false
}

func appendGarbage(t testing.TB, name string) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err := f.Write([]byte("\xf0\x02TJR1 the first bytes of a record that did not fit")); err != nil {
		t.Error(err)
	}
}

// wantAcked wants every acknowledged record among got, in order, except a front that was truncated.
func wantAcked(t testing.TB, got, acked []Record) {
	t.Helper()
	key := func(r *Record) [2]uint64 { return [2]uint64{uint64(r.Kind), r.Index + r.Term<<32} }
	there := map[[2]uint64]*Record{}
	for i := range got {
		if i > 0 && got[i].Sequence != got[i-1].Sequence+1 {
			t.Fatalf("record %d follows record %d", got[i].Sequence, got[i-1].Sequence)
		}
		there[key(&got[i])] = &got[i]
	}
	front := true
	for i := range acked {
		g := there[key(&acked[i])]
		if g == nil {
			if front && len(acked) > 20 && i < 4 {
				continue // below the truncation
			}
			t.Fatalf("acknowledged record %d (%s, index %d) is lost", i, acked[i].Kind, acked[i].Index)
		}
		front = false
		compare(t, g, &acked[i])
	}
}

// A failed write leaves part of the batch in the file, and the library's memory different from it.
func TestGuardW1FailedWriteIsNeverRetried(t *testing.T) {
	dir := t.TempDir()
	var full atomic.Bool
	writes := 0
	s := &seam{before: func(op, name string) error {
		if op == "library write" {
			if full.Load() {
				writes++
				appendGarbage(t, lastFileOf(t, name))
				return syscall.ENOSPC
			}
		}
		return nil
	}}
	j, _ := mustOpen(t, dir, s.options(Options{MarkInterval: time.Hour}))
	want := inlineEntry(1, 1, 100)
	mustAppend(t, j, true, want)
	full.Store(true)
	for range 3 {
		if _, err := j.Append([]Record{inlineEntry(1, 2, 100)}, true).Wait(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("append on a full disk: %v", err)
		}
	}
	full.Store(false)
	if _, err := j.Append([]Record{inlineEntry(1, 2, 100)}, true).Wait(); !errors.Is(err, ErrFailed) {
		t.Fatalf("append after space was freed: %v", err)
	}
	if writes != 1 {
		t.Fatalf("%d writes were tried after the first failed", writes)
	}
	if err := j.Close(); !errors.Is(err, ErrFailed) {
		t.Fatalf("close: %v", err)
	}
	_, r := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	got := all(t, r)
	if r.Cut == nil || r.Cut.From != 2 || len(got) != 1 {
		t.Fatalf("cut %+v, %d records", r.Cut, len(got))
	}
	compare(t, &got[0], &want)
}

// After a failed sync the kernel calls the pages clean: a retry would succeed without them.
func TestGuardW2FailedSyncIsFatal(t *testing.T) {
	syncs, fail := 0, false
	s := &seam{before: func(op, _ string) error {
		if op == "library sync" {
			if syncs++; fail {
				return syscall.EIO
			}
		}
		return nil
	}}
	fatal := make(chan error, 2)
	j, _ := mustOpen(t, t.TempDir(), s.options(Options{MarkInterval: time.Hour, OnFatal: func(err error) { fatal <- err }}))
	mustAppend(t, j, true, inlineEntry(1, 1, 100))
	mark := j.Mark()
	syncs, fail = 0, true
	if _, err := j.Append([]Record{inlineEntry(1, 2, 100)}, true).Wait(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("append: %v", err)
	}
	fail = false
	if _, err := j.Append([]Record{inlineEntry(1, 2, 100)}, true).Wait(); !errors.Is(err, ErrFailed) {
		t.Fatalf("append after the failed sync: %v", err)
	}
	if err := j.Close(); !errors.Is(err, ErrFailed) {
		t.Fatalf("close: %v", err)
	}
	if syncs != 1 || j.Mark() != mark || len(fatal) != 1 {
		t.Fatalf("%d syncs, mark %d (was %d), OnFatal %d times", syncs, j.Mark(), mark, len(fatal))
	}
}

// The library's reads and writes race; it must see one call at a time, and no read (Library has none).
func TestGuardW5OneCallAtATime(t *testing.T) {
	var busy atomic.Int32
	s := &seam{}
	o := s.options(Options{SegmentBytes: 16 << 10, MarkInterval: time.Millisecond})
	open := o.OpenLibrary
	o.OpenLibrary = func(dir string) (Library, error) {
		l, err := open(dir)
		return &exclusive{l, &busy, t}, err
	}
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, o)
	acked := appendFromMany(t, j, 16, 60)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, r := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	got := map[entry.GroupID][]uint64{}
	for _, rec := range all(t, r) {
		if rec.Kind == Entry {
			got[rec.Group] = append(got[rec.Group], rec.Index)
		}
	}
	for g, n := range acked {
		for i := range n {
			if len(got[g]) != int(n) || got[g][i] != i+1 {
				t.Fatalf("group %s has indexes %v, want 1 to %d", g, got[g], n)
			}
		}
	}
}

type exclusive struct {
	Library
	busy *atomic.Int32
	t    *testing.T
}

func (e *exclusive) alone(fn func() error) error {
	if e.busy.Add(1) != 1 {
		e.t.Error("two calls of the library at a time")
	}
	defer e.busy.Add(-1)
	return fn()
}
func (e *exclusive) WriteBatch(b *wal.Batch) error {
	return e.alone(func() error { return e.Library.WriteBatch(b) })
}
func (e *exclusive) Sync() error  { return e.alone(e.Library.Sync) }
func (e *exclusive) Close() error { return e.alone(e.Library.Close) }

// appendFromMany appends from several goroutines, each for its own Raft group, in all ways at once.
func appendFromMany(t *testing.T, j *Journal, goroutines, each int) map[entry.GroupID]uint64 {
	var wg sync.WaitGroup
	acked := map[entry.GroupID]uint64{}
	for n := range goroutines {
		acked[group(n)] = uint64(each)
		wg.Go(func() {
			for i := 1; i <= each; i++ {
				rec := inlineEntry(n, uint64(i), 50+i)
				if i%5 == 0 {
					rec = Record{Kind: Entry, Group: group(n), Index: uint64(i), Term: 3, Placement: ByReference, PayloadLength: 9}
				}
				do := j.Do // which calls the library itself where it can
				if i%2 == 0 {
					do = func(recs []Record, sync bool) (uint64, error) { return j.Append(recs, sync).Wait() }
				}
				seq, err := do([]Record{rec}, (i+n)%3 != 0)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				if j.Mark() >= seq && rec.Placement == ByReference {
					t.Errorf("mark %d covers record %d, whose payload is not synced", j.Mark(), seq)
				}
				if rec.Placement == ByReference {
					j.PayloadSynced(seq)
				}
				if i%20 == 0 && n == 0 {
					if err := j.TruncateFront(0); err != nil {
						t.Errorf("truncate: %v", err)
					}
					_, _ = j.Size(), j.Stats()
				}
			}
		})
	}
	wg.Wait()
	return acked
}
