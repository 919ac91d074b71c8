package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"

	"github.com/tandembroker/tandem/storage/vfs"
)

// ballastFile is preallocated space that journal and recovery may have when the disk is full.
const ballastFile = "ballast"

// space watches the free space of all folders. refresh and prepareRecovery are called by one goroutine at a time.
type space struct {
	store *Store
	state atomic.Pointer[error] // what Writable answers; nil = there is room
	whole bool                  // the ballast file is there, in its full size
	due   chan struct{}         // capacity 1: so much was written that free space has to be looked at before its time
	since atomic.Int64          // bytes written since due fired
}

func newSpace(s *Store) *space { return &space{store: s, due: make(chan struct{}, 1)} }

// lookShare is the part of the reserve that may be written before free space is looked at again. A small one, because inline
// payloads are written twice, and because what has been let in already is still to come.
const lookShare = 16

// wrote makes a disk that fills within one Options.SpaceInterval refuse writes before one of them fails.
func (sp *space) wrote(bytes int64) {
	reserve := sp.store.opts.ReserveBytes
	if n := sp.since.Add(bytes); reserve == 0 || n < reserve/lookShare {
		return
	}
	sp.since.Store(0)
	select {
	case sp.due <- struct{}{}:
	default:
	}
}

// Writable is nil, or why no new data should be taken (ErrNoSpace, with the folder and the figures). It answers from a value
// that is looked at every Options.SpaceInterval, and whenever a part of the reserve was written; it becomes nil again by itself
// when space is freed.
func (s *Store) Writable() error {
	if err := s.Failed(); err != nil {
		return err
	}
	if p := s.space.state.Load(); p != nil {
		return *p
	}
	return nil
}

func (sp *space) ballastName() string { return path.Join(sp.store.opts.MetaDir, ballastFile) }

// prepareRecovery releases the ballast when there is little room, so that a store that ran full can be opened.
func (sp *space) prepareRecovery() {
	o := &sp.store.opts
	f, err := sp.store.homeFS().Stat(sp.ballastName())
	sp.whole = err == nil && f.Size() >= o.BallastBytes && o.BallastBytes > 0
	if err != nil {
		return
	}
	free, err := sp.store.homeFS().Free(o.MetaDir)
	if o.BallastBytes == 0 || err == nil && free < uint64(o.BallastBytes) {
		sp.release(free)
	}
}

func (sp *space) release(free uint64) {
	err := sp.store.homeFS().Remove(sp.ballastName())
	sp.whole = false
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		sp.store.opts.Logger.Error("ballast not released", "file", sp.ballastName(), "err", err)
		return
	}
	sp.store.opts.Logger.Warn("ballast released", "file", sp.ballastName(), "freeBytes", free)
}

// refresh looks at the free space of every folder, decides what Writable answers, and keeps the ballast.
func (sp *space) refresh() {
	s := sp.store
	var problem error
	look := func(fsys vfs.FS, dir string, missing int64) {
		free, err := fsys.Free(dir)
		switch need := s.opts.ReserveBytes + missing; {
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
		if !sp.whole {
			missing = s.opts.BallastBytes // its space is spoken for
		}
		look(s.homeFS(), s.opts.MetaDir, missing)
	}
	before := sp.state.Load()
	switch {
	case problem != nil:
		if before == nil {
			s.opts.Logger.Warn("writes refused", "err", problem)
		}
		sp.state.Store(&problem)
	case before != nil:
		s.opts.Logger.Info("writes resumed")
		sp.state.Store(nil)
	}
	sp.keepBallast()
}

// keepBallast gives the ballast away when the journal is about to run out of space, and makes it again when there is plenty.
func (sp *space) keepBallast() {
	o := &sp.store.opts
	if o.BallastBytes == 0 {
		return
	}
	free, err := sp.store.homeFS().Free(o.MetaDir)
	if err != nil {
		return
	}
	switch {
	case sp.whole && free < uint64(o.BallastBytes)/4:
		sp.release(free)
	case !sp.whole && free > uint64(o.BallastBytes)*2+uint64(o.ReserveBytes):
		if err := preallocate(sp.store.homeFS(), sp.ballastName(), o.BallastBytes); err != nil {
			sp.store.opts.Logger.Warn("ballast not made", "file", sp.ballastName(), "err", err)
			_ = sp.store.homeFS().Remove(sp.ballastName())
			return
		}
		sp.whole = true
	}
}
