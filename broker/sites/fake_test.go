package sites

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// fakeReplica is a partition's log in memory, by the rules of storage/entry. What is stored is durable after a moment.
type fakeReplica struct {
	t  *testing.T
	id site.PartitionID

	mu       sync.Mutex
	term     uint64
	sequence uint64
	tip      entry.State
	durable  entry.State
	lineage  *entry.Lineage
	rows     []entry.Row // of the durable log
	queue    []fakeProposal
	busy     bool
	watchers map[int]func()
	staged   []entry.Row
	stagedAt entry.Cut
	archive  []entry.Row

	archiveErr error // of ArchiveTail
	archived   int   // calls of ArchiveTail that made one
	slow       bool  // a cut is not stored while this is so
	cached     bool  // what is stored is durable only once MakeDurable is called
}

type fakeProposal struct {
	h       entry.Header
	release func()
	settled func(entry.VoidReason, error)
}

func newReplica(t *testing.T, id site.PartitionID) *fakeReplica {
	return &fakeReplica{t: t, id: id, term: 1, tip: entry.NewSitesState(0), durable: entry.NewSitesState(0), lineage: &entry.Lineage{},
		watchers: map[int]func(){}}
}

func (r *fakeReplica) ID() site.PartitionID { return r.id }
func (r *fakeReplica) Topic() string        { return "t" }
func (r *fakeReplica) Log() any             { return r }

func (r *fakeReplica) LogView() (site.LogView, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return site.LogView{Term: r.term, Tip: r.tip, Durable: r.durable, Lineage: r.lineage}, true
}

func (r *fakeReplica) Watch(changed func()) (cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.watchers)
	r.watchers[n] = changed
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, n)
	}
}

// Propose stores the entry a moment later, in order.
func (r *fakeReplica) Propose(h entry.Header, payload []byte, release func(), settled func(entry.VoidReason, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(h.PayloadLength) != len(payload) {
		r.t.Errorf("payload of %d bytes, the header says %d", len(payload), h.PayloadLength)
	}
	if h.Kind == entry.Data && h.Linked() && !bytes.Equal(payload, fakePayload(make([]byte, len(payload)), h.Rows)) {
		r.t.Errorf("the payload that was shipped for offset %d is another one's", h.Rows[0].BaseOffset)
	}
	r.queue = append(r.queue, fakeProposal{h, release, settled})
	if !r.busy {
		r.busy = true
		go r.store()
	}
}

// fakePayload fills b with batches that tell whose they are.
func fakePayload(b []byte, rows []entry.Row) []byte {
	for i := range rows {
		binary.BigEndian.PutUint64(b[10*i:], uint64(rows[i].MaxTimestamp))
		clear(b[10*i+8 : 10*i+10])
	}
	return b
}

func (r *fakeReplica) store() {
	for {
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.busy = false
			r.mu.Unlock()
			return
		}
		p := r.queue[0]
		if r.slow && p.h.Kind == entry.TruncateTo {
			r.mu.Unlock()
			continue
		}
		r.queue = r.queue[1:]
		reason := r.storeLocked(&p.h)
		watchers := make([]func(), 0, len(r.watchers))
		for _, w := range r.watchers {
			watchers = append(watchers, w)
		}
		r.mu.Unlock()
		p.release()
		p.settled(reason, nil)
		for _, w := range watchers {
			w()
		}
	}
}

func (r *fakeReplica) storeLocked(h *entry.Header) entry.VoidReason {
	r.sequence++
	h.ValidatedTerm, h.AppendSequence = r.term, r.sequence
	if h.Kind == entry.Data && !h.Linked() {
		h.SiteEpoch = r.tip.SiteEpoch
	}
	reason := r.tip.Admit(h, r.term)
	if reason != entry.Admitted {
		r.sequence-- // what was voided is known
		return reason
	}
	r.tip.Stamp(h, r.term)
	lineage := r.lineage.Clone()
	if err := r.tip.Advance(h); err != nil {
		r.t.Errorf("store: %v", err)
	}
	if err := lineage.Advance(h); err != nil {
		r.t.Errorf("store: %v", err)
	}
	r.lineage = &lineage
	switch h.Kind {
	case entry.Data:
		r.rows = append(r.rows, h.Rows...)
	case entry.TruncateTo:
		c, _ := entry.ParseTruncation(h.Body)
		r.rows = r.rows[:r.index(c.Offset)]
	}
	if !r.cached || h.Kind != entry.Data {
		r.durable = r.tip
	}
	return reason
}

// index is the first row at or above offset.
func (r *fakeReplica) index(offset int64) int {
	i := slices.IndexFunc(r.rows, func(row entry.Row) bool { return row.BaseOffset >= offset })
	if i < 0 {
		return len(r.rows)
	}
	return i
}

func (r *fakeReplica) MakeDurable() error {
	r.mu.Lock()
	moved := r.durable != r.tip
	r.durable = r.tip
	var watchers []func()
	for _, w := range r.watchers {
		watchers = append(watchers, w)
	}
	r.mu.Unlock()
	for _, w := range watchers {
		if moved {
			w()
		}
	}
	return nil
}

func (r *fakeReplica) TakeShipped(offset, end int64, bytesMax int, alloc func(int) []byte) ([]entry.Row, []byte, *log.Extent, error) {
	rows, payload, err := r.ReadShipped(offset, end, bytesMax, alloc)
	return rows, payload, nil, err
}

func (r *fakeReplica) ReadShipped(offset, end int64, bytesMax int, alloc func(int) []byte) ([]entry.Row, []byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, j := r.index(offset), r.index(end)
	j = min(j, i+max(bytesMax/10, 1))
	return slices.Clone(r.rows[i:j]), fakePayload(alloc(10*(j-i)), r.rows[i:j]), nil
}

func (r *fakeReplica) ArchiveTail(_ context.Context, cut, logCut entry.Cut) (int32, error) {
	r.mu.Lock()
	err := r.archiveErr
	r.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if err := r.SealArchive(nil, logCut); err != nil { //nolint:staticcheck // the context is not looked at
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.archived++
	i := r.index(cut.Offset)
	r.staged, r.stagedAt = slices.Clone(r.rows[i:]), cut
	if i == 0 {
		return -1, nil
	}
	return r.rows[i-1].LeaderEpoch, nil
}

func (r *fakeReplica) SealArchive(_ context.Context, logCut entry.Cut) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.staged != nil && r.stagedAt == logCut {
		r.archive = append(r.archive, r.staged...)
	}
	r.staged = nil
	return nil
}

// set changes what the log does.
func (r *fakeReplica) set(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

// produce appends n records as a client does, and says how many were admitted.
func (r *fakeReplica) produce(n int) (admitted int) {
	for range n {
		done := make(chan entry.VoidReason, 1)
		h := entry.Header{Kind: entry.Data, PayloadLength: 10, Rows: []entry.Row{{BaseOffset: -1, MaxTimestamp: rand.Int64(), Length: 10}}}
		r.Propose(h, make([]byte, 10), func() {}, func(reason entry.VoidReason, _ error) { done <- reason })
		if <-done == entry.Admitted {
			admitted++
		}
	}
	return admitted
}

// records are the records of the durable log, and of the archives.
func (r *fakeReplica) records() (rows, archive []entry.Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.rows), slices.Clone(r.archive)
}

// fakeSite is one site of a pair; its network is the other's Receive.
type fakeSite struct {
	name     string
	driver   *Driver
	replicas []*fakeReplica
	record   site.Record
	peer     *fakeSite
	needs    atomic.Uint64 // what its Appends name
	room     atomic.Int64  // bytes that are free; 0 = any number
	appends  atomic.Int64  // that it has sent
	half     atomic.Bool   // a copy is not whole: no promotion by a switchover

	mu   sync.Mutex
	cut  bool
	loss int // one message in so many is lost; 0 = none
	rtt  time.Duration
}

func (s *fakeSite) StoreSite(_ context.Context, rec site.Record) error {
	time.Sleep(time.Millisecond)
	if s.half.Load() && rec.Role == site.Active && rec.Planned {
		return fmt.Errorf("store: %w", controller.ErrHalfCopy)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = rec
	return nil
}

// ends are how many records it has in all.
func (s *fakeSite) ends() (n int) {
	for _, r := range s.replicas {
		rows, _ := r.records()
		n += len(rows)
	}
	return n
}

func (s *fakeSite) hasRoom(bytes int64) error {
	if room := s.room.Load(); room > 0 && room < bytes {
		return errors.New("no room")
	}
	return nil
}

func (s *fakeSite) Connected() bool { return true }

func (s *fakeSite) Send(m site.Message, done func(sent bool)) {
	s.mu.Lock()
	cut, lost, delay := s.cut, s.loss > 0 && rand.IntN(s.loss) == 0, s.rtt/2
	s.mu.Unlock()
	go func() {
		time.Sleep(time.Microsecond) // it waits in a queue
		if a, ok := m.(site.Append); ok {
			s.appends.Add(1)
			a.Payload = slices.Clone(a.Payload) // it is written
			m = a
		}
		if done != nil {
			defer done(!cut)
		}
		if cut || lost {
			return
		}
		time.AfterFunc(delay, func() {
			s.peer.mu.Lock()
			d := s.peer.driver
			s.peer.mu.Unlock()
			d.Receive(m, nil)
		})
	}()
}

func (s *fakeSite) setNetwork(cut bool, loss int) {
	for _, x := range []*fakeSite{s, s.peer} {
		x.mu.Lock()
		x.cut, x.loss = cut, loss
		x.mu.Unlock()
	}
}

// start begins a run of the site's broker; its logs stay.
func (s *fakeSite) start(found bool) {
	index := uint32(0)
	if s.name == "west" {
		index = 1
	}
	if found {
		s.record.Role = site.Active
	}
	d := New(Options{Site: site.Options{Index: index, PeerIndex: 1 - index}, Record: s.record, Found: found, Boot: site.Boot(rand.Uint64()), Records: s, Network: s,
		Needs: func(uuid.UUID) uint64 { return s.needs.Load() }, Room: s.hasRoom, Held: func() bool { return s.peer.driver != nil && s.peer.driver.Full() != nil }})
	s.mu.Lock()
	s.driver = d
	s.mu.Unlock()
	for _, r := range s.replicas {
		d.Add(r)
	}
}

// newPair makes two sites with n partitions each: east is active, west its standby.
func newPair(t *testing.T, n int) (east, west *fakeSite) {
	east, west = &fakeSite{name: "east"}, &fakeSite{name: "west"}
	east.peer, west.peer = west, east
	topic := uuid.New()
	for i := range n {
		id := site.PartitionID{Topic: topic, Partition: int32(i)}
		east.replicas, west.replicas = append(east.replicas, newReplica(t, id)), append(west.replicas, newReplica(t, id))
	}
	east.start(true)
	west.start(false)
	east.driver.Start()
	west.driver.Start()
	return east, west
}
