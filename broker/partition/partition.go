package partition

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Partition is one partition of a topic. Safe for concurrent use.
type Partition struct {
	manager *Manager
	topic   atomic.Pointer[string]
	id      storage.GroupID
	config  atomic.Pointer[Config]
	group   *raft.Group // nil when opened is not
	log     *log.Log
	floor   int32 // the first leader epoch that it had or may have
	opened  error // why the partition can not be used since it was opened; nil = it can
	closed  atomic.Bool

	append sync.Mutex // its order is the order of the log

	// What is committed. hw and lso only rise, but for a truncate-to; lso is never above hw.
	hw, lso, logStart atomic.Int64
	held              atomic.Int64 // bytes that are expired and stay for the other site
	purged            atomic.Int64 // below it all was deleted on purpose; known of a pair of sites only

	saving sync.Mutex // held while a producer snapshot is written, and while the log is cut

	mu struct { // leaf lock, but for the log's own
		sync.Mutex
		producers   *producers
		refusals    refusals
		saved       uint64 // producers.version in the newest producer snapshot file
		savedOffset int64  // that file's offset; none = there is no file
		cuts        int    // truncations applied
		subscribers []chan<- struct{}
	}
}

// Topic is the topic's name; that of a topic which was set aside is another one.
func (p *Partition) Topic() string { return *p.topic.Load() }

// TopicID is the topic's id.
func (p *Partition) TopicID() uuid.UUID { return p.id.Topic }

// ID is the partition's number.
func (p *Partition) ID() int32 { return p.id.Partition }

// GroupID is the id of the Raft group behind the partition.
func (p *Partition) GroupID() storage.GroupID { return p.id }

// Log is the partition's segments, for figures and tools; nil when Offline says why.
func (p *Partition) Log() *log.Log { return p.log }

// Config is the topic's configuration as last set. It must not be changed.
func (p *Partition) Config() *Config { return p.config.Load() }

// SetConfig replaces the configuration, for batches that are appended from now on.
func (p *Partition) SetConfig(c Config) {
	p.config.Store(&c)
	if p.log != nil {
		p.log.SetOptions(p.manager.options.logOptions(p.id, &c))
	}
}

// Offline is nil, or why the partition takes and serves nothing (ErrStorage, or ErrUnknown once it is deleted).
func (p *Partition) Offline() error { return p.usable() }

// Offsets are the log start offset, high watermark, last stable offset and log end offset.
func (p *Partition) Offsets() (logStart, hw, lso, leo int64) {
	lso, hw, logStart = p.lso.Load(), p.hw.Load(), p.logStart.Load() // in this order none exceeds the next figure
	if p.log != nil {
		leo = p.log.LogEnd()
	}
	return logStart, hw, lso, max(leo, hw)
}

// Ready says whether this broker leads the partition and knows its high watermark.
func (p *Partition) Ready() bool { return p.group != nil && p.group.Ready() && !p.closed.Load() }

// Led says whether this broker leads the partition and has applied all that was committed before, though its log may not be this site's to
// write.
func (p *Partition) Led() bool {
	if p.group == nil || p.closed.Load() {
		return false
	}
	_, led := p.group.Leads()
	return led
}

// Epoch is the leader epoch under which this broker serves, else the leader's as far as known, -1 = unknown.
func (p *Partition) Epoch() int32 {
	_, epoch := p.leader()
	return epoch
}

// EpochMax is at or above every leader epoch that clients can have seen of the partition, also where nobody leads it: the data
// may be lost while the vote, which is kept elsewhere, is not. floor is the first leader epoch that it had.
func (p *Partition) EpochMax(floor int32) int32 {
	if epoch := p.Epoch(); epoch != none {
		return epoch
	}
	if sg, ok := p.manager.host.Store().Group(p.id); ok {
		return floor + int32(min(sg.Vote().Term, 1<<entry.LeaderEpochBits)) // one at most for each term
	}
	return floor
}

// Leader is the leader's node id, -1 = unknown.
func (p *Partition) Leader() int32 {
	node, _ := p.leader()
	return node
}

func (p *Partition) leader() (node, epoch int32) {
	if p.group == nil || p.closed.Load() {
		return none, none
	}
	return p.group.Leader()
}

// checkEpoch compares the leader epoch that a request names with the current one; none = the request does not say. The
// current one is returned.
func (p *Partition) checkEpoch(requested int32) (current int32, err error) {
	if err := p.usable(); err != nil {
		return none, err
	}
	_, current, ok := p.group.Serving()
	switch {
	case !ok:
		return none, ErrNotLeader
	case requested == none || requested == current:
		return current, nil
	case requested < current:
		return current, fmt.Errorf("%w: %d, current %d", ErrFencedEpoch, requested, current)
	}
	return current, fmt.Errorf("%w: %d, current %d", ErrUnknownEpoch, requested, current)
}

// Subscribe has ch notified, without waiting for a receiver, whenever the high watermark or the log start offset moves or the
// leadership changes. cancel ends that; a notification may still be in ch then.
func (p *Partition) Subscribe(ch chan<- struct{}) (cancel func()) {
	p.mu.Lock()
	p.mu.subscribers = append(p.mu.subscribers, ch)
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(p.mu.subscribers, ch); i >= 0 {
			last := len(p.mu.subscribers) - 1
			p.mu.subscribers[i] = p.mu.subscribers[last]
			p.mu.subscribers[last] = nil
			p.mu.subscribers = p.mu.subscribers[:last]
		}
	}
}

func (p *Partition) notifyLocked() {
	for _, ch := range p.mu.subscribers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (p *Partition) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notifyLocked()
}

// machine is the Raft side of a Partition (raft.Machine), kept apart so that its methods are not the Partition's.
type machine struct{ p *Partition }

var (
	_ raft.Machine         = machine{}
	_ raft.LateSnapshotter = machine{}
)

// Apply implements raft.Machine.
func (m machine) Apply(_ uint64, h *entry.Header) any {
	p := m.p
	switch h.Kind {
	case entry.Data:
		p.mu.Lock()
		p.commitLocked(h)
		p.notifyLocked()
		p.mu.Unlock()
	case entry.TruncateTo:
		if err := p.cut(h); err != nil {
			return err
		}
	case entry.LogStart:
		offset, purge, err := entry.ParseLogStart(h.Body)
		if purge {
			p.purged.Store(max(p.purged.Load(), offset)) // before the log start: links read them the other way round
		}
		if err == nil {
			err = p.setLogStart(offset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// commitLocked takes in a committed data entry.
func (p *Partition) commitLocked(h *entry.Header) {
	ps, now := p.mu.producers, p.manager.options.Now().UnixMilli()
	for i := range h.Rows {
		p.mu.refusals.came(&h.Rows[i])
		if t, ok := ps.apply(h, &h.Rows[i], now); ok && t.aborted {
			p.noteAborted(t)
		}
	}
	hw := h.Rows[len(h.Rows)-1].LastOffset + 1
	lso, unstable := ps.firstUnstable()
	if !unstable {
		lso = hw
	}
	p.hw.Store(hw) // before lso: readers load them the other way round
	p.lso.Store(lso)
}

// cut takes in a committed truncate-to: producers, high watermark and log start are those of a log that ends at its offset.
func (p *Partition) cut(h *entry.Header) error {
	c, err := entry.ParseTruncation(h.Body)
	if err != nil {
		return err
	}
	p.saving.Lock()
	defer p.saving.Unlock()
	// A producer snapshot was perhaps being written. And behind a restart the commands in front of this one were applied again: aborted
	// transactions among them are none of the records that are at their offsets now.
	if err := p.log.Forget(c.Offset); err != nil {
		return err
	}
	ps, err := p.producersBelow(c.Offset)
	if err != nil {
		return fmt.Errorf("producers below offset %d: %w", c.Offset, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ps.version = p.mu.producers.version + 1 // not that of a file, of before or of later
	p.mu.producers, p.mu.savedOffset = ps, none
	p.mu.cuts++
	p.setOffsetsLocked(c.Offset)
	p.notifyLocked()
	return nil
}

// setLogStart moves the log start offset forward, never above the high watermark.
func (p *Partition) setLogStart(offset int64) error {
	if offset <= p.logStart.Load() {
		return nil
	}
	if hw := p.hw.Load(); offset > hw {
		return fmt.Errorf("%w: log start offset %d above the high watermark %d", ErrOffsetOutOfRange, offset, hw)
	}
	if err := p.log.SetLogStart(offset); err != nil {
		return translate(err)
	}
	p.logStart.Store(offset)
	p.notify()
	return nil
}

// Leading implements raft.Machine.
func (m machine) Leading(uint64, int32) { m.p.notify() }

// Following implements raft.Machine.
func (m machine) Following() { m.p.notify() }
