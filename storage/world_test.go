package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tidwall/wal"

	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A world is a whole data directory at one instant: segments and journal in one vfs.Mem, and the content of meta.db, which
// bbolt keeps in a real file. Journal and segments share the Mem, so that one CrashClone takes both at the same instant.
type world struct {
	mem   *vfs.Mem
	meta  []byte // nil = not made yet
	model model
	how   string // where it was taken

	checkpointBytes int64 // Options.CheckpointBytes
	level           int   // Options.FormatLevel
}

const worldData = "/data"

// memLibrary is tidwall/wal's binary format on a vfs.Mem: it appends to the last file, which is empty when it is opened.
type memLibrary struct {
	file vfs.File
	size int64
}

func openMemLibrary(mem *vfs.Mem) func(dir string) (journal.Library, error) {
	return func(dir string) (journal.Library, error) {
		files, err := mem.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		last := ""
		for _, f := range files {
			if len(f.Name()) == 20 {
				last = f.Name()
			}
		}
		f, err := mem.OpenFile(path.Join(dir, last), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return &memLibrary{file: f}, nil
	}
}

// WriteBatch reads the library's batch by reflection, and writes it as the library does: with one write.
func (l *memLibrary) WriteBatch(b *wal.Batch) error {
	v := reflect.ValueOf(b).Elem()
	entries, data := v.FieldByName("entries"), v.FieldByName("datas").Bytes()
	var out []byte
	for i := range entries.Len() {
		size := entries.Index(i).FieldByName("size").Int()
		out = binary.AppendUvarint(out, uint64(size))
		out = append(out, data[:size]...)
		data = data[size:]
	}
	b.Clear()
	_, err := l.file.WriteAt(out, l.size)
	l.size += int64(len(out))
	return err
}

func (l *memLibrary) Sync() error { return l.file.Sync() }

func (l *memLibrary) Close() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	return l.file.Close()
}

// scratchDir is in memory where the machine has such a place: the harness opens tens of thousands of meta.db.
func scratchDir(t testing.TB) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "tandem-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// start opens a store in w. dir is an empty real folder for its meta.db; the store must be closed before dir is used again.
func (w *world) start(dir string) (*Store, error) {
	name := filepath.Join(dir, metaFile)
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if w.meta != nil {
		if err := os.WriteFile(name, w.meta, 0o600); err != nil {
			return nil, err
		}
	}
	return Open(Options{
		FS: w.mem, Dirs: []string{worldData}, MetaDir: dir, NodeID: 1, ClusterID: "crash",
		InlineMax: 600, JournalSegmentBytes: 6 << 10, MarkInterval: time.Hour, MarkSaveInterval: time.Hour, ReserveBytes: -1, BallastBytes: -1,
		OpenFiles: 1, CheckpointBytes: w.checkpointBytes, CheckpointInterval: time.Hour, SpaceInterval: time.Hour, MetaNoSync: true,
		FormatLevel: w.level,
		Now:         func() time.Time { return time.UnixMilli(1000) },
		journalFS:   journalIn{w.mem, dir}, journalLibrary: func(string) (journal.Library, error) { return openMemLibrary(w.mem)("/journal") },
	})
}

// journalIn maps the journal's folder below the real dir to the Mem's own, so that no state depends on a temporary name.
type journalIn struct {
	*vfs.Mem
	dir string
}

func (j journalIn) at(name string) string {
	if rel, err := filepath.Rel(j.dir, name); err == nil {
		return "/" + rel
	}
	return name
}

func (j journalIn) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	return j.Mem.OpenFile(j.at(name), flag, perm)
}
func (j journalIn) MkdirAll(dir string, perm fs.FileMode) error {
	return j.Mem.MkdirAll(j.at(dir), perm)
}
func (j journalIn) Remove(name string) error                  { return j.Mem.Remove(j.at(name)) }
func (j journalIn) Rename(from, to string) error              { return j.Mem.Rename(j.at(from), j.at(to)) }
func (j journalIn) ReadDir(dir string) ([]fs.DirEntry, error) { return j.Mem.ReadDir(j.at(dir)) }
func (j journalIn) Stat(name string) (fs.FileInfo, error)     { return j.Mem.Stat(j.at(name)) }
func (j journalIn) SyncDir(dir string) error                  { return j.Mem.SyncDir(j.at(dir)) }

var fingerprintSeed = maphash.MakeSeed()

// fingerprint tells states apart.
func (w *world) fingerprint() uint64 {
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	h.Write(w.meta)
	var walk func(dir string)
	walk = func(dir string) {
		files, err := w.mem.ReadDir(dir)
		if err != nil {
			panic(err)
		}
		for _, f := range files {
			name := path.Join(dir, f.Name())
			fmt.Fprintf(&h, "%s\x00", name)
			if f.IsDir() {
				walk(name)
				continue
			}
			b, err := readFile(w.mem, name, 1<<30)
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(&h, "%d\x00", len(b))
			h.Write(b)
		}
	}
	walk("/")
	return h.Sum64()
}

// capture takes the world as a power loss would leave it now. While the store is open, bbolt says what it last committed.
func capture(mem *vfs.Mem, dir string, s *Store, m model, rng *rand.Rand, how string) *world {
	w := &world{model: m, how: how}
	if s != nil {
		var b bytes.Buffer
		if _, err := s.meta.WriteTo(&b); err == nil {
			w.meta = b.Bytes()
		}
	}
	if w.meta == nil {
		w.meta, _ = os.ReadFile(filepath.Join(dir, metaFile)) // nil = not made yet
	}
	w.mem = mem.CrashClone(rng)
	return w
}
