package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
	"github.com/tandembroker/tandem/storage/vfs"
)

// metaFile and journalDir lie in Options.MetaDir.
const (
	metaFile   = "meta.db"
	journalDir = "journal"
)

// Store is an open data directory. Safe for concurrent use.
type Store struct {
	opts     Options
	identity Identity
	level    int       // finalized format level
	home     *folder   // of meta.db and the journal; may be one of dirs
	dirs     []*folder // log.dirs, in the configured order
	meta     *meta.DB
	journal  *journal.Journal
	commits  *combiner
	space    *space
	files    *log.Descriptors // of all segments

	diskWatch *vfs.DiskWatch
	slowCalls atomic.Int64

	due           chan struct{}
	syncs         chan struct{} // a slot per segment sync of a checkpoint
	journalBytes  atomic.Int64  // written since the last checkpoint began
	payloadBytes  atomic.Int64  // the same, by reference
	checkpointing sync.Mutex
	rowing        sync.Mutex // orders the stores of the journal checkpoint
	tails         tails      // under rowing
	carried       int64      // bytes that the last carry copied; under checkpointing
	failed        atomic.Pointer[error]
	failing       sync.Once // sets failed

	stop chan struct{} // closed by Close; ends watch
	wg   sync.WaitGroup

	mu struct {
		sync.RWMutex
		groups   map[GroupID]*Group
		sorted   []*Group              // of groups; nil = to be made again
		folders  map[string]GroupID    // of groups, and of those being created
		creating map[GroupID]uint64    // lower bound of the sequence of its record
		deleted  map[GroupID]*deletion // whose deleted record is still in the journal, or their row in meta.db
		closed   bool
	}
}

// deletion is a Raft group whose deleted record is durable.
type deletion struct {
	sequence uint64 // of the record
	needs    uint64 // first record that an unfinished deletion needs: the one that names the folder, if no row of meta.db does
	folder   string
	dir      uint16
	finished bool // the folder is gone
}

// Open locks the data directory, checks whose it is, repairs and reads the journal, and makes the segments of every Raft group
// agree with it. A Raft group that is hurt is in Groups with its reason in Offline; it does not stop the others.
// Errors name the folder or file: ErrLocked, ErrIdentity, a folder that is not writable, an unknown version, a damaged meta.db.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, due: make(chan struct{}, 1), syncs: make(chan struct{}, checkpointSyncs), stop: make(chan struct{})}
	s.files, s.diskWatch = log.NewDescriptors(o.OpenFiles), vfs.NewDiskWatch(o.Now)
	s.opts.FS, s.opts.journalFS = log.Reclaiming(o.FS, s.files), log.Reclaiming(o.journalFS, s.files)
	s.mu.groups, s.mu.folders = map[GroupID]*Group{}, map[string]GroupID{}
	s.mu.creating, s.mu.deleted = map[GroupID]uint64{}, map[GroupID]*deletion{}
	if err := s.open(); err != nil {
		_ = s.release() // what could not be opened is the error that counts
		return nil, err
	}
	s.wg.Go(s.watch)     // stopped by stop, awaited in Close
	s.wg.Go(s.watchDisk) // the same
	s.wg.Go(s.watchMark) // the same
	return s, nil
}

func (s *Store) open() error {
	start := s.opts.Now()
	if err := s.openFolders(); err != nil {
		return err
	}
	s.space = newSpace(s)
	s.space.prepareRecovery()
	if err := s.openMeta(); err != nil {
		return err
	}
	// Nothing is unlinked or cut by what meta.db says before that is durable: the last transaction of a process that was killed
	// may be in the page cache only. And the flag of a clean stop must be gone for good before anything is written under it.
	clean := s.meta.WasClean()
	jc := s.meta.Journal()
	jc.Clean = false
	if err := s.meta.Commit(meta.Commit{Journal: &jc}); err != nil {
		return err
	}
	s.commits = newCombiner(s.meta, s.diskWatch)
	if err := s.recover(); err != nil {
		return err
	}
	offline := 0
	for _, g := range s.Groups() {
		if g.Offline() != nil {
			offline++
		}
	}
	s.opts.Logger.Info("storage open", "dirs", strings.Join(s.opts.Dirs, ","), "groups", len(s.mu.groups), "offline", offline,
		"clean", clean, "took", s.opts.Now().Sub(start))
	return nil
}

// openFolders locks and identifies all folders. A log dir that fails with an I/O error goes offline alone, unless it is the
// only one or holds the journal.
func (s *Store) openFolders() error {
	for _, dir := range s.opts.Dirs {
		f, err := openFolder(s.opts.FS, dir)
		if err != nil && isIOError(err) && len(s.opts.Dirs) > 1 && dir != s.opts.MetaDir {
			s.opts.Logger.Error("log dir offline", "dir", dir, "err", err)
			f, err = &folder{fs: s.opts.FS, path: dir, err: err}, nil
		}
		if err != nil {
			return err
		}
		s.dirs = append(s.dirs, f)
		if dir == s.opts.MetaDir {
			s.home = f
		}
	}
	if s.home == nil {
		f, err := openFolder(vfs.OS{}, s.opts.MetaDir)
		if err != nil {
			return err
		}
		s.home = f
	}
	want := properties{clusterID: s.opts.ClusterID, nodeID: s.opts.NodeID}
	all := []*folder{s.home}
	for _, f := range s.dirs {
		if f != s.home && f.err == nil {
			all = append(all, f)
		}
	}
	for _, f := range all {
		id, err := f.identify(want, randomID)
		if err != nil {
			return err
		}
		want.clusterID = id
	}
	s.identity = Identity{ClusterID: want.clusterID, NodeID: s.opts.NodeID, DiskID: s.home.disk}
	return nil
}

func (s *Store) openMeta() error {
	name := path.Join(s.opts.MetaDir, metaFile)
	if err := s.refuseLostMeta(name); err != nil {
		return err
	}
	db, err := meta.Open(name, meta.Options{
		Check: s.opts.CheckMeta, NoSync: s.opts.MetaNoSync, Logger: s.opts.Logger,
		Initial: meta.Identity{ClusterID: s.identity.ClusterID, NodeID: s.identity.NodeID, DiskID: s.identity.DiskID,
			SiteDomain: randomID(), FormatLevel: s.opts.FormatLevel},
	})
	if err != nil {
		return err
	}
	s.meta = db
	id, err := db.Identity()
	if err != nil {
		return err
	}
	if id.ClusterID != s.identity.ClusterID || id.NodeID != s.identity.NodeID || id.DiskID != s.identity.DiskID {
		return fmt.Errorf("%w: %s says cluster.id=%s node.id=%d disk.id=%s, %s says %s, %d, %s", ErrIdentity, name, id.ClusterID,
			id.NodeID, id.DiskID, path.Join(s.home.path, propertiesFile), s.identity.ClusterID, s.identity.NodeID, s.identity.DiskID)
	}
	s.level = id.FormatLevel
	if s.level < s.opts.FormatLevel { // for good, before anything of it is written
		id.FormatLevel = s.opts.FormatLevel
		if err := db.SetIdentity(id); err != nil {
			return err
		}
		s.opts.Logger.Info("format level raised", "from", s.level, "to", id.FormatLevel)
		s.level = id.FormatLevel
	}
	return nil
}

// refuseLostMeta stops before a new meta.db is made beside a journal with records: that would forget acknowledged data.
func (s *Store) refuseLostMeta(name string) error {
	if _, err := s.homeFS().Stat(name); err == nil {
		return nil
	}
	dir := path.Join(s.opts.MetaDir, journalDir)
	files, err := s.opts.journalFS.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // no journal either: a new directory
	}
	for _, e := range files {
		if info, err := e.Info(); err == nil && info.Size() > 0 {
			return fmt.Errorf("%w: %s is missing, but %s holds records", ErrCorrupt, name, path.Join(dir, e.Name()))
		}
	}
	return nil
}

// homeFS is where meta.db and the journal lie: always the real one, since bbolt and tidwall/wal call the system themselves.
func (s *Store) homeFS() vfs.FS { return vfs.OS{} }

// Identity is who this data directory is.
func (s *Store) Identity() Identity { return s.identity }

// FormatLevel is the finalized format level of this data directory.
func (s *Store) FormatLevel() int { return s.level }

// Meta is the open meta.db.
func (s *Store) Meta() *meta.DB { return s.meta }

// Journal is the shared journal, for its figures.
func (s *Store) Journal() *journal.Journal { return s.journal }

// Groups lists all Raft groups, ordered by id. The slice must not be changed.
func (s *Store) Groups() []*Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.sorted == nil {
		sorted := make([]*Group, 0, len(s.mu.groups))
		for _, g := range s.mu.groups {
			sorted = append(sorted, g)
		}
		slices.SortFunc(sorted, func(a, b *Group) int { return compareIDs(a.id, b.id) })
		s.mu.sorted = sorted
	}
	return s.mu.sorted
}

func compareIDs(a, b GroupID) int {
	var x, y [24]byte
	return slices.Compare(a.Append(x[:0]), b.Append(y[:0]))
}

// Group finds a Raft group.
func (s *Store) Group(id GroupID) (*Group, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g, ok := s.mu.groups[id]
	return g, ok
}

// Failed is nil, or the first failure of journal, meta.db or the only log dir: nothing is acknowledged after it.
func (s *Store) Failed() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fatal notes the first failure and returns it.
func (s *Store) fatal(err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, journal.ErrClosed) || errors.Is(err, meta.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, err) // late, not broken
	}
	s.failing.Do(func() { // who meets it too waits meanwhile: the process may end here, and nobody is to act on it before
		if s.Failed() != nil {
			return // closed
		}
		if s.opts.OnFatal != nil {
			s.opts.OnFatal(err)
		} else {
			s.opts.Logger.Error("storage failed", "err", err)
		}
		s.failed.CompareAndSwap(nil, &err)
	})
	return s.Failed()
}

// metaFailed is fatal for an error of meta.Commit, but for a full disk: nothing of the commit happened then.
func (s *Store) metaFailed(err error) error {
	if errors.Is(err, meta.ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return s.fatal(err)
}

// folderError is why a log dir is offline; nil for the metadata Raft group.
func (s *Store) folderError(f *folder) error {
	if f == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f.err
}

// folderFailed takes all Raft groups of a log dir offline; where it is the only one, the store fails.
func (s *Store) folderFailed(f *folder, err error) error {
	if f == nil || len(s.dirs) == 1 {
		return s.fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.err == nil {
		f.err = err
		s.opts.Logger.Error("log dir offline", "dir", f.path, "err", err)
	}
	return fmt.Errorf("%w: %w", ErrOffline, f.err)
}

// abandon gives up records whose payloads could not be synced: a dropped record says so to recovery, and only then do they no
// longer hold the mark. None of them was acknowledged.
func (s *Store) abandon(g *Group, records []journal.Record, first uint64) {
	if s.Failed() != nil {
		return
	}
	drop := []journal.Record{journal.DroppedRecord(g.id, records[0].Index)}
	if _, err := s.journal.Append(drop, true).Wait(); err != nil {
		_ = s.fatal(err)
		return
	}
	g.payloadsSynced(records, first)
}

// watch looks after free space and time until Close.
func (s *Store) watch() {
	space := time.NewTicker(s.opts.SpaceInterval)
	defer space.Stop()
	interval := time.NewTicker(s.opts.CheckpointInterval)
	defer interval.Stop()
	s.space.refresh()
	for {
		select {
		case <-s.stop:
			return
		case <-space.C:
			s.space.refresh()
		case <-s.space.due:
			s.space.refresh()
		case <-interval.C:
			for _, g := range s.Groups() {
				if save, _ := g.dirty(); save {
					s.fireDue()
					break
				}
			}
		}
	}
}

// Close ends the store. With clean, what is left to save without new snapshots is saved, and the next Open may skip its check
// of meta.db; call Checkpoint before, so that the next Open has nothing to replay. No Raft group may be in use. The second
// Close returns nil.
func (s *Store) Close(clean bool) error {
	s.mu.Lock()
	closed := s.mu.closed
	s.mu.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	close(s.stop)
	s.wg.Wait()
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	var errs []error
	clean = clean && s.Failed() == nil
	for _, g := range s.Groups() {
		g.write.Lock()
		g.write.closed = true
		g.write.Unlock()
		if clean && g.Offline() == nil {
			errs = append(errs, g.saveRow())
		}
	}
	if clean {
		errs = append(errs, s.dropJournal())
	}
	s.commits.close()
	errs = append(errs, s.journal.Close())
	if clean && errors.Join(errs...) == nil {
		errs = append(errs, s.saveClean())
	}
	s.failed.CompareAndSwap(nil, &errClosed)
	errs = append(errs, s.release())
	return errors.Join(errs...)
}

// saveClean stores how far a journal is synced that is closed now, and that this was a clean stop.
func (s *Store) saveClean() error {
	s.rowing.Lock()
	defer s.rowing.Unlock()
	s.takeTails(true)
	s.tails.settle(s.journal.Mark())
	jc := s.meta.Journal()
	jc.Clean = true
	return s.commitJournalLocked(jc, nil, true)
}

var errClosed error = ErrClosed

// release lets go of everything open, in the reverse order of open.
func (s *Store) release() error {
	var errs []error
	for _, g := range s.mu.groups {
		if g.log != nil {
			errs = append(errs, g.log.Close())
		}
	}
	if s.commits != nil {
		s.commits.close()
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.meta != nil {
		errs = append(errs, s.meta.Close())
	}
	for _, f := range s.dirs {
		if f.lock != nil {
			errs = append(errs, f.lock.Close())
			f.lock = nil
		}
	}
	if s.home != nil && s.home.lock != nil {
		errs = append(errs, s.home.lock.Close())
	}
	return errors.Join(errs...)
}
