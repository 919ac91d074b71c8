package journal

import (
	"cmp"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	// queueBytesMax and queueRecordsMax bound what waits for the owner; Append blocks above.
	queueBytesMax   = 16 << 20
	queueRecordsMax = 16 << 10
	// batchBytesMax and batchRecordsMax bound one WriteBatch, except that one Append is never split. They bound the memory of
	// the library's batch, and how long a sync can be kept waiting.
	batchBytesMax   = 1 << 20
	batchRecordsMax = 4 << 10

	defaultSegmentBytes = 4 << 20
	defaultMarkInterval = 100 * time.Millisecond
	// unsyncedIntervals MarkIntervals is how long a record that nobody waits for stays unsynced. A sync waits for the pages of
	// other files too (ext4's journal), which class cached does not want to pay ten times a second.
	unsyncedIntervals = 10

	fileMode fs.FileMode = 0o644
)

// Options configures a Journal. The zero value works.
type Options struct {
	SegmentBytes int           // a file is rolled before the next batch once it is this long; 0 = 4 MiB
	FirstKept    uint64        // first sequence that is needed, from meta.db; files below are unlinked. 0 = 1
	Mark         uint64        // the newest mark that meta.db knows
	TailsKnown   uint64        // up to this sequence meta.db knows the newest record of each Raft group; at most Mark
	MarkInterval time.Duration // bounds a mark behind an idle journal; 0 = 100 ms. Ten of them bound how long a record stays unsynced
	Logger       *slog.Logger
	DiskWatch    *vfs.DiskWatch   // told of each write and sync; nil = none
	OnFatal      func(error)      // called once, by the goroutine that met the first failure; must not wait for the Journal
	Now          func() time.Time // nil = time.Now
	Reclaim      func() bool      // closes files of others where the process has no descriptor left; false = there were none. nil = none

	FS          vfs.FS                            // nil = the operating system's; tests
	OpenLibrary func(dir string) (Library, error) // opens the folder, whose last file is empty; nil = tidwall/wal; tests
}

func (o Options) withDefaults() Options {
	o.SegmentBytes = cmp.Or(max(o.SegmentBytes, 0), defaultSegmentBytes)
	o.FirstKept = max(o.FirstKept, 1)
	o.MarkInterval = cmp.Or(max(o.MarkInterval, 0), defaultMarkInterval)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.OpenLibrary == nil {
		o.OpenLibrary = newLibraryOpener(o.SegmentBytes).open
	}
	return o
}

// Journal is an open journal. Safe for concurrent use. Its owner goroutine is stopped and awaited by Close.
type Journal struct {
	dir  string
	opts Options

	wake  chan struct{} // capacity 1: there is something for the owner goroutine to look at
	done  chan struct{} // closed when the owner goroutine has ended
	duty  sync.Mutex    // who holds it is the owner, the only one who calls the library; held across I/O
	owner owner         // under duty, and of Open before the owner goroutine starts

	next  atomic.Uint64 // sequence of the next record that is framed
	count counters

	mu struct { // leaf lock, never held across I/O
		sync.Mutex
		notFull      sync.Cond
		queue        []request
		queueBytes   int
		queueRecords int
		closed       bool
		err          error // first failure; sticky
	}
	marks struct { // leaf lock
		sync.Mutex
		synced  uint64 // all records up to here are on disk
		pending []pendingPayload
	}
	files struct { // leaf lock for the list; truncating orders TruncateFront calls, across I/O
		truncating sync.Mutex
		sync.Mutex
		list []file // ascending; the last one is written to
	}
}

// pendingPayload is a record whose by-reference payload was not yet reported synced. It holds the mark below its sequence.
type pendingPayload struct {
	sequence uint64
	synced   bool
}

// file is a file of the journal.
type file struct {
	first   uint64 // sequence in its name
	bytes   int64
	damaged bool // evidence: renamed, not unlinked
}

// request is what one Append queues.
type request struct {
	records []Record
	bytes   int
	sync    bool
	ticket  *Ticket
}

// Ticket is the promise of an Append.
type Ticket struct {
	wg    sync.WaitGroup
	first uint64
	err   error
}

// Wait returns when the records are written, and on disk where that was asked for. first is the sequence of the first of them,
// the others follow. It may be called any number of times. Errors: ErrClosed, ErrTooLarge, ErrKind (nothing was written), else
// ErrFailed with the journal's first failure: the records may or may not be there after a restart.
func (t *Ticket) Wait() (first uint64, err error) {
	t.wg.Wait()
	return t.first, t.err
}

func (t *Ticket) complete(first uint64, err error) {
	t.first, t.err = first, err
	t.wg.Done()
}

// Append queues recs, which become consecutive records, written as one batch; with sync the ticket waits until they, and all
// records before them, are on disk. No records and sync: a barrier. It blocks only while the queue is full. recs and all they
// refer to are borrowed until Ticket.Wait returns.
func (j *Journal) Append(recs []Record, sync bool) *Ticket {
	t := &Ticket{}
	if j.enqueue(t, recs, sync) {
		j.signal()
	}
	return t
}

// Do is Append and Wait. Where nobody is at work it writes, and syncs, in the caller's goroutine: a single appender then waits
// for the disk only, not for two wake-ups as well.
func (j *Journal) Do(recs []Record, sync bool) (first uint64, err error) {
	var t Ticket
	if j.enqueue(&t, recs, sync) {
		j.help()
	}
	return t.Wait()
}

// enqueue returns false where the ticket is complete already, with an error.
func (j *Journal) enqueue(t *Ticket, recs []Record, sync bool) bool {
	t.wg.Add(1)
	r := request{records: recs, sync: sync, ticket: t}
	for i := range recs {
		if err := recs[i].check(); err != nil {
			t.complete(0, err)
			return false
		}
		r.bytes += recs[i].size()
	}
	j.mu.Lock()
	for j.mu.err == nil && !j.mu.closed && len(j.mu.queue) > 0 &&
		(j.mu.queueBytes+r.bytes > queueBytesMax || j.mu.queueRecords+len(recs) > queueRecordsMax) {
		j.mu.notFull.Wait()
	}
	if err := j.unusableLocked(); err != nil {
		j.mu.Unlock()
		t.complete(0, err)
		return false
	}
	j.mu.queue = append(j.mu.queue, r)
	j.mu.queueBytes += r.bytes
	j.mu.queueRecords += len(recs)
	j.mu.Unlock()
	return true
}

func (j *Journal) unusableLocked() error {
	if j.mu.err != nil {
		return j.mu.err
	}
	if j.mu.closed {
		return ErrClosed
	}
	return nil
}

// signal has the owner look at the queue.
func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// PayloadSynced reports that the by-reference payload of the record with this sequence is on disk, or that a dropped record
// took its place. It must be called once for each class-synced record with Placement ByReference, after Ticket.Wait.
func (j *Journal) PayloadSynced(sequence uint64) {
	j.marks.Lock()
	defer j.marks.Unlock()
	p := j.marks.pending
	lo, hi := 0, len(p)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); p[mid].sequence < sequence {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(p) && p[lo].sequence == sequence {
		p[lo].synced = true
	}
	n := 0
	for n < len(p) && p[n].synced {
		n++
	}
	if n == len(p) {
		j.marks.pending = p[:0] // reuse the array
	} else {
		j.marks.pending = p[n:]
	}
}

// hold keeps the mark below sequence until PayloadSynced. Sequences come in rising order.
func (j *Journal) hold(sequence uint64) {
	j.marks.Lock()
	j.marks.pending = append(j.marks.pending, pendingPayload{sequence: sequence})
	j.marks.Unlock()
}

// Mark is the sequence up to which all records, and the by-reference payloads that count, are on disk.
func (j *Journal) Mark() uint64 {
	j.marks.Lock()
	defer j.marks.Unlock()
	if len(j.marks.pending) > 0 {
		return min(j.marks.synced, j.marks.pending[0].sequence-1)
	}
	return j.marks.synced
}

// Synced is the sequence up to which all records are on disk, whatever becomes of payloads by reference.
func (j *Journal) Synced() uint64 {
	j.marks.Lock()
	defer j.marks.Unlock()
	return j.marks.synced
}

// NextSequence is a lower bound of the sequences of all records whose Append begins later.
func (j *Journal) NextSequence() uint64 { return j.next.Load() }

// Err is nil, or the first failure.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.err
}

// fail notes the first failure, fails everything queued, and reports it once. It returns the first failure.
func (j *Journal) fail(err error) error {
	j.mu.Lock()
	if j.mu.err != nil {
		defer j.mu.Unlock()
		return j.mu.err
	}
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	j.mu.err = err
	queue := j.takeAllLocked()
	j.mu.Unlock()
	if j.opts.OnFatal != nil { // first of all: it ends the process
		j.opts.OnFatal(err)
	} else {
		j.opts.Logger.Error("journal failed: nothing is written any more", "dir", j.dir, "err", err)
	}
	for i := range queue {
		queue[i].ticket.complete(0, err)
	}
	j.signal()
	return err
}

func (j *Journal) takeAllLocked() []request {
	queue := j.mu.queue
	j.mu.queue, j.mu.queueBytes, j.mu.queueRecords = nil, 0, 0
	j.mu.notFull.Broadcast()
	return queue
}

// Close writes what is queued and a last mark, syncs, and ends the owner. After a failure it writes nothing. The second Close
// returns nil.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.mu.closed {
		j.mu.Unlock()
		return nil
	}
	j.mu.closed = true
	j.mu.notFull.Broadcast()
	j.mu.Unlock()
	j.signal()
	<-j.done
	return j.Err()
}

// Stats are counts since Open.
type Stats struct {
	Syncs    uint64 // of journal files, the library's at a roll included
	DirSyncs uint64
	Bytes    uint64 // written, framing included
	Records  uint64
	Batches  uint64
	Rolls    uint64
}

type counters struct{ syncs, dirSyncs, bytes, records, batches, rolls atomic.Uint64 }

// Stats returns the counts so far.
func (j *Journal) Stats() Stats {
	c := &j.count
	return Stats{c.syncs.Load(), c.dirSyncs.Load(), c.bytes.Load(), c.records.Load(), c.batches.Load(), c.rolls.Load()}
}

// Size is what the journal takes on disk, in bytes.
func (j *Journal) Size() int64 {
	j.files.Lock()
	defer j.files.Unlock()
	var n int64
	for i := range j.files.list {
		n += j.files.list[i].bytes
	}
	return n
}
