package partition

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

const patience = 20 * time.Second

func waitContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

var topicID = uuid.MustParse("6f1c2d3e-4b5a-4978-8695-a4b3c2d1e0f9")

func topicConfig() Config {
	return Config{SegmentBytes: 1 << 20, SegmentMs: 7 * 24 * 3600 * 1000, RetentionMs: -1, RetentionBytes: -1, Delete: true,
		TimestampBeforeMaxMs: 1<<63 - 1, TimestampAfterMaxMs: 3_600_000, MessageBytesMax: 1 << 20}
}

// clock can be moved.
type clock struct {
	sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.Lock()
	defer c.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.now = c.now.Add(d)
}

// broker is a data directory with everything up to the Manager on it.
type broker struct {
	dir    string
	mem    *vfs.Mem // segments; nil = in dir
	level  int      // format level; 0 = 1
	paired bool     // one of a pair of sites
	hold   int64    // Options.HoldBytes
	config Config
	clock  *clock
	store  *storage.Store
	host   *raft.Host
	*Manager
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	return startBroker(t, nil)
}

// newPairedBroker is newBroker of a site of a pair.
func newPairedBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), level: entry.LevelSites, paired: true, config: topicConfig(), clock: &clock{now: time.Unix(1_800_000_000, 0)}}
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	return b
}

// newMemBroker is newBroker with segments in memory.
func newMemBroker(t testing.TB) *broker {
	t.Helper()
	return startBroker(t, vfs.NewMem())
}

func startBroker(t testing.TB, mem *vfs.Mem) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), mem: mem, config: topicConfig(), clock: &clock{now: time.Unix(1_800_000_000, 0)}}
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	return b
}

func (b *broker) start(t testing.TB) {
	t.Helper()
	o := storage.Options{Dirs: []string{b.dir}, NodeID: 1, FormatLevel: b.level, MetaNoSync: true, ReserveBytes: -1, BallastBytes: -1}
	if b.mem != nil {
		o.FS, o.Dirs, o.MetaDir = b.mem, []string{"/data"}, b.dir
	}
	var err error
	b.store, err = storage.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	b.host = raft.NewHost(b.store, raft.Options{Logger: slog.New(slog.DiscardHandler)})
	options := Options{
		Now: b.clock.Now, ProducerExpiration: time.Hour,
		Topic: func(s Spec) Spec { s.Config = b.config; return s },
	}
	options.HoldBytes = b.hold
	if b.paired {
		if options.Archives, err = archive.Open(vfs.OS{}, b.dir, archive.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	b.Manager, err = Open(b.host, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitReady(waitContext(t)); err != nil {
		t.Fatal(err)
	}
}

// kill ends the broker without a checkpoint: a cancelled context leaves it out.
func (b *broker) kill(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.end(t, ctx)
}

// stop ends the broker with a checkpoint.
func (b *broker) stop(t testing.TB) {
	t.Helper()
	b.end(t, waitContext(t))
}

func (b *broker) end(t testing.TB, ctx context.Context) {
	t.Helper()
	if b.store == nil {
		return
	}
	b.Manager.Close()
	if err := b.host.Close(ctx); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	if err := b.store.Close(ctx.Err() == nil); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	b.store = nil
}

func (b *broker) create(t testing.TB, partition int32) *Partition {
	t.Helper()
	p, err := b.Create(waitContext(t), Spec{Topic: "t", TopicID: topicID, Partition: partition, Config: b.config})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitReady(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *broker) get(t testing.TB, partition int32) *Partition {
	t.Helper()
	p, ok := b.Get("t", partition)
	if !ok {
		t.Fatalf("partition %d is gone", partition)
	}
	return p
}

// heldDisk is a disk whose syncs wait.
type heldDisk struct {
	entered chan struct{} // a sync waits
	held    chan struct{}
	once    sync.Once
}

// holdSyncs lets the syncs of segments wait until release, at the latest until the test ends.
func (b *broker) holdSyncs(t testing.TB) *heldDisk {
	d := &heldDisk{entered: make(chan struct{}, 1), held: make(chan struct{})}
	b.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op == vfs.OpSync {
			select {
			case d.entered <- struct{}{}:
			default:
			}
			<-d.held
		}
		return vfs.Outcome{}
	})
	t.Cleanup(d.release) // before the broker is stopped, which waits for its disk
	return d
}

// wait returns when a sync waits.
func (d *heldDisk) wait(t testing.TB) {
	t.Helper()
	select {
	case <-d.entered:
	case <-time.After(patience):
		t.Fatal("nothing is synced")
	}
}

func (d *heldDisk) release() { d.once.Do(func() { close(d.held) }) }

// write describes a batch.
type write struct {
	producer int64
	epoch    int16
	sequence int32
	count    int
	ts       int64
	size     int
}

func (w write) batch(t testing.TB) record.Batch {
	t.Helper()
	b := record.NewBuilder()
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = record.NoProducerID, -1, record.NoSequence
	if w.producer != 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = w.producer, w.epoch, w.sequence
	}
	for range max(w.count, 1) {
		b.Append(w.ts, nil, make([]byte, w.size))
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func (w write) append(t testing.TB, p *Partition) *Append {
	t.Helper()
	return p.Append(w.batch(t), func() {})
}

func wait(t testing.TB, a *Append) (Appended, error) {
	t.Helper()
	select {
	case <-a.Done():
		return a.Result()
	case <-time.After(patience):
		t.Fatal("append is still in flight")
		return Appended{}, nil
	}
}

func mustAppend(t testing.TB, p *Partition, w write) int64 {
	t.Helper()
	r, err := wait(t, w.append(t, p))
	if err != nil {
		t.Fatal(err)
	}
	return r.BaseOffset
}

func wantError(t testing.TB, p *Partition, w write, want error) {
	t.Helper()
	if r, err := wait(t, w.append(t, p)); !errors.Is(err, want) {
		t.Fatalf("%+v: got %+v, %v, want %v", w, r, err, want)
	}
}
