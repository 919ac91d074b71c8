package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

const limit = 30 * time.Second // above what anything takes

// world is a broker without a network.
type world struct {
	t     *testing.T
	dir   string
	log   syncBuffer
	level int      // format level; 0 = 1
	set   []string // settings
	now   time.Time

	store      *storage.Store
	host       *raft.Host
	partitions *partition.Manager
	*Controller
}

// syncBuffer is a log that can be looked at.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// open starts the broker on the world's folder; wrap, unless nil, stands between the controller and the partitions.
func (w *world) open(wrap func(Partitions) Partitions) {
	w.t.Helper()
	logger := slog.New(slog.NewTextHandler(&w.log, nil))
	fatal := func(err error) { w.t.Errorf("fatal: %v", err) }
	cfg, err := config.Load(config.Input{Set: append([]string{"log.dirs=" + w.dir}, w.set...)})
	w.check(err)
	w.store, err = storage.Open(storage.Options{
		Dirs: []string{w.dir}, NodeID: 1, Logger: logger, OnFatal: fatal, ReserveBytes: -1, BallastBytes: -1, MetaNoSync: true,
		FormatLevel: w.level,
	})
	w.check(err)
	w.host = raft.NewHost(w.store, raft.Options{Logger: logger, OnFatal: fatal})
	w.Controller, err = New(Options{Host: w.host, Meta: w.store.Meta(), Config: cfg, Logger: logger, OnFatal: fatal,
		Now: func() time.Time { return w.now }})
	w.check(err)
	w.partitions, err = partition.Open(w.host, partition.Options{Logger: logger, Topic: w.Spec})
	w.check(err)
	var partitions Partitions = w.partitions
	if wrap != nil {
		partitions = wrap(partitions)
	}
	w.check(w.Start(w.ctx(), partitions, []Endpoint{{Listener: "X", Host: "h", Port: 1}}))
}

// close stops the broker; crash leaves meta.db as it is, behind the Raft log, and takes no checkpoint.
func (w *world) close(crash bool) {
	w.t.Helper()
	if w.store == nil {
		return
	}
	w.partitions.Close()
	if crash {
		w.cancel()
		w.life.close()
	} else {
		w.check(w.Controller.Close())
		w.check(w.host.Close(w.ctx()))
	}
	w.check(w.store.Close(!crash))
	w.store = nil
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(name string, partitions int32) *Topic {
	w.t.Helper()
	r := w.CreateTopics(w.ctx(), []NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: -1}}, false)[0]
	w.check(r.Err)
	return r.Topic
}

func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s does not come; log:\n%s", what, w.log.String())
		}
	}
}

func (w *world) names() (names []string) {
	for _, t := range w.Image().Topics() {
		names = append(names, fmt.Sprintf("%s/%d", t.Name, len(t.Partitions)))
	}
	return names
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), now: time.Now()}
	t.Cleanup(func() { w.close(false) })
	return w
}

// folder is the name of a partition's folder.
func (w *world) folder(p *partition.Partition) string {
	g, ok := w.store.Group(p.GroupID())
	if !ok {
		return ""
	}
	return g.Folder()
}

// failing is a broker whose partitions can not be created or deleted.
type failing struct {
	Partitions
	create, remove bool
	tried          atomic.Int32
}

// slow is a broker whose partitions are created once the gate is open.
type slow struct {
	Partitions
	gate chan struct{}
}

func (s *slow) Create(ctx context.Context, spec partition.Spec) (*partition.Partition, error) {
	<-s.gate
	return s.Partitions.Create(ctx, spec)
}

var errBroken = errors.New("broken on purpose")

func (f *failing) Create(ctx context.Context, s partition.Spec) (*partition.Partition, error) {
	if f.create {
		f.tried.Add(1)
		return nil, errBroken
	}
	return f.Partitions.Create(ctx, s)
}

func (f *failing) Delete(ctx context.Context, topic uuid.UUID, id int32) error {
	if f.remove {
		f.tried.Add(1)
		return errBroken
	}
	return f.Partitions.Delete(ctx, topic, id)
}

// TestRestarts: whatever was committed is there after every kind of stop, although meta.db may never have heard of it.
func TestRestarts(t *testing.T) {
	for _, how := range []string{"clean", "crash", "meta.db behind", "checkpoint, then crash"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.open(nil)
			if how == "meta.db behind" {
				w.cancel() // the saver
				w.wait.Wait()
			}
			a := w.create("a", 2)
			w.create("b", 1)
			w.create("gone", 3)
			gone, _ := w.Image().Topic("gone")
			if errs := w.DeleteTopics(w.ctx(), []uuid.UUID{gone.ID}); errs[0] != nil {
				t.Fatal(errs[0])
			}
			w.check(w.CreatePartitions(w.ctx(), []MorePartitions{{Topic: "b", Count: 4}}, false)[0])
			id, err := w.ProducerID(w.ctx())
			w.check(err)
			if how == "checkpoint, then crash" {
				w.check(w.host.Checkpoint(w.ctx()))
				w.create("after", 1)
			}
			before := w.names()
			w.close(how != "clean")
			w.open(nil)
			if after := w.names(); !slices.Equal(before, after) {
				t.Errorf("topics %v, before %v", after, before)
			}
			again, ok := w.Image().Topic("a")
			if !ok || again.ID != a.ID {
				t.Errorf("topic a: %+v, before %+v", again, a)
			}
			next, err := w.ProducerID(w.ctx())
			w.check(err)
			if next <= id {
				t.Errorf("producer id %d after %d", next, id)
			}
			w.await("partitions", func() bool {
				for i := range int32(4) {
					if p, ok := w.partitions.Get("b", i); !ok || !p.Ready() {
						return false
					}
				}
				_, still := w.partitions.Get("gone", 0)
				return !still
			})
			anew := w.create("gone", 1)
			if anew.EpochFloor <= gone.EpochFloor || anew.ID == gone.ID {
				t.Errorf("topic created anew: %+v, before %+v", anew, gone)
			}
		})
	}
}

// TestInterruptedCreation: partitions that the metadata has and the disk does not are created at the next start.
func TestInterruptedCreation(t *testing.T) {
	w := newWorld(t)
	var f *failing
	w.open(func(p Partitions) Partitions { f = &failing{Partitions: p, create: true}; return f })
	r := w.CreateTopics(w.ctx(), []NewTopic{{Name: "t", Partitions: 3, ReplicationFactor: 1}}, false)[0]
	if !errors.Is(r.Err, ErrTimeout) || r.Topic == nil {
		t.Fatalf("got %+v", r)
	}
	w.await("attempts", func() bool { return f.tried.Load() >= 3 })
	w.close(true)
	w.open(func(p Partitions) Partitions { return &failing{Partitions: p, create: true} })
	w.await("readiness without what cannot be created", w.Reconciled)
	w.close(true)
	gate := make(chan struct{})
	w.open(func(p Partitions) Partitions { return &slow{p, gate} })
	if w.Reconciled() {
		t.Error("ready without its partitions")
	}
	close(gate)
	w.await("readiness", w.Reconciled)
	for i := range int32(3) {
		if p, ok := w.partitions.Get("t", i); !ok || !p.Ready() {
			t.Errorf("ready without partition %d", i)
		}
	}
}

// TestInterruptedDeletion: a deletion that was committed goes on at the next start, also when a topic of the same name has
// been created since.
func TestInterruptedDeletion(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint("created anew: ", again), func(t *testing.T) {
			w := newWorld(t)
			var f *failing
			w.open(func(p Partitions) Partitions { f = &failing{Partitions: p, remove: true}; return f })
			old := w.create("t", 2)
			w.check(w.DeleteTopics(w.ctx(), []uuid.UUID{old.ID})[0])
			w.await("attempts", func() bool { return f.tried.Load() >= 2 })
			if again {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				defer cancel()
				r := w.CreateTopics(ctx, []NewTopic{{Name: "t", Partitions: 2, ReplicationFactor: 1}}, false)[0]
				if !errors.Is(r.Err, ErrTimeout) {
					t.Fatalf("created while the old partitions are there: %+v", r)
				}
			}
			w.close(true)
			w.open(nil)
			w.await("the end of the old partitions", func() bool {
				for _, p := range w.partitions.All() {
					if p.TopicID() == old.ID {
						return false
					}
				}
				w.machine.mu.Lock()
				defer w.machine.mu.Unlock()
				return len(w.machine.mu.deleting) == 0
			})
			if again {
				w.await("the new ones", func() bool {
					p, ok := w.partitions.Get("t", 1)
					return ok && p.Ready() && p.TopicID() != old.ID
				})
			}
			w.close(false)
			w.open(nil)
			if n := len(w.machine.mu.deleting); n != 0 {
				t.Errorf("%d deletions are still remembered", n)
			}
		})
	}
}

// TestEpochFloorAfterACrash: the crash comes when a topic that is created anew is in the log only, and its partition is made but
// empty. Nobody knows its leader-epoch floor then when the partitions are opened.
func TestEpochFloorAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	old := w.create("t", 1)
	w.check(w.DeleteTopics(w.ctx(), []uuid.UUID{old.ID})[0])
	w.await("the end of the old one", func() bool { return len(w.partitions.All()) == 0 })
	w.close(false)
	w.open(func(p Partitions) Partitions { return &failing{Partitions: p, create: true} })
	w.cancel() // nothing reaches meta.db any more
	w.wait.Wait()
	created := w.CreateTopics(w.ctx(), []NewTopic{{Name: "t", Partitions: 1, ReplicationFactor: 1}}, false)[0].Topic
	spec := specOf(created, 0)
	_, err := w.store.CreateGroup(entry.GroupID{Topic: spec.TopicID, Partition: 0, Incarnation: spec.Incarnation}, "t-0", 0, log.Options{})
	w.check(err)
	w.close(true)
	w.open(nil)
	w.await("the partition", func() bool { p, ok := w.partitions.Get("t", 0); return ok && p.Ready() })
	if p, _ := w.partitions.Get("t", 0); created.EpochFloor < 1 || p.Epoch() != created.EpochFloor {
		t.Errorf("leader epoch %d, the floor is %d", p.Epoch(), created.EpochFloor)
	}
}

// blind is a broker whose partitions are there but can not be found by name.
type blind struct{ failing }

func (b *blind) Get(string, int32) (*partition.Partition, bool) { return nil, false }

// TestConfigAfterACrash: a topic is in the log only, and its partition was opened with the defaults. It must have its own
// configuration before clients come, however long the lifecycle takes to look at it.
func TestConfigAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	w.cancel() // nothing reaches meta.db any more
	w.wait.Wait()
	value := "LogAppendTime"
	r := w.CreateTopics(w.ctx(), []NewTopic{{Name: "t", Partitions: 1, ReplicationFactor: 1,
		Configs: []NewConfig{{Name: "message.timestamp.type", Value: &value}}}}, false)[0]
	w.check(r.Err)
	w.close(true)
	w.open(func(p Partitions) Partitions { return &blind{failing{Partitions: p, create: true}} })
	if p, ok := w.partitions.Get("t", 0); !ok || !p.Config().LogAppendTime {
		t.Error("opened without its configuration")
	}
}

// opener counts the attempts to open a partition.
type opener struct {
	Partitions
	tried atomic.Int32
}

func (o *opener) Create(ctx context.Context, s partition.Spec) (*partition.Partition, error) {
	o.tried.Add(1)
	return o.Partitions.Create(ctx, s)
}

// TestOfflinePartitionIsOpenedAgain: what could not be opened at the start is tried again, since the reason may have gone.
func TestOfflinePartitionIsOpenedAgain(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	w.create("t", 1)
	w.close(false)
	w.check(os.RemoveAll(filepath.Join(w.dir, "t-0")))
	o := &opener{}
	w.open(func(p Partitions) Partitions { o.Partitions = p; return o })
	w.await("two attempts", func() bool { return o.tried.Load() >= 2 })
}

// TestUnclaimed: a partition that no topic claims is kept, and logged.
func TestUnclaimed(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	id := uuid.New()
	p, err := w.partitions.Create(w.ctx(), partition.Spec{Topic: "orphan", TopicID: id})
	w.check(err)
	w.check(p.WaitReady(w.ctx()))
	for range 2 {
		w.close(false)
		w.open(nil)
		if p, ok := w.partitions.Get("orphan", 0); !ok || p.TopicID() != id || p.Config().RetentionMs != -1 {
			t.Fatal("partition is gone, or subject to retention")
		}
	}
	if n := strings.Count(w.log.String(), "no topic claims"); n != 2 {
		t.Errorf("%d log lines:\n%s", n, w.log.String())
	}
}

// TestRaces: of many who create, extend and delete the same topic at once, the log decides; nobody is told two things.
func TestRaces(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	outcomes := func(n int, do func() error) (won int) {
		t.Helper()
		errs := make([]error, n)
		var wait sync.WaitGroup
		for i := range errs {
			wait.Go(func() { errs[i] = do() }) // ends by itself
		}
		wait.Wait()
		for _, err := range errs {
			var refused *RequestError
			if err == nil {
				won++
			} else if !errors.As(err, &refused) {
				t.Errorf("got %v", err)
			}
		}
		return won
	}
	won := outcomes(8, func() error {
		return w.CreateTopics(w.ctx(), []NewTopic{{Name: "t", Partitions: 1, ReplicationFactor: 1}}, false)[0].Err
	})
	if won != 1 {
		t.Errorf("%d created the topic", won)
	}
	won = outcomes(8, func() error { return w.CreatePartitions(w.ctx(), []MorePartitions{{Topic: "t", Count: 2}}, false)[0] })
	topic, _ := w.Image().Topic("t")
	if won != 1 || len(topic.Partitions) != 2 {
		t.Errorf("%d extended it to %d partitions", won, len(topic.Partitions))
	}
	if won = outcomes(8, func() error { return w.DeleteTopics(w.ctx(), []uuid.UUID{topic.ID})[0] }); won != 1 {
		t.Errorf("%d deleted it", won)
	}
	seen := sync.Map{}
	outcomes(16, func() error {
		for range 200 {
			id, err := w.ProducerID(w.ctx())
			if err != nil {
				return err
			}
			if _, twice := seen.LoadOrStore(id, true); twice {
				t.Errorf("producer id %d given out twice", id)
			}
		}
		return nil
	})
}

// TestApply: entries that were applied are skipped, those that may be skipped are, and what is not understood stops the
// process.
func TestApply(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	m := w.machine
	var fatal error
	m.onFatal = func(err error) { fatal = err }
	m.mu.Lock()
	index, pid := m.mu.applied, m.mu.nextPID
	m.mu.Unlock()
	apply := func(index uint64, body []byte) any {
		fatal = nil
		return m.Apply(index, &entry.Header{Kind: entry.Metadata, Body: body})
	}
	allocate, err := encodeCommand(commandAllocateProducerIDs, allocateProducerIDs{Count: 10})
	w.check(err)
	if got := apply(index+1, allocate); got != pid {
		t.Errorf("first id %v, want %d", got, pid)
	}
	if got := apply(index+1, allocate); got != nil || m.mu.nextPID != pid+10 {
		t.Errorf("applied twice: %v", got)
	}
	if got := m.Apply(index+2, &entry.Header{Kind: entry.Void}); got != nil || fatal != nil {
		t.Errorf("void: %v, %v", got, fatal)
	}
	if got := apply(index+3, []byte{1, 0x80 | 77, 0, 0, '{', '}'}); got != nil || fatal != nil {
		t.Errorf("may be skipped: %v, %v", got, fatal)
	}
	for i, body := range [][]byte{
		nil, {1, 1}, {2, 1, 0, 0, '{', '}'}, {1, 77, 0, 0, '{', '}'}, {1, 1, 0, 1, '{', '}'}, {1, 1, 0, 0, '{'}, {1, 1, 0, 0},
		[]byte("\x01\x05\x00\x00{\"count\":1,\"colour\":2}"), []byte("\x01\x05\x00\x00{\"count\":1}x"),
	} {
		if apply(index+4+uint64(i), body); fatal == nil {
			t.Errorf("%q is accepted", body)
		}
	}
	m.onFatal = func(err error) { t.Error(err) }
}

// TestCheckName: Kafka's rules.
func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "A.b_c-9", "...", strings.Repeat("x", NameMax)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a b", "a/b", "ä", "a\x00", strings.Repeat("x", NameMax+1)} {
		if err := CheckName(bad); !errors.Is(err, ErrInvalidTopic) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
