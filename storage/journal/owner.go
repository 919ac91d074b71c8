package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/tidwall/wal"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// owner is the state of whoever frames, writes and syncs; it belongs to the goroutine that holds Journal.duty.
type owner struct {
	lib   Library
	aside vfs.File // the library's last file once more, for syncAside
	batch wal.Batch
	frame []byte    // one record, reused
	spare []request // the queue's other array

	before    header // of the record before; crc 0 = unknown or none
	groups    map[entry.GroupID]groupTail
	changed   []entry.GroupID // those with groupTail.listed
	written   uint64          // last sequence handed to the library
	fileBytes int64           // of the last file

	carried       uint64    // newest mark that a synced record carries
	framedMark    uint64    // newest mark that a written record carries
	newest        uint64    // last record that is not a mark: an idle journal's mark has to reach it
	unsyncedSince time.Time // of the first record behind the last sync; valid while written > synced
	synced        uint64    // = marks.synced, without the lock
	watched       bool      // the owner goroutine's timer runs
}

// groupTail is the newest record of a Raft group.
type groupTail struct {
	sequence uint64
	index    uint64 // last index of the Raft group behind it
	listed   bool   // in owner.changed
}

// run is the owner goroutine. It ends after Close or a failure, when nothing is queued any more.
func (j *Journal) run() {
	defer close(j.done)
	timer := time.NewTimer(j.opts.MarkInterval)
	defer timer.Stop()
	for {
		switch j.turn(timer) {
		case turnServed:
			continue
		case turnEnded:
			return
		case turnIdle:
		}
		select {
		case <-j.wake:
		case <-timer.C:
			j.idle()
		}
	}
}

// turn is what the owner goroutine did with the library in its hands.
type turn int

const (
	turnIdle   turn = iota // nothing was queued
	turnServed             // a batch was stored; there may be another
	turnEnded              // closed or failed
)

func (j *Journal) turn(timer *time.Timer) turn {
	j.duty.Lock()
	defer j.duty.Unlock()
	batch, closed := j.take()
	if j.Err() != nil {
		j.failTaken(batch)
		return turnEnded // the library is not closed: that would sync
	}
	if len(batch) > 0 {
		j.store(batch)
		j.letServedQueue(len(batch)) // on duty, so that they queue
		if j.Err() == nil && j.overdue() {
			if err := j.syncAside(); err != nil {
				_ = j.fail(err)
			}
		}
		return turnServed
	}
	if closed {
		j.finish()
		return turnEnded
	}
	o := &j.owner
	if o.watched = o.newest > o.carried || o.written > o.synced; o.watched {
		timer.Reset(j.opts.MarkInterval / 2)
	} else {
		timer.Stop()
	}
	return turnIdle
}

// help stores what is queued, in the caller's goroutine, where nobody is on duty.
func (j *Journal) help() {
	if !j.duty.TryLock() {
		j.signal()
		return
	}
	j.gather()
	batch, _ := j.take()
	if j.Err() != nil {
		j.failTaken(batch)
	} else if len(batch) > 0 {
		j.store(batch)
	}
	watched := j.owner.watched
	j.duty.Unlock()
	j.mu.Lock()
	waiting := len(j.mu.queue)
	j.mu.Unlock()
	if waiting > 0 || !watched {
		j.signal()
	}
}

// gather lets those run that are about to queue, as the other partitions of one request: a batch of one would have them all
// wait for a second sync. It costs a lone appender one look at the run queue.
func (j *Journal) gather() {
	before := 0
	for range 8 {
		j.mu.Lock()
		waiting := len(j.mu.queue)
		j.mu.Unlock()
		if waiting == before {
			return
		}
		before = waiting
		runtime.Gosched()
	}
}

// letServedQueue lets those that were just served run first: most of them queue their next record at once. Without it the next
// batch begins with the first of them, the others wait for another sync, and 100 appenders get half the throughput.
func (j *Journal) letServedQueue(served int) {
	for range 4 {
		j.mu.Lock()
		waiting := len(j.mu.queue)
		j.mu.Unlock()
		if waiting >= served {
			return
		}
		runtime.Gosched()
	}
}

// take moves the next batch out of the queue.
func (j *Journal) take() (batch []request, closed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.mu.queue) == 0 {
		return nil, j.mu.closed
	}
	o := &j.owner
	n, bytes, records := 0, 0, 0
	for ; n < len(j.mu.queue); n++ {
		r := &j.mu.queue[n]
		if n > 0 && (bytes+r.bytes > batchBytesMax || records+len(r.records) > batchRecordsMax) {
			break
		}
		bytes += r.bytes
		records += len(r.records)
	}
	if n == len(j.mu.queue) {
		batch, j.mu.queue = j.mu.queue, o.spare[:0]
		o.spare = batch // the queue gets it back at the next take, when this batch is done
	} else {
		batch = append([]request(nil), j.mu.queue[:n]...)
		m := copy(j.mu.queue, j.mu.queue[n:])
		clear(j.mu.queue[m:])
		j.mu.queue = j.mu.queue[:m]
	}
	j.mu.queueBytes -= bytes
	j.mu.queueRecords -= records
	j.mu.notFull.Broadcast()
	return batch, j.mu.closed
}

func (j *Journal) failTaken(batch []request) {
	for i := range batch {
		batch[i].ticket.complete(0, j.Err())
	}
}

// store writes a batch, syncs it where a ticket waits for that, and completes the tickets.
func (j *Journal) store(batch []request) {
	first := j.owner.written + 1
	wantSync, err := j.write(batch)
	if err == nil && wantSync {
		// Who waits for the write only does not wait for the sync.
		next := first
		for i := range batch {
			if !batch[i].sync {
				batch[i].ticket.complete(next, nil)
				batch[i].ticket = nil
			}
			next += uint64(len(batch[i].records))
		}
		err = j.sync()
	}
	if err != nil {
		err = j.fail(err)
	}
	next := first
	for i := range batch {
		if batch[i].ticket != nil {
			batch[i].ticket.complete(next, err)
		}
		next += uint64(len(batch[i].records))
	}
	clear(batch) // let go of borrowed buffers
}

// overdue says whether the oldest unsynced record has waited long enough.
func (j *Journal) overdue() bool {
	o := &j.owner
	return o.written > o.synced && j.opts.Now().Sub(o.unsyncedSince) >= unsyncedIntervals*j.opts.MarkInterval
}

// write frames a batch and hands it to the library.
func (j *Journal) write(batch []request) (wantSync bool, err error) {
	o := &j.owner
	if o.fileBytes >= int64(j.opts.SegmentBytes) {
		if err := j.roll(); err != nil {
			return false, err
		}
	}
	mark, bytes, sequence := j.Mark(), 0, o.written
	for i := range batch {
		wantSync = wantSync || batch[i].sync
		for k := range batch[i].records {
			sequence++
			bytes += j.put(&batch[i].records[k], sequence, mark)
		}
	}
	if sequence == o.written {
		return wantSync, nil
	}
	j.next.Store(sequence + 1)
	slot := j.opts.DiskWatch.Begin()
	err = o.lib.WriteBatch(&o.batch)
	j.opts.DiskWatch.End(slot)
	if err != nil {
		return false, fmt.Errorf("write records %d to %d: %w", o.written+1, sequence, err)
	}
	if bytes > 2*batchBytesMax {
		o.batch = wal.Batch{} // an outsized one must not keep its memory
	}
	if o.written == o.synced {
		o.unsyncedSince = j.opts.Now()
	}
	j.count.bytes.Add(uint64(bytes))
	j.count.records.Add(sequence - o.written)
	j.count.batches.Add(1)
	o.fileBytes += int64(bytes)
	o.written, o.framedMark = sequence, mark
	j.files.Lock()
	j.files.list[len(j.files.list)-1].bytes = o.fileBytes
	j.files.Unlock()
	return wantSync, nil
}

// put frames one record into the library's batch and returns its size in the file.
func (j *Journal) put(r *Record, sequence, mark uint64) int {
	o := &j.owner
	h := header{sequence: sequence, mark: mark, crcBefore: o.before.crc}
	if h.crcBefore != 0 {
		h.groupBefore, h.indexBefore = o.before.group, o.before.index
	}
	if r.Group != (entry.GroupID{}) {
		t := o.groups[r.Group]
		h.prevIndex, h.prevSequence = t.index, t.sequence
		if !t.listed {
			o.changed = append(o.changed, r.Group)
		}
		o.groups[r.Group] = groupTail{sequence, lastIndex(r.Kind, r.Index, t.index), true}
	}
	if r.Placement == ByReference && r.Class == entry.Synced && r.Kind == Entry {
		j.hold(sequence)
	}
	o.frame = appendRecord(o.frame[:0], r, &h)
	o.batch.Write(sequence, o.frame)
	o.before = h
	if r.Kind != Mark {
		o.newest = sequence
	}
	n := len(o.frame)
	if cap(o.frame) > batchBytesMax {
		o.frame = nil
	}
	return prefixLen(uint32(n)) + n
}

// sync makes everything written durable.
func (j *Journal) sync() error {
	o := &j.owner
	if o.synced == o.written {
		return nil
	}
	defer j.opts.DiskWatch.End(j.opts.DiskWatch.Begin())
	if err := o.lib.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", j.lastFile(), err)
	}
	j.count.syncs.Add(1)
	j.noteSynced()
	return nil
}

// syncAside makes durable what nobody waits for. It is called on duty and leaves duty meanwhile, so that those who wait for a
// write only need not wait for the disk: it syncs through a descriptor of its own, since the library's lock is held across its.
func (j *Journal) syncAside() error {
	o := &j.owner
	file, written, mark, began := o.aside, o.written, o.framedMark, j.opts.Now()
	j.duty.Unlock()
	slot := j.opts.DiskWatch.Begin()
	err := file.Sync()
	j.opts.DiskWatch.End(slot)
	j.duty.Lock()
	if written <= o.synced {
		return nil // a sync or a roll came in between, and did it through the library's descriptor, which reports errors too
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", j.lastFile(), err)
	}
	j.count.syncs.Add(1)
	o.synced, o.carried = written, max(o.carried, mark)
	o.unsyncedSince = began // what is written since is younger
	j.marks.Lock()
	j.marks.synced = written
	j.marks.Unlock()
	return nil
}

// noteSynced moves the mark behind a sync.
func (j *Journal) noteSynced() {
	o := &j.owner
	o.synced, o.carried = o.written, o.framedMark
	j.marks.Lock()
	j.marks.synced = o.synced
	j.marks.Unlock()
}

// roll ends the last file and begins the next. Nothing in the new file counts before the folder is synced.
func (j *Journal) roll() error {
	o := &j.owner
	slot := j.opts.DiskWatch.Begin()
	err := o.lib.Close() // syncs
	j.opts.DiskWatch.End(slot)
	if err != nil {
		return fmt.Errorf("close %s: %w", j.lastFile(), err)
	}
	j.count.syncs.Add(1)
	j.noteSynced()
	if err := o.aside.Close(); err != nil {
		return fmt.Errorf("close %s: %w", j.lastFile(), err)
	}
	if err := j.begin(o.written + 1); err != nil {
		return err
	}
	j.count.rolls.Add(1)
	return nil
}

// begin makes the file whose first record has this sequence, and opens the library on it. An empty one is taken as it is.
func (j *Journal) begin(first uint64) error {
	name := filepath.Join(j.dir, fileName(first))
	f, err := j.opts.FS.OpenFile(name, os.O_WRONLY|os.O_CREATE, fileMode)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	size, err := f.Size()
	if err == nil && size != 0 {
		err = fmt.Errorf("%d bytes in a new file", size)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", name, err), f.Close())
	}
	if err := j.syncDir(); err != nil {
		return errors.Join(err, f.Close())
	}
	lib, err := j.openLibrary()
	if err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", j.dir, err), f.Close())
	}
	j.owner.lib, j.owner.aside, j.owner.fileBytes = lib, f, 0
	j.files.Lock()
	j.files.list = append(j.files.list, file{first: first})
	j.files.Unlock()
	return nil
}

// openTriesMax bounds how often the library is opened where there is no descriptor left: others take those that are closed too.
const openTriesMax = 8

// openLibrary opens the library on the last file. It parses nothing and writes nothing, as the file is empty: it may fail and be
// tried again, once files of others were closed.
func (j *Journal) openLibrary() (lib Library, err error) {
	for range openTriesMax {
		lib, err = j.opts.OpenLibrary(j.dir)
		scarce := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
		if !scarce || j.opts.Reclaim == nil || !j.opts.Reclaim() {
			break
		}
	}
	return lib, err
}

func (j *Journal) syncDir() error {
	if err := j.opts.FS.SyncDir(j.dir); err != nil {
		return fmt.Errorf("sync folder %s: %w", j.dir, err)
	}
	j.count.dirSyncs.Add(1)
	return nil
}

func (j *Journal) lastFile() string {
	j.files.Lock()
	defer j.files.Unlock()
	return filepath.Join(j.dir, fileName(j.files.list[len(j.files.list)-1].first))
}

// idle runs twice in a MarkInterval while there is something to do: first what is unsynced for long, then the mark.
func (j *Journal) idle() {
	j.duty.Lock()
	defer j.duty.Unlock()
	if j.Err() != nil {
		return
	}
	o := &j.owner
	var err error
	switch {
	case o.written > o.synced:
		if j.overdue() {
			err = j.syncAside()
		}
	case o.newest > o.carried && j.Mark() > o.carried:
		err = j.writeMark()
	}
	if err != nil {
		_ = j.fail(err)
	}
}

// writeMark writes and syncs a mark record.
func (j *Journal) writeMark() error {
	if _, err := j.write([]request{{records: []Record{{Kind: Mark}}}}); err != nil {
		return err
	}
	return j.sync()
}

// finish syncs, leaves a mark that covers everything, and closes the library.
func (j *Journal) finish() {
	o := &j.owner
	err := j.sync()
	if err == nil && o.newest > o.carried && j.Mark() > o.carried {
		err = j.writeMark()
	}
	if err == nil {
		err = errors.Join(o.lib.Close(), o.aside.Close())
	}
	if err != nil {
		_ = j.fail(err)
	}
}

// fileName is the name of the file whose first record has this sequence; the library's own form.
func fileName(first uint64) string { return fmt.Sprintf("%020d", first) }
