package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func put(t *testing.T, fsys FS, name, content string, pos int64) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), pos); err != nil {
		t.Fatal(err)
	}
	return f
}

func get(t *testing.T, fsys FS, name string) string {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Both file systems do the same.
func TestSameAsOS(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS{}, "mem": NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			must(t, fsys.MkdirAll(dir, 0o755))
			must(t, fsys.MkdirAll(dir, 0o755))
			x, y := filepath.Join(dir, "x"), filepath.Join(dir, "y")
			f := put(t, fsys, x, "hello", 0)
			must(t, f.Sync())
			put(t, fsys, x, "J", 7)
			if got := get(t, fsys, x); got != "hello\x00\x00J" {
				t.Fatalf("%q", got)
			}
			must(t, f.Truncate(2))
			must(t, f.Truncate(4))
			must(t, fsys.Rename(x, y))
			must(t, fsys.SyncDir(dir))
			if got := get(t, fsys, y); got != "he\x00\x00" {
				t.Fatalf("%q", got)
			}
			if _, err := fsys.OpenFile(y, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644); !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
			if _, err := fsys.OpenFile(x, os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := fsys.Remove(dir); !errors.Is(err, syscall.ENOTEMPTY) {
				t.Fatal(err)
			}
			list, err := fsys.ReadDir(dir)
			if err != nil || len(list) != 1 || list[0].Name() != "y" {
				t.Fatal(list, err)
			}
			info, err := fsys.Stat(y)
			if err != nil || info.Size() != 4 || info.IsDir() {
				t.Fatal(info, err)
			}
			must(t, fsys.Remove(y))
			b := make([]byte, 8)
			if n, err := f.ReadAt(b, 0); n != 4 || err != io.EOF {
				t.Fatalf("an unlinked file: %d %v", n, err)
			}
			must(t, f.Close())
			if _, err := f.WriteAt(b, 0); !errors.Is(err, fs.ErrClosed) {
				t.Fatal(err)
			}
			must(t, fsys.RemoveAll(filepath.Dir(dir)))
			must(t, fsys.RemoveAll(filepath.Dir(dir)))
			if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		})
	}
}

func TestLock(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS{}, "mem": NewMem()} {
		dir := t.TempDir()
		must(t, fsys.MkdirAll(dir, 0o755))
		lock, err := fsys.Lock(filepath.Join(dir, ".lock"))
		must(t, err)
		if _, err := fsys.Lock(filepath.Join(dir, ".lock")); !errors.Is(err, ErrLocked) {
			t.Fatalf("%s: second lock: %v", name, err)
		}
		must(t, lock.Close())
		lock, err = fsys.Lock(filepath.Join(dir, ".lock"))
		must(t, err)
		must(t, lock.Close())
		if free, err := fsys.Free(dir); err != nil || free == 0 {
			t.Fatalf("%s: %d bytes free, %v", name, free, err)
		}
	}
}

// Whatever survives, synced bytes under synced names do; and every mixture of the rest comes up.
func TestCrashClone(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("d", 0o755))
	must(t, m.SyncDir("/"))
	f := put(t, m, "d/synced", "old content", 0)
	must(t, f.Sync())
	must(t, m.SyncDir("d"))
	put(t, m, "d/synced", "NEW", 0)
	put(t, m, "d/synced", string(bytes.Repeat([]byte{'x'}, 2000)), 11)
	g := put(t, m, "d/unnamed", "bytes", 0)
	must(t, g.Sync())
	h := put(t, m, "d/renamed", "r", 0)
	must(t, h.Sync())
	must(t, m.Rename("d/renamed", "d/target"))
	if got := get(t, m.CrashClone(nil), "d/synced"); got != "old content" {
		t.Fatalf("nothing unsynced survives: %q", got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for range 500 {
		c := m.CrashClone(rng)
		s := get(t, c, "d/synced")
		switch head := s[:min(len(s), 11)]; head {
		case "old content", "NEW content":
			seen[head] = true
		default:
			t.Fatalf("synced bytes are gone: %q", head)
		}
		if body := s[11:]; len(body) == 0 {
			seen["short"] = true
		} else if x := bytes.Count([]byte(body), []byte{'x'}); x == 2000 {
			seen["whole"] = true
		} else if x == 0 {
			seen["zeros"] = true
		} else {
			seen["torn"] = true
		}
		if u := get(t, c, "d/unnamed"); u == "bytes" {
			seen["named"] = true
		} else {
			seen["unnamed"] = true
		}
		_, err1 := c.Stat("d/renamed")
		_, err2 := c.Stat("d/target")
		switch {
		case err1 == nil && err2 == nil:
			t.Fatal("a rename inside one folder is one step")
		case err1 == nil:
			seen["not yet renamed"] = true
		case err2 == nil:
			seen["renamed"] = true
		}
	}
	for _, want := range []string{"old content", "NEW content", "short", "whole", "zeros", "torn", "named", "unnamed", "renamed", "not yet renamed"} {
		if !seen[want] {
			t.Errorf("no state is %q", want)
		}
	}
	if got := get(t, m, "d/target"); got != "r" {
		t.Fatalf("the original changed: %q", got)
	}
}

func TestFaults(t *testing.T) {
	m := NewMem()
	f := put(t, m, "x", "", 0)
	m.SetHook((&Fault{Ops: OpWrite, N: 1, Err: syscall.ENOSPC, Short: 3}).Hook)
	if _, err := f.WriteAt([]byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte("second"), 3); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if got := get(t, m, "x"); got != "onesec" {
		t.Fatalf("%q", got)
	}
	must(t, m.SyncDir("/"))
	fault := &Fault{Ops: OpSync, Err: syscall.EIO}
	m.SetHook(fault.Hook)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) || !fault.Hit() {
		t.Fatal(err)
	}
	must(t, f.Sync()) // succeeds, and covers nothing of what the failed one lost
	if got := get(t, m.CrashClone(nil), "x"); got != "" {
		t.Fatalf("durable after a failed sync: %q", got)
	}
	m.SetHook(nil)
	m.SetCapacity(8)
	if n, err := f.WriteAt([]byte("abcd"), 6); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if free, _ := m.Free("/"); free != 0 {
		t.Fatalf("%d bytes free", free)
	}
}

// A PowerLoss tries its states before each call that changes the disk, and none behind the first that fails.
func TestPowerLossIsTriedBeforeEachChange(t *testing.T) {
	m := NewMem()
	var failure error
	loss := &PowerLoss{Disk: m, States: 3, Rand: rand.New(rand.NewPCG(1, 1)), Try: func(*Mem) error { return failure }}
	m.SetHook(loss.Hook)
	x := put(t, m, "x", "content", 0) // creates and writes
	if loss.Tried != 2*3 || loss.Err != nil {
		t.Fatalf("%d states, %v", loss.Tried, loss.Err)
	}
	if _, err := x.Size(); err != nil || loss.Tried != 2*3 {
		t.Fatalf("%d states before a call that changes nothing, %v", loss.Tried-2*3, err)
	}
	failure = errors.New("lost")
	for range 2 {
		if err := x.Sync(); err != nil {
			t.Fatal(err)
		}
		if loss.Tried != 2*3+1 || !errors.Is(loss.Err, failure) {
			t.Fatalf("%d states, %v", loss.Tried, loss.Err)
		}
	}
}
