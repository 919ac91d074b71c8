package log

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

var testTopic = uuid.UUID{0: 7, 15: 9}

const testDir = "data/topic-0"

// shorter takes less of a long search in -short, which is how the race detector's runs are made: these searches are of one
// goroutine, and take ten times as long under it.
func shorter(runs int) int {
	const part = 8
	if testing.Short() {
		return max(1, runs/part)
	}
	return runs
}

// made is a batch as a leader stamps it.
type made struct {
	bytes []byte
	row   entry.Row
	stamp []int64 // timestamp of each record
}

// batchSpec says what a batch shall look like.
type batchSpec struct {
	base, ts  int64
	count     int
	valueLen  int
	epoch     int32
	codec     record.Codec
	backwards bool // timestamps fall
}

func makeBatch(t testing.TB, c batchSpec) made {
	t.Helper()
	b := record.NewBuilder()
	b.BaseOffset, b.LeaderEpoch, b.Codec = c.base, c.epoch, c.codec
	m := made{}
	value := bytes.Repeat([]byte{byte(c.base), byte(c.base >> 8), byte(c.epoch)}, c.valueLen/3+1)[:c.valueLen]
	maxTs := int64(-1)
	for i := range c.count {
		ts := c.ts + int64(i)
		if c.backwards {
			ts = c.ts + int64(c.count-i)
		}
		b.Append(ts, nil, value)
		m.stamp = append(m.stamp, ts)
		maxTs = max(maxTs, ts)
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	m.bytes = bytes.Clone(batch)
	m.row = entry.Row{Length: uint32(len(batch)), BaseOffset: c.base, LastOffset: batch.LastOffset(), LeaderEpoch: c.epoch,
		CoordinatorEpoch: -1, ProducerID: -1, MaxTimestamp: maxTs, BaseSequence: -1, ProducerEpoch: -1,
		ControlType: -1, LastOffsetDelta: batch.LastOffsetDelta()}
	return m
}

// payload joins batches to one entry's payload.
func payload(list ...made) ([]byte, []entry.Row) {
	var b []byte
	var rows []entry.Row
	for _, m := range list {
		m.row.Pos = uint32(len(b))
		rows = append(rows, m.row)
		b = append(b, m.bytes...)
	}
	return b, rows
}

func testOptions() Options {
	return Options{SegmentBytes: 4000, IndexIntervalBytes: 300, Now: func() time.Time { return time.UnixMilli(1_000_000) },
		Descriptors: NewDescriptors(2)} // files are closed all the time
}

func create(t testing.TB, fsys vfs.FS, o Options) *Log {
	t.Helper()
	if err := fsys.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	if m, ok := fsys.(*vfs.Mem); ok {
		if err := m.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Create(fsys, testDir, testTopic, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t testing.TB, l *Log, list ...made) Position {
	t.Helper()
	b, rows := payload(list...)
	pos, err := l.Append(b, rows)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// fill appends n batches of three records each and returns them.
func fill(t testing.TB, l *Log, n int) []made {
	t.Helper()
	var list []made
	for range n {
		m := makeBatch(t, batchSpec{base: l.LogEnd(), ts: 1000 + l.LogEnd()*10, count: 3, valueLen: 40})
		mustAppend(t, l, m)
		list = append(list, m)
	}
	return list
}

// reopen closes l and opens its folder with everything trusted.
func reopen(t testing.TB, fsys vfs.FS, l *Log, o Options) *Log {
	t.Helper()
	cp := Checkpoint{LogStart: l.LogStart(), LogEnd: l.LogEnd(), End: l.EndPosition()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return openAt(t, fsys, cp, o)
}

func openAt(t testing.TB, fsys vfs.FS, cp Checkpoint, o Options) *Log {
	t.Helper()
	l, err := Open(fsys, testDir, cp, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(nil); err != nil {
		t.Fatal(err)
	}
	return l
}

// readAll reads from offset to limit in extents of at most bytesMax.
func readAll(l *Log, offset, bytesMax, limit int64) ([]byte, error) {
	var all []byte
	for offset < limit {
		e, err := l.Read(offset, bytesMax, limit, true)
		if err != nil {
			return all, err
		}
		b, err := e.ReadAll()
		next := e.Next()
		e.Release()
		if err != nil {
			return all, err
		}
		if len(b) == 0 {
			return all, nil
		}
		if next <= offset {
			return all, fmt.Errorf("read at %d ends at %d", offset, next)
		}
		all = append(all, b...)
		offset = next
	}
	return all, nil
}

func joined(list []made) []byte {
	var b []byte
	for _, m := range list {
		b = append(b, m.bytes...)
	}
	return b
}

// journaled is an entry of the simulated journal.
type journaled struct {
	list   []made
	pos    Position
	inline bool
	acked  bool
}

func (j *journaled) tail() Tail {
	b, rows := payload(j.list...)
	t := Tail{Pos: j.pos, Length: uint32(len(b)), CRC: crc32.Checksum(b, entry.Castagnoli), Rows: rows}
	if j.inline {
		t.Inline = func() ([]byte, error) { return b, nil }
	}
	return t
}

func (j *journaled) end() Position {
	b, _ := payload(j.list...)
	return Position{j.pos.Segment, j.pos.Pos + int64(len(b))}
}

func (j *journaled) nextOffset() int64 { return j.list[len(j.list)-1].row.LastOffset + 1 }

// world is a log with the journal that storage.Group would keep, and the truth.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	fsys    *vfs.Mem
	l       *Log
	cp      Checkpoint
	trusted []made      // below cp
	journal []journaled // above cp
	start   int64
	epoch   int32
	ts      int64
	opts    Options
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), fsys: vfs.NewMem(), opts: testOptions(), ts: 1000}
	w.l = create(t, w.fsys, w.opts)
	w.cp = Checkpoint{End: Position{}}
	return w
}

func (w *world) end() int64 {
	if n := len(w.journal); n > 0 {
		return w.journal[n-1].nextOffset()
	}
	return w.cp.LogEnd
}

// all is the truth, acknowledged or not.
func (w *world) all() []made {
	list := append([]made(nil), w.trusted...)
	for i := range w.journal {
		list = append(list, w.journal[i].list...)
	}
	return list
}

func (w *world) append() error {
	next := w.end()
	if w.rng.IntN(10) == 0 {
		next += int64(w.rng.IntN(50)) // a gap
	}
	if w.rng.IntN(200) == 0 {
		next += 1 << 40 // a promotion
	}
	if w.rng.IntN(8) == 0 {
		w.epoch++
	}
	var list []made
	for range 1 + w.rng.IntN(3) {
		w.ts += int64(w.rng.IntN(20)) - 5
		codec := record.None
		if w.rng.IntN(4) == 0 {
			codec = record.Zstd
		}
		m := makeBatch(w.t, batchSpec{base: next, ts: w.ts, count: 1 + w.rng.IntN(4), valueLen: w.rng.IntN(200), epoch: w.epoch,
			codec: codec, backwards: w.rng.IntN(3) == 0})
		list = append(list, m)
		next = m.row.LastOffset + 1
	}
	j := journaled{list: list, inline: w.rng.IntN(2) == 0}
	b, rows := payload(list...)
	pos, err := w.l.Append(b, rows)
	if err != nil {
		return err
	}
	j.pos = pos
	w.journal = append(w.journal, j) // written from now on, perhaps
	if !j.inline || w.rng.IntN(4) == 0 {
		if err := w.l.Sync(); err != nil {
			return err
		}
	}
	w.journal[len(w.journal)-1].acked = true
	return nil
}

func (w *world) truncate() error {
	n := w.rng.IntN(len(w.journal) + 1)
	if n == len(w.journal) {
		return nil
	}
	offset := w.journal[n].list[0].row.BaseOffset
	w.journal = w.journal[:n:n]
	w.epoch++
	return w.l.Truncate(offset)
}

// checkpoint covers a prefix of the journal.
func (w *world) checkpoint() error {
	if err := w.l.Flush(); err != nil {
		return err
	}
	n := w.rng.IntN(len(w.journal) + 1)
	for i := range n {
		w.trusted = append(w.trusted, w.journal[i].list...)
		w.cp.End, w.cp.LogEnd = w.journal[i].end(), w.journal[i].nextOffset()
	}
	w.journal = w.journal[n:len(w.journal):len(w.journal)]
	w.cp.LogStart = w.start
	return nil
}

func (w *world) retain() error {
	if w.cp.LogEnd <= w.start {
		return nil
	}
	to := w.start + w.rng.Int64N(min(w.cp.LogEnd-w.start, 1000)+1)
	w.start = to
	if err := w.l.SetLogStart(to); err != nil {
		return err
	}
	_, err := w.l.DeleteBelow(min(to, w.cp.LogEnd))
	return err
}

// step does one thing at random.
func (w *world) step() error {
	switch k := w.rng.IntN(20); {
	case k < 13:
		return w.append()
	case k < 15:
		return w.truncate()
	case k < 18:
		return w.checkpoint()
	}
	return w.retain()
}

// recover opens fsys as after a crash and says how many entries of the journal survived.
func (w *world) recover(fsys vfs.FS) (*Log, int, error) {
	l, err := Open(fsys, testDir, w.cp, w.opts)
	if err != nil {
		return nil, 0, err
	}
	tail := make([]Tail, len(w.journal))
	for i := range w.journal {
		tail[i] = w.journal[i].tail()
	}
	n, err := l.Verify(tail)
	if err != nil {
		return nil, 0, err
	}
	for i := n; i < len(w.journal); i++ {
		if w.journal[i].acked {
			return nil, 0, fmt.Errorf("acknowledged entry %d of %d at %s is lost", i, len(w.journal), w.journal[i].pos)
		}
	}
	if err := l.Recover(tail[:n]); err != nil {
		return nil, 0, err
	}
	return l, n, nil
}

// check compares what l gives with the list.
func check(l *Log, list []made, start int64) error {
	want, end := []byte(nil), start
	for _, m := range list {
		if m.row.LastOffset >= start {
			want = append(want, m.bytes...)
		}
		end = max(end, m.row.LastOffset+1)
	}
	if l.LogEnd() != end && len(list) > 0 {
		return fmt.Errorf("log end %d, want %d", l.LogEnd(), end)
	}
	got, err := readAll(l, l.LogStart(), 700, l.LogEnd())
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read %d bytes, want %d", len(got), len(want))
	}
	return nil
}

func isExpected(err error) bool {
	return err == nil || errors.Is(err, ErrFailed)
}
