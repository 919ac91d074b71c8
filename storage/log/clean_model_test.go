package log

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

var cleanSeeds = flag.Int("clean.seeds", 40, "runs of the compaction tests")

// modelRecord is a record as a client sees it.
type modelRecord struct {
	offset, ts int64
	key, text  string // text is key, value and headers, nulls told from empties
	hasKey     bool
	tombstone  bool
}

// modelBatch is a batch as it must be in the log.
type modelBatch struct {
	base, last, pid int64
	epoch, seq      int32
	pepoch          int16
	codec           record.Codec
	txn, control    bool
	horizon         int64 // -1 = none
	records         []modelRecord
	markerType      record.ControlType
	aborted         bool // not in the log: the truth about its transaction
}

func decodeBatch(t testing.TB, b record.Batch) modelBatch {
	t.Helper()
	m := modelBatch{base: b.BaseOffset(), last: b.LastOffset(), pid: b.ProducerID(), epoch: b.LeaderEpoch(), seq: b.BaseSequence(),
		pepoch: b.ProducerEpoch(), codec: b.Codec(), txn: b.IsTransactional(), control: b.IsControl(), horizon: -1}
	if b.HasDeleteHorizon() {
		m.horizon = b.FirstTimestamp()
	}
	if b.IsControl() {
		c, err := b.ReadControl()
		if err != nil {
			t.Fatal(err)
		}
		m.markerType = c.Type
	}
	err := b.Each(0, func(r record.Record) error {
		m.records = append(m.records, modelRecord{r.Offset, r.Timestamp, string(r.Key),
			fmt.Sprintf("%v %q %v %q %q", r.Key == nil, r.Key, r.Value == nil, r.Value, r.Headers), r.Key != nil, r.Value == nil})
		return nil
	})
	if err != nil || b.CheckCRC() != nil {
		t.Fatalf("batch at %d: %v", b.BaseOffset(), err)
	}
	return m
}

// cleanWorld is a log with transactions, and what must be in it.
type cleanWorld struct {
	t     testing.TB
	rng   *rand.Rand
	fsys  *vfs.Mem
	l     *Log
	opts  Options
	cp    Checkpoint
	now   int64
	batch []modelBatch
	open  map[int64]int64 // first offsets of open transactions
	epoch int32
	first int64 // first dirty offset
	m     compact.Map
	mu    sync.Mutex // for cp's list while a segment is replaced beside what follows
}

const cleanRetention = 1000 // ms

func newCleanWorld(t testing.TB, seed uint64) *cleanWorld {
	w := &cleanWorld{t: t, rng: rand.New(rand.NewPCG(seed, 9)), fsys: vfs.NewMem(), open: map[int64]int64{}, now: 1_000_000}
	w.opts = Options{SegmentBytes: int64(800 + w.rng.IntN(3000)), IndexIntervalBytes: 200,
		Now: func() time.Time { return time.UnixMilli(w.now) }}
	w.l = create(t, w.fsys, w.opts)
	return w
}

func (w *cleanWorld) put(b record.Batch) {
	w.t.Helper()
	b = slices.Clone(b)
	m := decodeBatch(w.t, b)
	row := entry.Row{Length: uint32(len(b)), BaseOffset: m.base, LastOffset: m.last, LeaderEpoch: m.epoch, MaxTimestamp: b.MaxTimestamp(),
		LastOffsetDelta: b.LastOffsetDelta()}
	if _, err := w.l.Append(b, []entry.Row{row}); err != nil {
		w.t.Fatal(err)
	}
	w.batch = append(w.batch, m)
}

// next is where the next batch begins: behind a gap now and then, or in the next band.
func (w *cleanWorld) next() int64 {
	at := w.l.LogEnd()
	switch w.rng.IntN(60) {
	case 0, 1, 2:
		at += int64(w.rng.IntN(40))
	case 3:
		at = (at>>bandBits + 1) << bandBits
	}
	return at
}

func (w *cleanWorld) data() {
	b := record.NewBuilder()
	b.BaseOffset, b.LeaderEpoch, b.Codec = w.next(), w.epoch, record.Codec(w.rng.IntN(5))
	if w.rng.IntN(3) == 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = int64(100+w.rng.IntN(3)), 1, w.rng.Int32N(1000), true
		if _, ok := w.open[b.ProducerID]; !ok {
			w.open[b.ProducerID] = b.BaseOffset
		}
	}
	for range 1 + w.rng.IntN(5) {
		var key, value []byte
		if w.rng.IntN(25) > 0 {
			key = fmt.Appendf([]byte{}, "k%d", w.rng.IntN(12))
		}
		if w.rng.IntN(4) > 0 {
			value = bytes.Repeat([]byte{byte(w.rng.Uint32())}, w.rng.IntN(120))
		}
		b.Append(w.now+w.rng.Int64N(50)-25, key, value)
	}
	batch, err := b.Batch()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(batch)
}

// marker ends a transaction, or one that has no records.
func (w *cleanWorld) marker() {
	pid := int64(100 + w.rng.IntN(3))
	c := record.Control{Type: record.ControlType(w.rng.IntN(2)), BaseOffset: w.next(), LeaderEpoch: w.epoch, Timestamp: w.now,
		ProducerID: pid, ProducerEpoch: 1}
	first, ok := w.open[pid]
	w.put(record.ControlBatch(c))
	delete(w.open, pid)
	if c.Type != record.Abort || !ok {
		return
	}
	for i := range w.batch {
		if b := &w.batch[i]; b.pid == pid && !b.control && b.base >= first {
			b.aborted = true
		}
	}
	err := w.l.AppendAborted(AbortedTxn{ProducerID: pid, FirstOffset: first, LastOffset: c.BaseOffset, LastStableOffset: w.stable()})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *cleanWorld) stable() int64 {
	lso := w.l.LogEnd()
	for _, first := range w.open {
		lso = min(lso, first)
	}
	return lso
}

func (w *cleanWorld) step() {
	switch k := w.rng.IntN(20); {
	case k < 13:
		w.data()
	case k < 17:
		w.marker()
	case k == 17:
		w.epoch++
	case k == 18:
		w.now += w.rng.Int64N(2 * cleanRetention)
	default:
		w.checkpoint()
	}
}

func (w *cleanWorld) checkpoint() {
	if err := w.l.Flush(); err != nil {
		w.t.Fatal(err)
	}
	w.cp = Checkpoint{LogStart: w.l.LogStart(), LogEnd: w.l.LogEnd(), End: w.l.EndPosition(), Sealed: w.l.Sealed(w.l.EndPosition())}
}

// replace is what Group.ReplaceSegments does.
func (w *cleanWorld) replace(r Replacement) error {
	if err := r.Of(w.cp.Sealed); err != nil {
		return err
	}
	w.setCheckpoint(w.cp.Sealed, &r)
	if err := w.l.Replace(r); err != nil {
		return err
	}
	w.setCheckpoint(w.l.Sealed(w.cp.End), nil)
	return nil
}

func (w *cleanWorld) setCheckpoint(sealed []Sealed, replacing *Replacement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cp.Sealed, w.cp.Replacing = sealed, replacing
}

func (w *cleanWorld) options() CleanOptions {
	o := CleanOptions{Bound: CleanBound{Below: min(w.cp.End.Segment, w.stable())}, Map: &w.m, MapBytes: 1 << 20,
		DeleteRetentionMs: cleanRetention, BufferBytes: 100 + w.rng.IntN(5000), Replace: w.replace}
	if w.rng.IntN(2) == 0 {
		o.MapBytes = compact.EntryLen * int64(2+w.rng.IntN(10)) // several rounds
	}
	if w.rng.IntN(2) == 0 {
		var asked atomic.Int64
		o.Busy = func() bool { return asked.Add(1)/3%2 == 0 } // comes and goes
	}
	return o
}

// clean does one round and brings the model to where it must be.
func (w *cleanWorld) clean() {
	o := w.options()
	segments := w.l.Segments()
	d, err := w.l.Dirty(o.Bound)
	if err != nil || d.First != w.first {
		w.t.Fatalf("dirty from %d, want %d: %v", d.First, w.first, err)
	}
	done, err := w.l.Clean(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	if d.DirtyBytes > 0 && done.End <= done.First || done.End > d.Upper || int64(done.Keys)*compact.EntryLen > o.MapBytes {
		w.t.Fatalf("the round did %+v of %+v", done, d)
	}
	if d.DirtyBytes > 0 {
		w.modelRound(done.End, done.End == d.Upper, segments)
		w.first = done.End
	}
}

// modelRound is Kafka's rule over whole batches: the last value of each key among the records that were taken in.
func (w *cleanWorld) modelRound(end int64, whole bool, segments []SegmentInfo) {
	var upper int64
	for i := range segments {
		if segments[i].Base < end {
			upper = segments[i+1].Base
		}
	}
	last := map[string]int64{}
	for _, b := range w.batch {
		for _, r := range b.records {
			if r.hasKey && !b.control && !b.aborted && r.offset >= w.first && r.offset < end {
				last[r.key] = r.offset
			}
		}
	}
	keepLast := int64(-1)
	for _, b := range w.batch {
		if b.last < upper && whole {
			keepLast = b.last
		}
	}
	seen := map[int64]bool{}
	var after []modelBatch
	for _, b := range w.batch {
		if b.last < upper {
			w.modelBatch(&b, seen, last, end, keepLast)
		}
		if len(b.records) > 0 {
			after = append(after, b)
		}
	}
	w.batch = after
}

func (w *cleanWorld) modelBatch(b *modelBatch, seen map[int64]bool, last map[string]int64, end, keepLast int64) {
	idle := false
	switch {
	case b.control:
		idle = !seen[b.pid]
		delete(seen, b.pid)
	case b.txn:
		seen[b.pid] = true
		idle = b.aborted
	}
	expired := b.horizon >= 0 && b.horizon <= w.now
	var kept []modelRecord
	for _, r := range b.records {
		newest, known := last[r.key]
		switch {
		case b.control && idle && expired, !b.control && idle:
		case b.control, r.offset >= end, r.hasKey && (!known || newest <= r.offset) && !(r.tombstone && expired):
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 && b.last == keepLast {
		kept = b.records[len(b.records)-1:]
	}
	b.records = kept
	stone := b.control && idle
	for _, r := range kept {
		stone = stone || r.tombstone
	}
	if stone && b.horizon < 0 {
		b.horizon = w.now + cleanRetention
	}
}

// contents reads the whole log.
func contents(t testing.TB, l *Log) []modelBatch {
	t.Helper()
	raw, err := readAll(l, l.LogStart(), 900, l.LogEnd())
	if err != nil {
		t.Fatal(err)
	}
	var list []modelBatch
	for len(raw) > 0 {
		b, rest, err := record.Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, decodeBatch(t, b))
		raw = rest
	}
	return list
}

// check compares the log with the model, as a reader of everything and as one of what is committed.
func (w *cleanWorld) check() {
	w.t.Helper()
	got := contents(w.t, w.l)
	want := slices.Clone(w.batch)
	for i := range want {
		want[i].aborted = false
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
			w.t.Fatalf("batch %d of %d:\n%+v\nwant %d:\n%+v", i, len(got), at(got, i), len(want), at(want, i))
		}
	}
	w.checkCommitted(got)
	if last := w.batch[len(w.batch)-1].last; w.l.LogEnd() < last+1 {
		w.t.Fatalf("the log ends at %d", w.l.LogEnd())
	}
	// Whoever stands below the end finds something that takes him further, but for the gaps of the log itself at its end.
	for _, s := range w.l.Segments() {
		e, err := w.l.Read(max(s.Base, w.l.LogStart()), 1, w.l.LogEnd(), true)
		if err != nil || e.Len() == 0 && s.Base <= w.batch[len(w.batch)-1].last {
			w.t.Fatalf("read at %d: %d bytes, %v", s.Base, e.Len(), err)
		}
		e.Release()
	}
}

func at(list []modelBatch, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// checkCommitted reads as a read_committed consumer does: it drops what the aborted-transaction index names.
func (w *cleanWorld) checkCommitted(batches []modelBatch) {
	lso := w.stable()
	txns := w.l.AbortedIn(w.l.LogStart(), lso)
	slices.SortFunc(txns, func(a, b AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
	aborted := map[int64]bool{}
	for i, b := range batches {
		if b.last >= lso {
			break
		}
		for len(txns) > 0 && txns[0].FirstOffset <= b.last {
			aborted[txns[0].ProducerID], txns = true, txns[1:]
		}
		switch {
		case b.control && b.markerType == record.Abort:
			delete(aborted, b.pid)
		case b.txn && !b.control && aborted[b.pid] != w.batch[i].aborted:
			w.t.Fatalf("batch at %d: aborted is %v, the index says %v", b.base, w.batch[i].aborted, aborted[b.pid])
		}
	}
}

func (w *cleanWorld) reopen() {
	w.checkpoint()
	if err := w.l.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.l = openAt(w.t, w.fsys, w.cp, w.opts)
}

// The compacted log is what Kafka's rule leaves of it, over many rounds with maps large and small, transactions, tombstones,
// codecs and restarts: offsets, order and all else of a batch stay.
func TestCleanAgainstModel(t *testing.T) {
	rounds, replaced := 0, 0
	for seed := range uint64(shorter(*cleanSeeds)) {
		w := newCleanWorld(t, seed)
		w.data()
		for range 250 {
			switch w.rng.IntN(25) {
			case 0, 1:
				before := len(w.batch)
				w.clean()
				w.check()
				rounds++
				if len(w.batch) < before {
					replaced++
				}
			case 2:
				w.reopen()
				w.check()
			default:
				w.step()
			}
		}
		w.finish(seed)
	}
	if replaced < rounds/5 {
		t.Fatalf("%d of %d rounds dropped a batch", replaced, rounds)
	}
}

// finish compacts all that can be, and compares with the plainest statement of what must be left.
func (w *cleanWorld) finish(seed uint64) {
	w.t.Helper()
	w.checkpoint()
	newest := map[string]modelRecord{}
	below := min(w.cp.End.Segment, w.stable())
	for i := 0; ; i++ {
		d, err := w.l.Dirty(CleanBound{Below: below})
		if err != nil || i > 1000 {
			w.t.Fatalf("seed %d: %+v after %d rounds: %v", seed, d, i, err)
		}
		if d.DirtyBytes == 0 {
			below = d.Upper
			break
		}
		w.clean()
	}
	w.check()
	for _, b := range w.batch {
		for _, r := range b.records {
			if !b.aborted && !b.control && r.hasKey && r.offset < below {
				newest[r.key] = r
			}
		}
	}
	count := map[string]int{}
	for _, b := range contents(w.t, w.l) {
		for _, r := range b.records {
			if r.offset < below && !b.control && r.hasKey {
				count[r.key]++
			}
		}
	}
	extra := 0
	for key := range maps.Keys(newest) {
		extra += count[key] - 1
	}
	if extra > 1+w.abortedBelow(below) { // the last batch keeps a record
		w.t.Fatalf("seed %d: %d records are left that have a younger one", seed, extra)
	}
}

func (w *cleanWorld) abortedBelow(below int64) (n int) {
	for _, b := range w.batch {
		if b.aborted && b.last < below {
			n += len(b.records)
		}
	}
	return n
}
