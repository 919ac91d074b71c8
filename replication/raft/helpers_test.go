package raft

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func context20(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition that no channel tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// disk is a data directory that outlives its Store.
type disk struct {
	dir   string
	mem   *vfs.Mem // segments; nil = in dir
	node  int32
	level int // format level; 0 = 1
	fatal chan error
}

func newDisk(t testing.TB) *disk {
	return &disk{dir: t.TempDir(), node: 1, fatal: make(chan error, 16)}
}

func newMemDisk(t testing.TB) *disk {
	d := newDisk(t)
	d.mem = vfs.NewMem()
	return d
}

func (d *disk) open(t testing.TB) *storage.Store {
	t.Helper()
	o := storage.Options{
		Dirs: []string{d.dir}, MetaDir: d.dir, NodeID: d.node, FormatLevel: d.level, MetaNoSync: true, ReserveBytes: -1, BallastBytes: -1,
		OnFatal: func(err error) { d.fatal <- err },
	}
	if d.mem != nil {
		o.FS, o.Dirs = d.mem, []string{"/data"}
	}
	s, err := storage.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(false) })
	return s
}

// broker is a Store with its Host.
type broker struct {
	*Host
	disk *disk
}

func (d *disk) start(t testing.TB, o Options) *broker {
	t.Helper()
	b := &broker{Host: NewHost(d.open(t), o), disk: d}
	t.Cleanup(func() { b.stop(t) })
	return b
}

// stop ends the broker without a checkpoint, so that a restart replays everything.
func (b *broker) stop(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	b.mu.closed = true
	groups := b.mu.groups
	b.mu.groups = nil
	b.mu.Unlock()
	for _, g := range groups {
		if g.raft.Load() != nil {
			g.stop()
		}
	}
	if err := b.store.Close(false); err != nil && b.store.Failed() == nil {
		t.Error(err)
	}
}

func groupID(n int) storage.GroupID {
	return storage.GroupID{Topic: uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n)), Partition: int32(n)}
}

// recorder is a Machine that remembers what it saw.
type recorder struct {
	mu struct {
		sync.Mutex
		kinds   []entry.Kind
		offsets []int64 // base offsets of data
		roles   []string
		term    uint64
		epoch   int32
	}
	restored []byte
	refuse   error // of Restore
}

func (m *recorder) Apply(_ uint64, h *entry.Header) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.kinds = append(m.mu.kinds, h.Kind)
	if h.Kind != entry.Data {
		return nil
	}
	for i := range h.Rows {
		m.mu.offsets = append(m.mu.offsets, h.Rows[i].BaseOffset)
	}
	return h.Rows[0].BaseOffset
}

func (m *recorder) Snapshot() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Append(nil, len(m.mu.offsets)), nil
}

func (m *recorder) Restore(b []byte) error {
	m.restored = b
	return m.refuse
}

func (m *recorder) Leading(term uint64, epoch int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.roles, m.mu.term, m.mu.epoch = append(m.mu.roles, "leading"), term, epoch
}

func (m *recorder) Following() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.roles = append(m.mu.roles, "following")
}

func (m *recorder) seen() ([]entry.Kind, []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]entry.Kind(nil), m.mu.kinds...), append([]int64(nil), m.mu.offsets...)
}

func (m *recorder) count(kind entry.Kind) (n int) {
	kinds, _ := m.seen()
	for _, k := range kinds {
		if k == kind {
			n++
		}
	}
	return n
}

// openGroup opens group n, and waits until it serves.
func (b *broker) openGroup(t testing.TB, n int, m Machine, floor int32) *Group {
	t.Helper()
	g, err := b.Open(groupID(n), m, Boot{Folder: fmt.Sprintf("t-%d", n), EpochFloor: floor, LogOptions: log.Options{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(context20(t)); err != nil {
		t.Fatal(err)
	}
	return g
}

// batch makes a proposal of count records with values of size bytes.
func batch(t testing.TB, count, size int) (*entry.Header, []byte) {
	t.Helper()
	b := record.NewBuilder()
	for range count {
		b.Append(1, nil, make([]byte, size))
	}
	payload, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return &entry.Header{Kind: entry.Data, PayloadLength: uint32(len(payload)), Rows: []entry.Row{{
		Length: uint32(len(payload)), BaseOffset: -1, LastOffset: -1, LeaderEpoch: -1, CoordinatorEpoch: -1, ProducerID: -1,
		MaxTimestamp: 1, BaseSequence: -1, ProducerEpoch: -1, ControlType: -1, LastOffsetDelta: int32(count - 1),
	}}}, payload
}

// propose proposes a batch and counts its releases; a released payload is scribbled over, as a pool would.
func propose(t testing.TB, g *Group, count, size int) (*Future, *int) {
	t.Helper()
	released := new(int)
	h, payload := batch(t, count, size)
	return g.Propose(h, payload, func() {
		*released++
		for i := range payload {
			payload[i] = 0xdb
		}
	}), released
}

func mustCommit(t testing.TB, g *Group, count int) int64 {
	t.Helper()
	f, released := propose(t, g, count, 10)
	result, err := f.Wait(context20(t))
	if err != nil {
		t.Fatal(err)
	}
	if *released != 1 {
		t.Fatalf("payload released %d times", *released)
	}
	return result.(int64)
}

// readAt is what the log has from offset on.
func readAt(t testing.TB, g *Group, offset int64) []byte {
	t.Helper()
	x, err := g.sg.Log().Read(offset, 1<<20, g.sg.Log().LogEnd(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Release()
	b, err := x.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
