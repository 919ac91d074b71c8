package meta

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tandembroker/tandem/storage/entry"
)

// FormatLevel is the highest level that this binary reads and writes; FormatLevelMin is the lowest, and that of a new file where
// nothing else is asked for.
const (
	FormatLevelMin = 1
	FormatLevel    = 2
)

// Bucket names of the storage layer; Tx refuses to write them.
const (
	bucketIdentity   = "identity"
	bucketCheckpoint = "checkpoint"
	bucketRaft       = "raft"
	keyJournal       = "journal"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("meta: closed")

// Identity is the bucket identity.
type Identity struct {
	ClusterID   string
	NodeID      int32
	DiskID      string // of the folder that holds the journal
	SiteDomain  string
	FormatLevel int
}

// Options configures a DB; the zero value works.
type Options struct {
	// Check examines the bbolt file at path after an unclean stop, before it is opened; nil = CheckFile in this process,
	// which damaged pages can kill. A broker runs CheckFile in a child process.
	Check func(path string) error
	// NoSync leaves out every fdatasync: for tests that take crash states from copies of the file.
	NoSync bool
	// Initial is the identity that a new file is created with; FormatLevel 0 = FormatLevelMin.
	Initial Identity
	Logger  *slog.Logger

	settle func(path string) error // a seam for tests
}

// DB is an open meta.db.
type DB struct {
	path  string
	bolt  *bolt.DB
	clean bool                             // as found by Open
	write func(func(*bolt.Tx) error) error // bolt.Update; a seam for tests
	mu    struct {
		sync.Mutex
		journal JournalCheckpoint // as last committed
		err     error             // first failed write, or ErrClosed; sticky
	}
}

func boltOptions(o Options) *bolt.Options {
	return &bolt.Options{
		Timeout: 5 * time.Second, NoSync: o.NoSync, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
	}
}

// Open opens the file at path, or creates it whole (written aside, then renamed), and checks its format level.
// Errors name the file; ErrCorrupt and ErrVersion are wrapped.
func Open(path string, o Options) (*DB, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.settle == nil {
		o.settle = settle
	}
	clean := false
	switch _, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		if err := create(path, o); err != nil {
			return nil, fmt.Errorf("meta: create %s: %w", path, err)
		}
	case err != nil:
		return nil, fmt.Errorf("meta: %w", err)
	default:
		jc, err := Peek(path)
		clean = err == nil && jc.Clean
		if !clean {
			check := o.Check
			if check == nil {
				check = CheckFile
			}
			if err := check(path); err != nil {
				return nil, fmt.Errorf("meta: %s: %w: %w", path, ErrCorrupt, err)
			}
			o.Logger.Info("meta.db checked after an unclean stop", "file", path)
		}
	}
	if !o.NoSync {
		if err := o.settle(path); err != nil {
			return nil, fmt.Errorf("meta: sync %s: %w", path, err)
		}
	}
	b, err := bolt.Open(path, 0o644, boltOptions(o))
	if err != nil {
		return nil, fmt.Errorf("meta: open %s: %w", path, err)
	}
	d := &DB{path: path, bolt: b, clean: clean, write: b.Update}
	if err := d.load(); err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("meta: %s: %w", path, err)
	}
	return d, nil
}

// create makes the file under another name first, so that a crash never leaves half a file under path.
func create(path string, o Options) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	bo := boltOptions(o)
	bo.NoSync = true // one sync at the end instead of four
	b, err := bolt.Open(tmp, 0o644, bo)
	if err != nil {
		return err
	}
	err = b.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{bucketIdentity, bucketCheckpoint, bucketRaft} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		jc := JournalCheckpoint{}
		if err := tx.Bucket([]byte(bucketCheckpoint)).Put([]byte(keyJournal), seal(jc.Append(nil))); err != nil {
			return err
		}
		id := o.Initial
		id.FormatLevel = cmp.Or(id.FormatLevel, FormatLevelMin)
		return putIdentity(tx, id)
	})
	if err == nil && !o.NoSync {
		err = b.Sync()
	}
	if err := errors.Join(err, b.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if o.NoSync {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads what decides whether this binary may use the file at all.
func (d *DB) load() error {
	id, err := d.Identity()
	if err != nil {
		return err
	}
	if id.FormatLevel > FormatLevel || id.FormatLevel < FormatLevelMin {
		return fmt.Errorf("%w: format level %d, this binary reads levels up to %d", ErrVersion, id.FormatLevel, FormatLevel)
	}
	return d.bolt.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucketCheckpoint))
		if b == nil {
			return fmt.Errorf("%w: bucket %s is missing", ErrCorrupt, bucketCheckpoint)
		}
		v, err := open(b.Get([]byte(keyJournal)))
		if err != nil {
			return fmt.Errorf("%s/%s: %w", bucketCheckpoint, keyJournal, err)
		}
		return d.mu.journal.Decode(v)
	})
}

// Path is the file name.
func (d *DB) Path() string { return d.path }

// WasClean says whether Open found the flag of a clean stop.
func (d *DB) WasClean() bool { return d.clean }

// Journal is the journal checkpoint as last committed.
func (d *DB) Journal() JournalCheckpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.journal
}

// Identity reads the bucket identity; missing keys are zero (NodeID -1).
func (d *DB) Identity() (Identity, error) {
	id := Identity{NodeID: -1}
	err := d.View(func(tx Tx) error {
		return tx.Each(bucketIdentity, func(k, v []byte) error {
			var err error
			switch string(k) {
			case "cluster.id":
				id.ClusterID = string(v)
			case "disk.id":
				id.DiskID = string(v)
			case "site.domain":
				id.SiteDomain = string(v)
			case "node.id":
				var n int64
				n, err = strconv.ParseInt(string(v), 10, 32)
				id.NodeID = int32(n)
			case "format.level":
				id.FormatLevel, err = strconv.Atoi(string(v))
			}
			if err != nil {
				return fmt.Errorf("%w: %s/%s: %w", ErrCorrupt, bucketIdentity, k, err)
			}
			return nil
		})
	})
	return id, err
}

// SetIdentity stores id; it is durable on return. FormatLevel 0 keeps the stored one.
func (d *DB) SetIdentity(id Identity) error {
	return d.update(func(tx *bolt.Tx) error { return putIdentity(tx, id) })
}

func putIdentity(tx *bolt.Tx, id Identity) error {
	b := tx.Bucket([]byte(bucketIdentity))
	pairs := [][2]string{{"cluster.id", id.ClusterID}, {"node.id", strconv.Itoa(int(id.NodeID))},
		{"disk.id", id.DiskID}, {"site.domain", id.SiteDomain}}
	if id.FormatLevel != 0 {
		pairs = append(pairs, [2]string{"format.level", strconv.Itoa(id.FormatLevel)})
	}
	for _, p := range pairs {
		if err := b.Put([]byte(p[0]), seal([]byte(p[1]))); err != nil {
			return err
		}
	}
	return nil
}

// Commit is one transaction of the checkpointer. Raft groups named in both Groups and Removed are removed.
type Commit struct {
	Groups  map[entry.GroupID]*GroupCheckpoint
	Removed []entry.GroupID
	Journal *JournalCheckpoint // nil = as it is
	Tails   *Tails             // rows that change, a zero one goes; nil = as they are
}

// Commit makes c durable, whole or not at all. Errors: ErrNoSpace, to be tried again; after any other nothing is written any more.
func (d *DB) Commit(c Commit) error {
	err := d.unlessFull(func(tx *bolt.Tx) error {
		groups := tx.Bucket([]byte(bucketRaft))
		for id, cp := range c.Groups {
			if err := groups.Put(id.Append(nil), sealAs(cp.Version(), cp.Append(nil))); err != nil {
				return err
			}
		}
		for _, id := range c.Removed {
			if err := groups.Delete(id.Append(nil)); err != nil {
				return err
			}
		}
		if c.Tails != nil {
			if err := putTails(tx, c.Tails); err != nil {
				return err
			}
		}
		if c.Journal != nil {
			return tx.Bucket([]byte(bucketCheckpoint)).Put([]byte(keyJournal), seal(c.Journal.Append(nil)))
		}
		return nil
	})
	if err == nil && c.Journal != nil {
		d.mu.Lock()
		d.mu.journal = *c.Journal
		d.mu.Unlock()
	}
	return err
}

// LoadGroups reads all Raft group checkpoints. A damaged one is returned in bad with its reason, the others stand.
func (d *DB) LoadGroups() (groups map[entry.GroupID]*GroupCheckpoint, bad map[entry.GroupID]error, err error) {
	groups, bad = map[entry.GroupID]*GroupCheckpoint{}, map[entry.GroupID]error{}
	err = d.bolt.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucketRaft))
		if b == nil {
			return fmt.Errorf("%w: bucket %s is missing", ErrCorrupt, bucketRaft)
		}
		return b.ForEach(func(k, v []byte) error {
			if len(k) != entry.GroupIDLen {
				return fmt.Errorf("%w: %s: key of %d bytes", ErrCorrupt, bucketRaft, len(k))
			}
			id := entry.ParseGroupID(k)
			value, version, err := openUpTo(GroupCheckpointVersion, v)
			cp := new(GroupCheckpoint)
			if err == nil {
				err = cp.Decode(value, version)
			}
			switch {
			case errors.Is(err, ErrVersion):
				return fmt.Errorf("%s/%s: %w", bucketRaft, id, err)
			case err != nil:
				bad[id] = fmt.Errorf("%s: %s/%s: %w", d.path, bucketRaft, id, err)
			default:
				groups[id] = cp
			}
			return nil
		})
	})
	if err != nil {
		err = fmt.Errorf("meta: %s: %w", d.path, err)
	}
	return groups, bad, err
}

// update is the only way to a write transaction; its first failure ends all later ones.
func (d *DB) update(fn func(*bolt.Tx) error) error {
	_, err := d.try(fn)
	return d.sticky(err)
}

// unlessFull is update, but for a disk that had no room for the pages of the transaction: they are not referred to by anything, and
// the next transaction writes its own. A failed sync is another matter (it comes as a bare errno), and so is a meta page that may
// have been written.
func (d *DB) unlessFull(fn func(*bolt.Tx) error) error {
	id, err := d.try(fn)
	var write *fs.PathError
	if errors.Is(err, syscall.ENOSPC) && errors.As(err, &write) {
		newest := id
		viewed := d.bolt.View(func(tx *bolt.Tx) error {
			newest = tx.ID()
			return nil
		})
		if viewed == nil && newest < id {
			return fmt.Errorf("%w: %s: %w", ErrNoSpace, d.path, err)
		}
	}
	return d.sticky(err)
}

// refusedError is what fn returned: rolled back before anything was written.
type refusedError struct{ error }

// try runs one write transaction, of which it returns the id.
func (d *DB) try(fn func(*bolt.Tx) error) (id int, err error) {
	d.mu.Lock()
	err = d.mu.err
	d.mu.Unlock()
	if err != nil {
		return 0, refusedError{err}
	}
	var refused error
	err = d.write(func(tx *bolt.Tx) error {
		id = tx.ID()
		refused = fn(tx)
		return refused
	})
	if refused != nil {
		err = refusedError{err}
	}
	return id, err
}

// sticky keeps the first failure of a write.
func (d *DB) sticky(err error) error {
	if refused, ok := err.(refusedError); ok { //nolint:errorlint // never wrapped
		return refused.error
	}
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.err == nil {
		// A failed fdatasync may have dropped dirty pages: nothing may be built on this file until it is opened again.
		d.mu.err = fmt.Errorf("meta: write or sync %s: %w", d.path, err)
	}
	return d.mu.err
}

// WriteTo copies the whole file as of the last commit, while writes go on. It implements io.WriterTo.
func (d *DB) WriteTo(w io.Writer) (n int64, err error) {
	err = d.bolt.View(func(tx *bolt.Tx) error {
		n, err = tx.WriteTo(w)
		return err
	})
	return n, err
}

// Failed is the first failed write; nil while all is well.
func (d *DB) Failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(d.mu.err, ErrClosed) {
		return nil
	}
	return d.mu.err
}

// Close closes the file; a second Close returns nil.
func (d *DB) Close() error {
	d.mu.Lock()
	if errors.Is(d.mu.err, ErrClosed) {
		d.mu.Unlock()
		return nil
	}
	d.mu.err = ErrClosed
	d.mu.Unlock()
	return d.bolt.Close()
}

// reserved says whether a bucket path belongs to the storage layer.
func reserved(bucket string) bool {
	top, _, _ := strings.Cut(bucket, "/")
	return top == bucketIdentity || top == bucketCheckpoint || top == bucketRaft || top == bucketTails
}
