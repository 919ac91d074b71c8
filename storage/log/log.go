package log

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// Options configures a Log; the zero value is valid. Names and defaults as in Kafka's topic configuration.
type Options struct {
	SegmentBytes       int64            // segment.bytes; 0 = 1 GiB, at most 2^31 - 1
	SegmentMs          int64            // segment.ms; 0 = 7 days
	IndexIntervalBytes int              // index.interval.bytes; 0 = 4096
	IndexBytesMax      int              // segment.index.bytes; 0 = 10 MiB
	Now                func() time.Time // nil = time.Now
	Logger             *slog.Logger     // nil = none
	Counters           *Counters        // shared by many logs; nil = of its own
	DiskWatch          *vfs.DiskWatch   // told of each append and sync of a segment; nil = none. Kept by SetOptions as Descriptors is
	Descriptors        *Descriptors     // shared by many logs, set for good by Create or Open; nil = files stay open
}

func (o Options) withDefaults() Options {
	o.SegmentBytes = min(cmp.Or(max(o.SegmentBytes, 0), 1<<30), posMax)
	o.SegmentMs = cmp.Or(max(o.SegmentMs, 0), 7*24*3600*1000)
	o.IndexIntervalBytes = cmp.Or(max(o.IndexIntervalBytes, 0), 4096)
	o.IndexBytesMax = cmp.Or(max(o.IndexBytesMax, 0), 10<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Counters == nil {
		o.Counters = new(Counters)
	}
	return o
}

// Counters counts what metrics show. Safe for concurrent use.
type Counters struct {
	Syncs    atomic.Int64 // fdatasync of segments
	DirSyncs atomic.Int64 // fsync of folders
	Bytes    atomic.Int64 // written to segments
	Appends  atomic.Int64
	Rolls    atomic.Int64
}

// Position is a place in the log: a byte of a segment.
type Position struct {
	Segment int64 // its base offset
	Pos     int64 // byte
}

// Before orders positions.
func (p Position) Before(q Position) bool {
	return p.Segment < q.Segment || p.Segment == q.Segment && p.Pos < q.Pos
}

func (p Position) String() string { return fmt.Sprintf("%020d.log, byte %d", p.Segment, p.Pos) }

// Checkpoint says what of the files is synced and true: everything below End, which holds the offsets below LogEnd.
type Checkpoint struct {
	LogStart, LogEnd int64
	End              Position
	Sealed           []Sealed     // the segments below that of End; nil = not known
	EpochsCRC        uint32       // of the leader epochs from LogStart to LogEnd (Log.EpochsCRC); 0 = not known
	Replacing        *Replacement // about to be done to Sealed, or done; nil = none
}

// Log is one partition's segments. Safe for concurrent use; see the package comment for locks.
type Log struct {
	fsys    vfs.FS
	dir     string
	topicID uuid.UUID
	opts    atomic.Pointer[Options]

	cleaning sync.Mutex // one Clean at a time; held across I/O
	write    sync.Mutex // orders what changes segments: Append, Truncate, retention; held across I/O
	files    sync.Mutex // orders what changes the files beside them; held across I/O
	syncing  sync.Mutex // one Sync at a time; held across I/O

	recovery *recovery // between Open and Recover, under write
	stored   int64     // offset of the producer snapshot that the checkpoint given to Open names, -1 = none; immutable then

	mu struct {
		sync.RWMutex
		segments     []*segment // by base; the last one is appended to. Never empty once recovered
		start        int64      // log start offset
		end          int64      // log end offset
		epochs       epochs
		epochsSaved  bool       // the file holds epochs as they are
		recent       recent     // of the last segment
		seal         bool       // the next append begins a new segment
		moved        uint64     // rises when bytes below end stop being true
		unsynced     []*segment // those with dirty set
		dirDirty     bool       // names of the folder are not synced
		cleaned      int64      // first offset that compaction has not seen,
		cleanedKnown bool       // once its checkpoint was read
		noCleaning   bool       // StopCleaning was called
		endCleaning  func()     // ends the Clean under way; nil = there is none
		cleaningCut  bool       // the log was cut since that one has begun
		open         bool       // recovered
		closed       bool
		err          error // first failure, as ErrFailed
	}
}

func newLog(fsys vfs.FS, dir string, o Options) *Log {
	l := &Log{fsys: Reclaiming(fsys, o.Descriptors), dir: dir, stored: -1}
	l.SetOptions(o)
	return l
}

// Create makes the folder of a partition whose first offset is start, durably, ready for appends. A folder that a crash left
// half made is completed. Errors: fs.ErrExist when the folder holds records, or is another topic's.
func Create(fsys vfs.FS, dir string, topicID uuid.UUID, start int64, o Options) (*Log, error) {
	l := newLog(fsys, dir, o)
	l.topicID = topicID
	if err := l.create(start); err != nil {
		return nil, fmt.Errorf("log: create %s: %w", dir, err)
	}
	return l, nil
}

func (l *Log) create(start int64) error {
	if err := l.fsys.MkdirAll(l.dir, dirPerm); err != nil {
		return err
	}
	if err := l.clearHalfMade(); err != nil {
		return err
	}
	s, err := l.newFile(start)
	if err != nil {
		return err
	}
	l.mu.segments, l.mu.start, l.mu.end = []*segment{s}, start, start
	err = writeFile(l.fsys, path.Join(l.dir, nameMetadata), encodeMetadata(l.topicID)) // syncs the folder too
	if err == nil {
		err = l.fsys.SyncDir(path.Dir(l.dir))
	}
	if err != nil {
		_ = s.file.release()
		return err
	}
	l.mu.Lock()
	l.mu.open = true
	l.mu.Unlock()
	l.options().Descriptors.add(l, s)
	return nil
}

// clearHalfMade removes what an interrupted Create left.
func (l *Log) clearHalfMade() error {
	files, err := l.fsys.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range files {
		if e.Name() == nameMetadata {
			b, err := readSmall(l.fsys, path.Join(l.dir, nameMetadata))
			if err != nil {
				return err
			}
			if id, err := decodeMetadata(b); err == nil && id != l.topicID {
				return fmt.Errorf("%w: it belongs to topic id %s", fs.ErrExist, id)
			}
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if _, suffix, ok := parseName(e.Name()); ok && suffix == suffixLog && info.Size() > 0 {
			return fmt.Errorf("%w: %s has %d bytes", fs.ErrExist, e.Name(), info.Size())
		}
	}
	for _, e := range files {
		if _, _, ok := parseName(e.Name()); ok {
			if err := l.fsys.Remove(path.Join(l.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// newFile makes an empty segment file. Its name is not durable yet.
func (l *Log) newFile(base int64) (*segment, error) {
	f, err := l.fsys.OpenFile(fileName(l.dir, base, suffixLog), os.O_CREATE|os.O_TRUNC|os.O_RDWR, filePerm)
	if err != nil {
		return nil, err
	}
	s := newSegment(base)
	s.file, s.created = share(f), l.options().Now()
	s.modTime = s.created
	s.ready.Store(true)
	return s, nil
}

// SetOptions replaces the options; Logger, Now and Counters stay where the new ones have none, Descriptors in any case.
func (l *Log) SetOptions(o Options) {
	if old := l.opts.Load(); old != nil {
		o.Counters, o.Descriptors, o.DiskWatch = cmp.Or(o.Counters, old.Counters), old.Descriptors, old.DiskWatch
		o.Logger = cmp.Or(o.Logger, old.Logger)
		if o.Now == nil {
			o.Now = old.Now
		}
	}
	o = o.withDefaults()
	l.opts.Store(&o)
}

func (l *Log) options() *Options { return l.opts.Load() }

// Dir is the partition's folder.
func (l *Log) Dir() string { return l.dir }

// TopicID is what partition.metadata says; the zero id where that file is missing.
func (l *Log) TopicID() uuid.UUID { return l.topicID }

// Counters are those of the options.
func (l *Log) Counters() *Counters { return l.options().Counters }

// LogStart is the log start offset: the first offset that may be read.
func (l *Log) LogStart() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.start
}

// LogEnd is the log end offset: the offset behind the last record.
func (l *Log) LogEnd() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.end
}

// EndPosition is where the next append would go if it does not roll.
func (l *Log) EndPosition() Position {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.mu.segments) == 0 {
		return Position{}
	}
	s := l.lastLocked()
	return Position{s.base, s.size}
}

// Err is the failure that stopped all writes, as ErrFailed, or nil.
func (l *Log) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.err
}

func (l *Log) lastLocked() *segment { return l.mu.segments[len(l.mu.segments)-1] }

// writable says why nothing may be written, or nil.
func (l *Log) writable() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.mu.err != nil:
		return l.mu.err
	case l.mu.closed:
		return ErrClosed
	case !l.mu.open:
		return ErrNotRecovered
	}
	return nil
}

// fail makes err final. The first one is kept and returned by every later write.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err == nil {
		l.mu.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return l.mu.err
}

// failUnlessFull is fail for what is written beside the segments: a full disk breaks nothing there.
func (l *Log) failUnlessFull(err error) error {
	if errors.Is(err, ErrNoSpace) {
		return err
	}
	return l.fail(err)
}

// Close writes what is only in memory (Flush) and closes the files; extents in flight keep theirs. A second Close returns nil.
func (l *Log) Close() error {
	var err error
	if l.writable() == nil {
		err = l.flush(0)
	}
	l.shut()
	return err
}

// StopCleaning ends a Clean under way, waits for it, and lets none begin again. Close and Delete do it as well; who calls them
// with a lock held that CleanOptions.Replace takes must call this before it takes the lock.
func (l *Log) StopCleaning() {
	l.mu.Lock()
	l.mu.noCleaning = true
	if l.mu.endCleaning != nil {
		l.mu.endCleaning()
	}
	l.mu.Unlock()
	l.cleaning.Lock()
	l.cleaning.Unlock() //nolint:staticcheck // it was waited for
}

func (l *Log) shut() {
	l.StopCleaning()
	l.write.Lock()
	defer l.write.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for _, s := range l.mu.segments {
		if !s.gone {
			s.dropLocked()
		}
	}
}

// Delete closes the log without flushing, renames its folder to <name>.<32 hex>-delete and removes that. Once the rename is
// durable the partition is gone; RemoveDeleted finishes what a crash leaves.
func (l *Log) Delete() error {
	l.shut()
	l.files.Lock()
	defer l.files.Unlock()
	return RemoveFolder(l.fsys, l.dir)
}

// RemoveFolder renames a partition's folder to <name>.<32 hex>-delete, durably, and removes that. It is Delete for a folder whose
// log is not open.
func RemoveFolder(fsys vfs.FS, dir string) error {
	parent, gone := path.Dir(dir), path.Join(path.Dir(dir), deletedName(path.Base(dir)))
	if err := fsys.Rename(dir, gone); err != nil {
		return fmt.Errorf("log: delete %s: %w", dir, err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fmt.Errorf("log: delete %s: %w", dir, err)
	}
	if err := fsys.RemoveAll(gone); err != nil {
		return fmt.Errorf("log: remove %s: %w", gone, err)
	}
	return nil
}

// nameMax is the longest file name that common file systems take, bytes.
const nameMax = 255

// deletedName is what the folder <topic>-<partition> is renamed to. A long topic name is cut, never the partition.
// Source: Kafka's LocalLog.logDeleteDirName.
func deletedName(folder string) string {
	id := uuid.New()
	topic, partition := folder, ""
	if dash := strings.LastIndexByte(folder, '-'); dash >= 0 {
		topic, partition = folder[:dash], folder[dash:]
	}
	suffix := partition + "." + hex.EncodeToString(id[:]) + suffixDelete
	return topic[:min(len(topic), nameMax-len(suffix))] + suffix
}

// RemoveDeleted removes the folders in parent that an interrupted Delete left behind, and returns their names.
func RemoveDeleted(fsys vfs.FS, parent string) ([]string, error) {
	list, err := fsys.ReadDir(parent)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, e := range list {
		name, isDeleted := strings.CutSuffix(e.Name(), suffixDelete)
		dot := strings.LastIndexByte(name, '.')
		if !isDeleted || dot < 0 || !e.IsDir() {
			continue
		}
		if id, err := hex.DecodeString(name[dot+1:]); err != nil || len(id) != 16 {
			continue
		}
		if len(removed) == 0 {
			if err := fsys.SyncDir(parent); err != nil { // the rename may not be durable yet
				return nil, err
			}
		}
		if err := fsys.RemoveAll(path.Join(parent, e.Name())); err != nil {
			return removed, err
		}
		removed = append(removed, e.Name())
	}
	return removed, nil
}

// checkRows refuses an append that contradicts itself or the log, before anything is written.
func checkRows(payload []byte, rows []entry.Row, end int64) error {
	if len(rows) == 0 || len(payload) == 0 {
		return fmt.Errorf("%w: %d rows, %d bytes", ErrInvalid, len(rows), len(payload))
	}
	if len(payload) > posMax {
		return fmt.Errorf("%w: %d bytes", ErrInvalid, len(payload))
	}
	pos := int64(0)
	for i := range rows {
		r := &rows[i]
		switch {
		case int64(r.Pos) != pos || r.Length < headerMin || pos+int64(r.Length) > int64(len(payload)):
			return fmt.Errorf("%w: row %d covers %d bytes at %d of %d", ErrInvalid, i, r.Length, r.Pos, len(payload))
		case r.BaseOffset < end || r.LastOffset < r.BaseOffset:
			return fmt.Errorf("%w: row %d has offsets %d to %d, the log ends at %d", ErrInvalid, i, r.BaseOffset, r.LastOffset, end)
		case baseOffsetOf(payload[pos:]) != r.BaseOffset:
			return fmt.Errorf("%w: row %d has base offset %d, its batch %d", ErrInvalid, i, r.BaseOffset, baseOffsetOf(payload[pos:]))
		}
		pos += int64(r.Length)
		end = r.LastOffset + 1
	}
	if pos != int64(len(payload)) {
		return fmt.Errorf("%w: rows cover %d of %d bytes", ErrInvalid, pos, len(payload))
	}
	if end-1-rows[0].BaseOffset > math.MaxInt32 {
		return fmt.Errorf("%w: offsets %d to %d are too many for one segment", ErrInvalid, rows[0].BaseOffset, end-1)
	}
	return nil
}
