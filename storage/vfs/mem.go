package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory that knows what is durable. CrashClone returns what a power loss leaves of it, SetHook fails
// single calls. Safe for concurrent use. Paths are taken from the root, whether they begin with a slash or not.
type Mem struct {
	// Now gives modification times; set it before use. nil = the zero time.
	Now func() time.Time

	hooks faults
	mu    struct { // leaf lock
		sync.Mutex
		root     *node
		locks    map[string]bool
		capacity int64 // bytes of file content
		used     int64
	}
}

var _ FS = (*Mem)(nil)

// NewMem makes an empty file system with room for 1 TiB.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.root = newDir()
	m.mu.locks = map[string]bool{}
	m.mu.capacity = 1 << 40
	return m
}

// SetCapacity limits the bytes of all files together; a write that would pass it is cut short with ENOSPC.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.capacity = bytes
}

// node is an inode. Exactly one of the two halves is used.
type node struct {
	dir     bool
	modTime time.Time

	// folder
	entries map[string]*node // as programs see it
	kept    map[string]*node // as of the last SyncDir
	changes []dirChange      // since then, in order

	// file
	data   []byte  // as programs see it
	synced []byte  // as of the last successful Sync
	writes []write // since then, in order
}

// dirChange is one atomic step of a folder: what it takes away, what it puts in.
type dirChange struct {
	remove string
	add    string
	node   *node
}

// write is one WriteAt, or a Truncate when data is nil.
type write struct {
	pos    int64
	data   []byte
	doomed bool // a Sync failed after it: no later Sync makes it durable (the kernel has marked its pages clean)
}

func newDir() *node {
	return &node{dir: true, entries: map[string]*node{}, kept: map[string]*node{}}
}

func (d *node) change(c dirChange) {
	if c.remove != "" {
		delete(d.entries, c.remove)
	}
	if c.add != "" {
		d.entries[c.add] = c.node
	}
	d.changes = append(d.changes, c)
}

func clean(name string) string { return path.Clean("/" + name) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// findLocked walks to name.
func (m *Mem) findLocked(name string) (*node, error) {
	n := m.mu.root
	for part := range strings.SplitSeq(strings.Trim(clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		next, ok := n.entries[part]
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parentLocked walks to the folder that holds name.
func (m *Mem) parentLocked(name string) (dir *node, base string, err error) {
	name = clean(name)
	dir, err = m.findLocked(path.Dir(name))
	if err == nil && !dir.dir {
		err = syscall.ENOTDIR
	}
	return dir, path.Base(name), err
}

func (m *Mem) nowTime() time.Time {
	if m.Now == nil {
		return time.Time{}
	}
	return m.Now()
}

// OpenFile honours O_CREATE, O_EXCL, O_TRUNC and the access mode.
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	if err := m.hooks.before(OpOpen, name).Err; err != nil {
		return nil, pathError("open", name, err)
	}
	now := m.nowTime()
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n, ok := dir.entries[base]
	switch {
	case !ok && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case !ok:
		n = &node{modTime: now}
		dir.change(dirChange{add: base, node: n})
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathError("open", name, fs.ErrExist)
	case n.dir:
		return nil, pathError("open", name, syscall.EISDIR)
	}
	if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
		m.truncateLocked(n, 0, now)
	}
	return &memFile{m: m, n: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// MkdirAll makes dir and its missing parents.
func (m *Mem) MkdirAll(dir string, _ fs.FileMode) error {
	if err := m.hooks.before(OpMkdir, dir).Err; err != nil {
		return pathError("mkdir", dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.root
	for part := range strings.SplitSeq(strings.Trim(clean(dir), "/"), "/") {
		if part == "" {
			continue
		}
		if !n.dir {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		next, ok := n.entries[part]
		if !ok {
			next = newDir()
			n.change(dirChange{add: part, node: next})
		}
		n = next
	}
	if !n.dir {
		return pathError("mkdir", dir, syscall.ENOTDIR)
	}
	return nil
}

// Remove unlinks a file or an empty folder; open files live on.
func (m *Mem) Remove(name string) error {
	if err := m.hooks.before(OpRemove, name).Err; err != nil {
		return pathError("remove", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	n, ok := dir.entries[base]
	switch {
	case !ok:
		return pathError("remove", name, fs.ErrNotExist)
	case len(n.entries) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.mu.used -= int64(len(n.data))
	dir.change(dirChange{remove: base})
	return nil
}

// RemoveAll removes name and all below it, each as a step of its own that a power loss may undo.
func (m *Mem) RemoveAll(name string) error {
	if err := m.hooks.before(OpRemove, name).Err; err != nil {
		return pathError("remove", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	if n, ok := dir.entries[base]; ok {
		m.emptyLocked(n)
		dir.change(dirChange{remove: base})
	}
	return nil
}

func (m *Mem) emptyLocked(n *node) {
	m.mu.used -= int64(len(n.data))
	for _, name := range sortedNames(n.entries) {
		m.emptyLocked(n.entries[name])
		n.change(dirChange{remove: name})
	}
}

// Rename replaces to by from. Inside one folder it is one step, across folders a power loss may keep either half.
func (m *Mem) Rename(from, to string) error {
	if err := m.hooks.before(OpRename, from).Err; err != nil {
		return pathError("rename", from, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fromDir, fromBase, err := m.parentLocked(from)
	if err != nil {
		return pathError("rename", from, err)
	}
	toDir, toBase, err := m.parentLocked(to)
	if err != nil {
		return pathError("rename", to, err)
	}
	n, ok := fromDir.entries[fromBase]
	if !ok {
		return pathError("rename", from, fs.ErrNotExist)
	}
	if old, ok := toDir.entries[toBase]; ok && old != n {
		if old.dir && len(old.entries) > 0 {
			return pathError("rename", to, syscall.ENOTEMPTY)
		}
		m.mu.used -= int64(len(old.data))
	}
	if fromDir == toDir {
		if fromBase != toBase {
			fromDir.change(dirChange{remove: fromBase, add: toBase, node: n})
		}
		return nil
	}
	fromDir.change(dirChange{remove: fromBase})
	toDir.change(dirChange{add: toBase, node: n})
	return nil
}

func sortedNames(entries map[string]*node) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadDir lists dir, sorted by name.
func (m *Mem) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := m.hooks.before(OpReadDir, dir).Err; err != nil {
		return nil, pathError("readdir", dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(dir)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("readdir", dir, err)
	}
	var list []fs.DirEntry
	for _, name := range sortedNames(n.entries) {
		list = append(list, fs.FileInfoToDirEntry(n.entries[name].info(name)))
	}
	return list, nil
}

// Stat describes name.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	if err := m.hooks.before(OpStat, name).Err; err != nil {
		return nil, pathError("stat", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return n.info(path.Base(clean(name))), nil
}

// SyncDir makes the entries of dir durable, not the content of its files.
func (m *Mem) SyncDir(dir string) error {
	if err := m.hooks.before(OpSyncDir, dir).Err; err != nil {
		return pathError("fsync", dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(dir)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("fsync", dir, err)
	}
	for _, c := range n.changes {
		c.apply(n.kept)
	}
	n.changes = n.changes[:0]
	return nil
}

func (c *dirChange) apply(entries map[string]*node) {
	if c.remove != "" {
		delete(entries, c.remove)
	}
	if c.add != "" {
		entries[c.add] = c.node
	}
}

// Free is the capacity that no file uses.
func (m *Mem) Free(dir string) (uint64, error) {
	if err := m.hooks.before(OpFree, dir).Err; err != nil {
		return 0, pathError("statfs", dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(max(0, m.mu.capacity-m.mu.used)), nil
}

// Total is the capacity.
func (m *Mem) Total(dir string) (uint64, error) {
	if err := m.hooks.before(OpFree, dir).Err; err != nil {
		return 0, pathError("statfs", dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(m.mu.capacity), nil
}

// Lock fails with ErrLocked while another Lock of the same name is not closed. It dies with the machine: clones hold none.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.locks[clean(name)] {
		return nil, fmt.Errorf("%w: %s", ErrLocked, name)
	}
	m.mu.locks[clean(name)] = true
	return &memLock{m: m, name: clean(name)}, nil
}

type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.mu.locks, l.name)
	})
	return nil
}

func (d *node) info(name string) fs.FileInfo {
	return memInfo{name: name, size: int64(len(d.data)), dir: d.dir, modTime: d.modTime}
}

type memInfo struct {
	name    string
	size    int64
	dir     bool
	modTime time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.modTime }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
