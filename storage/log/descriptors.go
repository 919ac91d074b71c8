package log

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Descriptors bounds the segment files that many logs keep open: above the limit those that were not read or written for
// longest are closed, and opened again when they are needed. Their indexes stay in memory. Files in use (extents in flight) and
// those with unsynced bytes stay open, limit or not: what a sync could not write is told only to a descriptor that was open.
// Safe for concurrent use.
type Descriptors struct {
	most int
	mu   struct { // before Log.mu; never held across I/O but closing
		sync.Mutex
		open []openFile
		hand int // where the sweep goes on, as in a clock
	}
}

type openFile struct {
	log *Log
	seg *segment
}

// NewDescriptors keeps about that many files open.
func NewDescriptors(most int) *Descriptors { return &Descriptors{most: max(most, 1)} }

// Open is how many files are open, but for those of segments that are gone.
func (d *Descriptors) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.mu.open)
}

// add counts the file of s, which has just been opened. No lock is held.
func (d *Descriptors) add(l *Log, s *segment) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.open = append(d.mu.open, openFile{l, s})
	if len(d.mu.open) > d.most {
		d.sweepLocked(d.most)
	}
}

// sweepLocked closes files until most are open, or it has seen each twice. It returns how many it closed.
func (d *Descriptors) sweepLocked(most int) (closed int) {
	for steps := 2 * len(d.mu.open); steps > 0 && len(d.mu.open) > most; steps-- {
		if d.mu.hand >= len(d.mu.open) {
			d.mu.hand = 0
		}
		f := d.mu.open[d.mu.hand]
		drop, done := f.log.letGo(f.seg)
		if !drop {
			d.mu.hand++
			continue
		}
		last := len(d.mu.open) - 1
		d.mu.open[d.mu.hand], d.mu.open[last] = d.mu.open[last], openFile{}
		d.mu.open = d.mu.open[:last]
		if done != nil {
			_ = done.release() // nothing in it is unsynced: a close error loses nothing
			closed++
		}
	}
	return closed
}

// letGo takes the file of s out of use where it is idle. drop: it is not open any more.
func (l *Log) letGo(s *segment) (drop bool, f *sharedFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.gone || l.mu.closed || s.file == nil:
		return true, nil
	case s.used.Swap(false) || s.dirty || !l.mu.open || s.file.refs.Load() > 1:
		return false, nil
	}
	f, s.file = s.file, nil
	return true, f
}

// Reclaim closes some files, idle or only less used than others, when the process has no descriptor left; where all have
// unsynced bytes it syncs some first. false = there was nothing to close.
func (d *Descriptors) Reclaim() bool {
	closed, dirty := d.reclaim()
	if closed > 0 {
		return true
	}
	for _, f := range dirty {
		f.log.trySync()
	}
	closed, _ = d.reclaim()
	return closed > 0
}

// reclaim closes a few files and names some of those that it had to leave open.
func (d *Descriptors) reclaim() (closed int, left []openFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	few := max(len(d.mu.open)/8, 16)
	closed = d.sweepLocked(max(len(d.mu.open)-few, 0))
	for i := range min(few, len(d.mu.open)) {
		left = append(left, d.mu.open[(d.mu.hand+i)%len(d.mu.open)])
	}
	return closed, left
}

// acquire returns the open file of s, which is opened where need be; the caller releases it. Errors: errMoved when s was deleted
// meanwhile, I/O.
func (l *Log) acquire(s *segment) (*sharedFile, error) {
	for {
		l.mu.RLock()
		if s.file != nil && !s.gone && s.ready.Load() {
			f := s.file.retain()
			s.touch()
			l.mu.RUnlock()
			return f, nil
		}
		l.mu.RUnlock()
		if f, err := l.open(s); f != nil || err != nil {
			return f, err
		}
	}
}

// touch notes that the file of s is used. Called under Log.mu, for reading too.
func (s *segment) touch() {
	if !s.used.Load() { // most of the time it is set: readers share the cache line then
		s.used.Store(true)
	}
}

// open makes s ready and opens its file, which the caller releases. nil = it is to be asked again.
func (l *Log) open(s *segment) (*sharedFile, error) {
	if err := l.ensure(s); err != nil {
		return nil, err
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	l.mu.RLock()
	gone, there := s.gone, s.file != nil
	l.mu.RUnlock()
	switch {
	case gone:
		return nil, errMoved
	case there:
		return nil, nil
	}
	name := fileName(l.dir, s.base, suffixLog)
	f, err := l.fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, l.openFailed(s, name, err)
	}
	held := share(f)
	l.mu.Lock()
	if s.gone {
		l.mu.Unlock()
		_ = f.Close()
		return nil, errMoved
	}
	s.file = held.retain() // before it is counted: whoever looks for files to close leaves it alone
	s.touch()
	l.mu.Unlock()
	l.options().Descriptors.add(l, s)
	return held, nil
}

// reclaiming is a file system that closes idle segments and tries again where the process has no descriptor left.
type reclaiming struct {
	vfs.FS
	descriptors *Descriptors
}

// Reclaiming wraps fsys so that a call that needs a descriptor which the process does not have lets d close idle ones first.
func Reclaiming(fsys vfs.FS, d *Descriptors) vfs.FS {
	if _, done := fsys.(reclaiming); done || d == nil {
		return fsys
	}
	return reclaiming{fsys, d}
}

// A call is tried again at once where others have files to close. Who writes then waits in between: those in use, and those being
// made by many at a time, are given back within some operations of the disk, and a write that fails ends the partition, or the
// process. Who reads does not: it may hold the files of other partitions meanwhile, and gets an error that passes.
const (
	reclaimsMax = 8
	waitsMax    = 64
	reclaimWait = 20 * time.Millisecond
)

func isScarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func (r reclaiming) again(wait bool, call func() error) error {
	err := call()
	for try := 0; try < reclaimsMax && isScarce(err) && r.descriptors.Reclaim(); try++ {
		err = call()
	}
	for try := 0; wait && try < waitsMax && isScarce(err); try++ {
		time.Sleep(reclaimWait)
		r.descriptors.Reclaim()
		err = call()
	}
	return err
}

// acquireToWrite is acquire for who may wait for a descriptor.
func (l *Log) acquireToWrite(s *segment) (f *sharedFile, err error) {
	d := l.options().Descriptors
	if d == nil {
		return l.acquire(s)
	}
	err = reclaiming{l.fsys, d}.again(true, func() error {
		f, err = l.acquire(s)
		return err
	})
	return f, err
}

func (r reclaiming) OpenFile(name string, flag int, perm fs.FileMode) (f vfs.File, err error) {
	err = r.again(flag&os.O_CREATE != 0, func() error {
		f, err = r.FS.OpenFile(name, flag, perm)
		return err
	})
	return f, err
}

func (r reclaiming) ReadDir(dir string) (list []fs.DirEntry, err error) {
	err = r.again(true, func() error {
		list, err = r.FS.ReadDir(dir)
		return err
	})
	return list, err
}

func (r reclaiming) SyncDir(dir string) error {
	return r.again(true, func() error { return r.FS.SyncDir(dir) })
}

func (r reclaiming) RemoveAll(name string) error {
	return r.again(true, func() error { return r.FS.RemoveAll(name) })
}
