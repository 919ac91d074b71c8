package meta

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

// A killed process may leave its last transaction in the page cache only: it is made durable before bbolt writes a byte.
func TestOpenSettlesBeforeItWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{})
	for n := range int32(3) {
		if err := d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{group(n): full()}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no disk")
	calls := 0
	settleAndLook := func(name string) error {
		calls++
		now, err := os.ReadFile(name)
		if err != nil || name != path || !bytes.Equal(now, before) {
			t.Errorf("%s was written before it was settled, %v", name, err)
		}
		return failure
	}
	if _, err := Open(path, Options{settle: settleAndLook}); !errors.Is(err, failure) || calls != 1 {
		t.Fatalf("%v behind %d calls", err, calls)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
		t.Fatalf("written though it could not be settled, %v", err)
	}
	if err := settle(path); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
		t.Fatalf("settling changed the file, %v", err)
	}
}

// recorded is a file that remembers what was written to it and whether a sync came behind.
type recorded struct {
	content, written []byte
	synced           int
	fail             error
}

func (r *recorded) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(r.content).ReadAt(b, at)
}

func (r *recorded) WriteAt(b []byte, at int64) (int, error) {
	if at != int64(len(r.written)) || r.synced > 0 {
		return 0, errors.New("not in one piece, before the sync")
	}
	r.written = append(r.written, b...)
	return len(b), nil
}

func (r *recorded) Sync() error {
	r.synced = len(r.written)
	return r.fail
}

func TestSettleWritesTheMetaPagesAgain(t *testing.T) {
	f := &recorded{content: []byte("meta page, meta page, data")}
	if err := settlePages(f, 22); err != nil || string(f.written) != "meta page, meta page, " || f.synced != 22 {
		t.Fatalf("wrote %q, synced %d bytes of it, %v", f.written, f.synced, err)
	}
	f = &recorded{content: []byte("meta page"), fail: errors.New("no disk")}
	if err := settlePages(f, 9); !errors.Is(err, f.fail) {
		t.Fatalf("a failed sync: %v", err)
	}
	if err := settlePages(&recorded{content: []byte("meta")}, 9); err == nil {
		t.Fatal("a file that is too short was settled")
	}
}
