package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// ballastFile is preallocated space that journal and recovery may have when the disk is full.
const ballastFile = "ballast"

// space watches the free space of all folders. refresh and prepareRecovery are called by one goroutine at a time; Writable by all.
type space struct {
	store *Store
	state atomic.Pointer[error] // what Writable answers; nil = there is room
	look  sync.Mutex            // held while free space is looked at
	seen  atomic.Int64          // when that was last begun, nanoseconds
	whole atomic.Bool           // the ballast file is there, in its full size
	due   chan struct{}         // capacity 1: so much was written that free space has to be looked at before its time
	since atomic.Int64          // bytes written since due fired
	least atomic.Int64          // the smallest reserve of all folders at the last look
	slack atomic.Int64          // what was free beyond its reserve then, in the fullest folder
}

func newSpace(s *Store) *space {
	sp := &space{store: s, due: make(chan struct{}, 1)}
	sp.least.Store(s.opts.ReserveBytes)
	sp.slack.Store(math.MaxInt64)
	return sp
}

// lookShare is the part of the reserve that may be written before free space is looked at again. A small one, because inline
// payloads are written twice, and because what has been let in already is still to come.
const lookShare = 16

// On a small disk the reserve and the ballast are no more than these parts of it: what is meant for the rare full disk must not
// take all of a tiny one.
const (
	reserveShare = 4
	ballastShare = 16
)

// sizes are the reserve and the ballast that the disk of dir is given.
func (sp *space) sizes(fsys vfs.FS, dir string) (reserve, ballast int64) {
	reserve, ballast = sp.store.opts.ReserveBytes, sp.store.opts.BallastBytes
	total, err := fsys.Total(dir)
	if err != nil || total == 0 {
		return reserve, ballast
	}
	total = min(total, math.MaxInt64)
	return min(reserve, int64(total/reserveShare)), min(ballast, int64(total/ballastShare))
}

// wrote makes a disk that fills within one Options.SpaceInterval refuse writes before one of them fails.
func (sp *space) wrote(bytes int64) {
	if n := sp.since.Add(bytes); sp.store.opts.ReserveBytes == 0 || n < sp.least.Load()/lookShare {
		return
	}
	sp.since.Store(0)
	sp.wake()
}

// wake makes the watcher look now.
func (sp *space) wake() {
	select {
	case sp.due <- struct{}{}:
	default:
	}
}

// freshFor is how old the figures may be that a write is let in by. Another process can fill a disk much faster than this one
// looks at it by itself, and a write that then fails ends the process; to look costs two microseconds.
const freshFor = 10 * time.Millisecond

// Writable is nil, or why no new data should be taken (ErrNoSpace, with the folder and the figures). It answers from a value
// that is looked at every Options.SpaceInterval, whenever a part of the reserve was written, and here when it is older than
// freshFor; it becomes nil again by itself when space is freed.
func (s *Store) Writable() error {
	if err := s.Failed(); err != nil {
		return err
	}
	if s.opts.Now().UnixNano()-s.space.seen.Load() > int64(freshFor) && s.space.look.TryLock() {
		s.space.lookLocked()
		s.space.look.Unlock()
	}
	if p := s.space.state.Load(); p != nil {
		return *p
	}
	return nil
}

// Room is Writable for a writer that knows how much is on its way: nil where that leaves the reserve as it is.
func (s *Store) Room(bytes int64) error {
	if err := s.Writable(); err != nil {
		return err
	}
	if slack := s.space.slack.Load(); slack < bytes {
		return fmt.Errorf("%w: %d bytes are free beyond it, %d are on their way", ErrNoSpace, slack, bytes)
	}
	return nil
}

func (sp *space) ballastName() string { return path.Join(sp.store.opts.MetaDir, ballastFile) }

// prepareRecovery releases the ballast when there is little room, so that a store that ran full can be opened.
func (sp *space) prepareRecovery() {
	o := &sp.store.opts
	_, ballast := sp.sizes(sp.store.homeFS(), o.MetaDir)
	f, err := sp.store.homeFS().Stat(sp.ballastName())
	sp.whole.Store(err == nil && f.Size() >= ballast && ballast > 0)
	if err != nil {
		return
	}
	free, err := sp.store.homeFS().Free(o.MetaDir)
	if err != nil {
		free = math.MaxUint64
	}
	sp.makeRoom(free, ballast)
}

// makeRoom gives the ballast up where less is free than it is meant to be, or none is wanted.
func (sp *space) makeRoom(free uint64, ballast int64) {
	if ballast == 0 || free < uint64(ballast) {
		sp.release(free)
	}
}

func (sp *space) release(free uint64) {
	err := sp.store.homeFS().Remove(sp.ballastName())
	sp.whole.Store(false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		sp.store.opts.Logger.Error("ballast not released", "file", sp.ballastName(), "err", err)
		return
	}
	sp.store.opts.Logger.Warn("ballast released", "file", sp.ballastName(), "freeBytes", free)
}

// refresh looks at the free space, decides what Writable answers, and keeps the ballast.
func (sp *space) refresh() {
	sp.look.Lock()
	sp.lookLocked()
	sp.look.Unlock()
	sp.keepBallast()
}

// lookLocked looks at the free space of every folder and decides what Writable answers. Caller holds look.
func (sp *space) lookLocked() {
	s := sp.store
	sp.seen.Store(s.opts.Now().UnixNano())
	var problem error
	least, slack := s.opts.ReserveBytes, int64(math.MaxInt64)
	look := func(fsys vfs.FS, dir string, missing int64) {
		free, err := fsys.Free(dir)
		reserve, _ := sp.sizes(fsys, dir)
		least = min(least, reserve)
		slack = min(slack, int64(min(free, math.MaxInt64))-reserve-missing)
		switch need := reserve + missing; {
		case err != nil:
			problem = errors.Join(problem, fmt.Errorf("%w: %s: %w", ErrNoSpace, dir, err))
		case free < uint64(need):
			problem = errors.Join(problem, fmt.Errorf("%w: %s has %d bytes free, reserved are %d", ErrNoSpace, dir, free, need))
		}
	}
	if s.opts.ReserveBytes > 0 {
		for _, f := range s.dirs {
			if f != s.home && s.folderError(f) == nil {
				look(f.fs, f.path, 0)
			}
		}
		missing := int64(0)
		if !sp.whole.Load() {
			_, missing = sp.sizes(s.homeFS(), s.opts.MetaDir) // its space is spoken for
		}
		look(s.homeFS(), s.opts.MetaDir, missing)
	}
	sp.least.Store(least)
	sp.slack.Store(slack)
	before := sp.state.Load()
	switch {
	case problem != nil:
		if before == nil {
			s.opts.Logger.Warn("writes refused", "err", problem)
			sp.wake() // the journal may need the ballast
		}
		sp.state.Store(&problem)
	case before != nil:
		s.opts.Logger.Info("writes resumed")
		sp.state.Store(nil)
	}
}

// keepBallast gives the ballast away when the journal is about to run out of space, and makes it again when there is plenty.
func (sp *space) keepBallast() {
	o := &sp.store.opts
	reserve, ballast := sp.sizes(sp.store.homeFS(), o.MetaDir)
	if ballast == 0 {
		return
	}
	free, err := sp.store.homeFS().Free(o.MetaDir)
	if err != nil {
		return
	}
	switch {
	case sp.whole.Load() && free < uint64(ballast)/4:
		sp.release(free)
	case !sp.whole.Load() && free > uint64(ballast)*2+uint64(reserve):
		if err := preallocate(sp.store.homeFS(), sp.ballastName(), ballast); err != nil {
			sp.store.opts.Logger.Warn("ballast not made", "file", sp.ballastName(), "err", err)
			_ = sp.store.homeFS().Remove(sp.ballastName())
			return
		}
		sp.whole.Store(true)
	}
}
