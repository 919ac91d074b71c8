package storage

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
	"github.com/tandembroker/tandem/storage/vfs"
)

// GroupID names a Raft group.
type GroupID = entry.GroupID

var (
	ErrClosed    = errors.New("storage: closed")
	ErrLocked    = errors.New("storage: data directory in use by another process")
	ErrIdentity  = errors.New("storage: data directory belongs to another cluster or node")
	ErrNoSpace   = errors.New("storage: free space below the reserve")
	ErrOffline   = errors.New("storage: Raft group offline")
	ErrGap       = errors.New("storage: entries do not follow the last one")
	ErrTerm      = errors.New("storage: term goes back")
	ErrCompacted = errors.New("storage: index at or below the snapshot")
	ErrExists    = errors.New("storage: Raft group or its folder exists")
	ErrUnknown   = errors.New("storage: unknown Raft group")
	ErrCorrupt   = errors.New("storage: corrupt")
	ErrCut       = errors.New("storage: not while a truncation of the log has no snapshot above it")
)

// Options configures a Store. Dirs is required; the zero value of everything else works.
type Options struct {
	FS      vfs.FS   // of Dirs; nil = the operating system's
	Dirs    []string // log.dirs: folders of partitions
	MetaDir string   // meta.db, journal/ and the ballast, always on the real file system; "" = Dirs[0]

	// FormatLevel is the format level to be in force (docs/formats.md); a data directory of a higher one keeps it. 0 = 1.
	FormatLevel int

	NodeID    int32
	ClusterID string // "" = keep the stored one, or make one
	Logger    *slog.Logger

	InlineMax           int           // payloads up to this many bytes ride in the journal; 0 = 16 KiB, below 0 = none
	JournalSegmentBytes int           // size of a journal file; 0 = 4 MiB
	MarkInterval        time.Duration // an idle journal writes its mark within this; 0 = 100 ms
	MarkSaveInterval    time.Duration // how often the mark is stored in meta.db beside checkpoints, where it has moved; 0 = 1 s

	// A checkpoint is due after this many journal bytes (which bounds what a restart reads), ...
	CheckpointBytes int64 // 0 = 64 MiB
	// ... after this many payload bytes written by reference (which a restart verifies), ...
	CheckpointPayloadBytes int64 // 0 = 512 MiB
	// ... or after this long with anything to save.
	CheckpointInterval time.Duration // 0 = 60 s

	ReserveBytes  int64         // Writable fails below this much free space; 0 = 128 MiB, below 0 = none
	BallastBytes  int64         // preallocated for journal and recovery; 0 = 64 MiB, below 0 = none
	SpaceInterval time.Duration // how often free space is looked at; 0 = 1 s

	// OnFatal is called once when the journal, meta.db or the only log dir failed: nothing is acknowledged after that, and
	// the process must end. nil = the error is only logged and returned by later calls.
	OnFatal func(error)
	// CheckMeta checks meta.db after an unclean stop, in a child process; nil = in this one (meta.CheckFile).
	CheckMeta func(path string) error
	// MetaNoSync leaves out meta.db's fdatasyncs: for tests only.
	MetaNoSync bool
	Now        func() time.Time
	// LogOptions are the log options of the partition in folder when it is opened; nil = the zero value.
	LogOptions func(folder string) log.Options

	// SlowCall is how long a sync may take before the log and SlowCalls say so; 0 = 5 s.
	SlowCall  time.Duration
	OpenFiles int // segment files kept open, about; 0 = a quarter of what the process may open (RLIMIT_NOFILE), at most 65,536

	// Test seams: the journal in another file system than the real one.
	journalFS      vfs.FS
	journalLibrary func(dir string) (journal.Library, error)
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Dirs) == 0 {
		return o, errors.New("storage: no log.dirs")
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.journalFS == nil {
		o.journalFS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LogOptions == nil {
		o.LogOptions = func(string) log.Options { return log.Options{} }
	}
	if o.FormatLevel = cmp.Or(o.FormatLevel, meta.FormatLevelMin); o.FormatLevel < meta.FormatLevelMin || o.FormatLevel > meta.FormatLevel {
		return o, fmt.Errorf("storage: format level %d, this binary knows %d to %d", o.FormatLevel, meta.FormatLevelMin, meta.FormatLevel)
	}
	o.MetaDir = cmp.Or(o.MetaDir, o.Dirs[0])
	o.InlineMax = max(cmp.Or(o.InlineMax, 16<<10), 0)
	o.JournalSegmentBytes = cmp.Or(o.JournalSegmentBytes, 4<<20)
	o.MarkInterval = cmp.Or(o.MarkInterval, 100*time.Millisecond)
	o.MarkSaveInterval = cmp.Or(max(o.MarkSaveInterval, 0), time.Second)
	o.CheckpointBytes = cmp.Or(o.CheckpointBytes, 64<<20)
	o.CheckpointPayloadBytes = cmp.Or(o.CheckpointPayloadBytes, 512<<20)
	o.CheckpointInterval = cmp.Or(o.CheckpointInterval, time.Minute)
	o.ReserveBytes = max(cmp.Or(o.ReserveBytes, 128<<20), 0)
	o.BallastBytes = max(cmp.Or(o.BallastBytes, 64<<20), 0)
	o.SlowCall = cmp.Or(max(o.SlowCall, 0), 5*time.Second)
	o.OpenFiles = cmp.Or(max(o.OpenFiles, 0), openFilesDefault())
	o.SpaceInterval = cmp.Or(o.SpaceInterval, time.Second)
	return o, nil
}

// Identity is who this data directory is.
type Identity struct {
	ClusterID string
	NodeID    int32
	DiskID    string // of the folder that holds the journal; part of the Raft ServerID
}
