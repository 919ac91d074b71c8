package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
)

// site is a broker without a network: storage, metadata, partitions and the coordinator on them.
type site struct {
	t          *testing.T
	dir        string
	store      *storage.Store
	host       *raft.Host
	controller *controller.Controller
	partitions *partition.Manager
	skew       atomic.Int64 // of the coordinator's clock
	serves     func(siteEpoch uint32) bool
	serving    atomic.Bool // what a test's serves may say
	*Coordinator
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.open()
	t.Cleanup(func() { s.close(false) })
	return s
}

func (s *site) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }

func (s *site) open() {
	s.t.Helper()
	fatal := func(err error) { s.t.Errorf("fatal: %v", err) }
	cfg, err := config.Load(config.Input{Set: []string{"log.dirs=" + s.dir}})
	s.check(err)
	s.store, err = storage.Open(storage.Options{
		Dirs: []string{s.dir}, NodeID: 1, OnFatal: fatal, ReserveBytes: -1, BallastBytes: -1, MetaNoSync: true,
	})
	s.check(err)
	s.host = raft.NewHost(s.store, raft.Options{Logger: slog.New(slog.DiscardHandler), OnFatal: fatal})
	s.controller, err = controller.New(controller.Options{
		Host: s.host, Meta: s.store.Meta(), Config: cfg, OnFatal: fatal,
		OnTopicDeleted: func(t *controller.Topic) { s.TopicDeleted(t.Name) }, OffsetsTopic: controller.OffsetsTopic{Partitions: 5},
	})
	s.check(err)
	s.partitions, err = partition.Open(s.host, partition.Options{Topic: s.controller.Spec})
	s.check(err)
	s.Coordinator = New(Options{Topics: s.controller, Partitions: s.partitions, Now: s.now, Serves: s.serves})
	s.check(s.controller.Start(s.ctx(), s.partitions, []controller.Endpoint{{Listener: "X", Host: "h", Port: 1}}))
	s.Coordinator.Start()
}

// close stops the broker; crash leaves out what a clean stop writes.
func (s *site) close(crash bool) {
	s.t.Helper()
	if s.store == nil {
		return
	}
	s.Coordinator.Close()
	s.partitions.Close()
	s.check(s.controller.Close())
	ctx := s.ctx()
	if crash {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_ = s.host.Close(ended) // takes no checkpoint
	} else {
		s.check(s.host.Close(ctx))
	}
	s.check(s.store.Close(!crash))
	s.store = nil
}

// topic creates a topic.
func (s *site) topic(name string) uuid.UUID {
	s.t.Helper()
	r := s.controller.CreateTopics(s.ctx(), []controller.NewTopic{{Name: name, Partitions: 1, ReplicationFactor: -1}}, false)[0]
	s.check(r.Err)
	return r.Topic.ID
}

// retried is what a client does: it asks again while the coordinator is not there yet.
func (s *site) retried(fn func() error) error {
	s.t.Helper()
	var err error
	eventually(s.t, func() bool {
		err = fn()
		return !errors.Is(err, ErrCoordinatorNotAvailable) && !errors.Is(err, ErrCoordinatorLoading) && !errors.Is(err, ErrNotCoordinator)
	})
	return err
}

func (s *site) commit(group, topic string, id uuid.UUID, offset int64) (each error) {
	s.t.Helper()
	err := s.retried(func() error {
		ch := make(chan outcome, 1)
		s.Commit(CommitRequest{GroupID: group, Generation: -1, RetentionMs: -1, Offsets: []Commit{
			{TopicPartition: TopicPartition{topic, 0}, TopicID: id, Offset: offset, LeaderEpoch: -1},
		}}, func(each []error, err error) { ch <- outcome{each, err} })
		o := receive(s.t, ch)
		if o.err == nil {
			each = o.each[0]
		}
		return o.err
	})
	s.check(err)
	return each
}

func (s *site) fetch(group string) (list []Committed) {
	s.t.Helper()
	s.check(s.retried(func() (err error) {
		list, err = s.Fetch(group, nil)
		return err
	}))
	return list
}

func TestOffsetsOutliveTheBroker(t *testing.T) {
	s := newSite(t)
	id := s.topic("t")
	s.check(s.retried(func() error {
		node, err := s.Locate("g0")
		if err == nil && node != 1 {
			t.Errorf("the coordinator is %d", node)
		}
		return err
	}))
	topic, ok := s.controller.Image().Topic(OffsetsTopic)
	if !ok || len(topic.Partitions) != 5 || topic.Configs["cleanup.policy"] != "compact" ||
		topic.Configs["segment.bytes"] != "104857600" || topic.Configs["compression.type"] != "producer" {
		t.Fatalf("%+v", topic)
	}
	for round := range int64(4) {
		for i := range int64(20) {
			group := fmt.Sprint("g", i)
			if round > 0 {
				if got := s.fetch(group); len(got) != 1 || got[0].Offset != i+round {
					t.Fatalf("round %d, group %s: %+v", round, group, got)
				}
			}
			s.check(s.commit(group, "t", id, i+round+1))
		}
		s.close(round%2 == 0)
		s.open()
	}
	if got := s.Counts(); got.Failed != 0 {
		t.Errorf("%+v", got)
	}
}

func TestTopicDeletion(t *testing.T) {
	s := newSite(t)
	id, other := s.topic("t"), s.topic("u")
	s.check(s.commit("g", "t", id, 7))
	s.check(s.commit("g", "u", other, 8))
	s.check(s.controller.DeleteTopics(s.ctx(), []uuid.UUID{id})[0])
	eventually(t, func() bool { return len(s.fetch("g")) == 1 })
	if err := s.commit("g", "t", id, 9); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("commit to a deleted topic: %v", err)
	}
	again := s.topic("t")
	s.close(true)
	s.open()
	if got := s.fetch("g"); len(got) != 1 || got[0].Topic != "u" || got[0].Offset != 8 {
		t.Errorf("%+v", got)
	}
	s.check(s.commit("g", "t", again, 1))
}

// TestClock: the coordinator's own goroutine expires offsets and ends sessions.
func TestClock(t *testing.T) {
	s := newSite(t)
	s.check(s.commit("g", "t", noTopic, 7))
	joined := make(chan JoinResult, 2)
	s.check(s.retried(func() error {
		s.Members().Join(JoinRequest{
			GroupID: "members", ProtocolType: consumerType, Protocols: []Protocol{{Name: "range"}}, SessionTimeout: 6 * time.Second,
			RebalanceTimeout: time.Minute,
		}, func(r JoinResult) { joined <- r })
		return receive(t, joined).Err
	}))
	members := func() (n int) {
		d, err := s.Members().Describe("members")
		if err != nil {
			return -1
		}
		return len(d.Members)
	}
	if members() != 1 {
		t.Fatal("no member")
	}
	s.skew.Store(int64(time.Minute))
	s.kick()
	eventually(t, func() bool { return members() == 0 })
	s.skew.Store(int64(8 * 24 * time.Hour))
	eventually(t, func() bool {
		s.skew.Add(int64(time.Hour)) // a group whose record is still on its way is left until the next time
		s.kick()
		return len(s.fetch("g")) == 0 && members() == -1
	})
}

// TestOffsetsTopicIsDeleted: the groups are gone with it, who waits is told, and the next request makes a new one.
func TestOffsetsTopicIsDeleted(t *testing.T) {
	s := newSite(t)
	id := s.topic("t")
	s.check(s.commit("g", "t", id, 7))
	join := func() <-chan JoinResult {
		joined := make(chan JoinResult, 1)
		s.Members().Join(JoinRequest{
			GroupID: "members", ProtocolType: consumerType, Protocols: []Protocol{{Name: "range"}}, SessionTimeout: time.Minute,
			RebalanceTimeout: time.Minute,
		}, func(r JoinResult) { joined <- r })
		return joined
	}
	s.check(s.retried(func() error { return receive(t, join()).Err }))
	waits := join() // for the first one
	topic, _ := s.controller.Image().Topic(OffsetsTopic)
	s.check(s.controller.DeleteTopics(s.ctx(), []uuid.UUID{topic.ID})[0])
	if r := receive(t, waits); !errors.Is(r.Err, ErrNotCoordinator) {
		t.Errorf("%+v", r)
	}
	eventually(t, func() bool {
		s.kick()
		got, err := s.Fetch("g", nil)
		return err == nil && len(got) == 0
	})
	s.check(s.commit("g", "t", id, 8))
}

func TestClosed(t *testing.T) {
	s := newSite(t)
	s.check(s.commit("g", "t", noTopic, 7))
	joined := make(chan JoinResult, 1)
	s.Coordinator.Close()
	s.Coordinator.Close()
	s.Members().Join(JoinRequest{GroupID: "g"}, func(r JoinResult) { joined <- r })
	if r := receive(t, joined); r.Err == nil {
		t.Error("joined a closed coordinator")
	}
	if _, err := s.Fetch("g", nil); err == nil {
		t.Error("fetched from a closed coordinator")
	}
	s.TopicDeleted("t")
}
