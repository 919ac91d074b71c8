package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/log"
)

// startPair runs a broker of each of two sites, both with settings. East is the active one, and dials west.
func startPair(t *testing.T, settings ...string) (east, west *brokertest.Broker) {
	t.Helper()
	common := append([]string{"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT", "site.listener.name=SITE"}, settings...)
	west = brokertest.Start(t, append([]string{"node.id=101", "site.name=west", "site.role=standby",
		"listeners=PLAINTEXT://127.0.0.1:0,SITE://127.0.0.1:0"}, common...)...)
	east = brokertest.Start(t, append([]string{"node.id=1", "site.name=east", "site.role=active",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT", "site.peers=west@" + west.Pair().Addr().String()}, settings...)...)
	return east, west
}

// startPairApart is startPair over a network that can be cut.
func startPairApart(t *testing.T, settings ...string) (east, west *brokertest.Broker, between *brokertest.Relay) {
	t.Helper()
	common := append([]string{"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"}, settings...)
	west = brokertest.Start(t, append([]string{"node.id=101", "site.name=west", "site.role=standby", "site.listener.name=SITE",
		"listeners=PLAINTEXT://127.0.0.1:0,SITE://127.0.0.1:0"}, common...)...)
	between = brokertest.NewRelay(t, west.Pair().Addr().String())
	east = brokertest.Start(t, append([]string{"node.id=1", "site.name=east", "site.role=active",
		"site.peers=west@" + between.Addr()}, common...)...)
	return east, west, between
}

// until waits for cond.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(brokertest.Limit); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %v", what, brokertest.Limit)
		}
	}
}

// logBytes are the bytes of a partition's log; nil where it is not there, or is cut or dropped meanwhile.
func logBytes(t *testing.T, b *brokertest.Broker, topic string, partition int32) []byte {
	t.Helper()
	p, ok := b.Partition(topic, partition)
	if !ok || p.Log() == nil {
		return nil
	}
	start, end, _, _ := p.Offsets()
	var all []byte
	for at := start; at < end; {
		extent, err := p.Log().Read(at, 1<<20, end, true)
		if errors.Is(err, log.ErrClosed) {
			return nil // it is copied anew
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := extent.ReadAll()
		at = extent.Next()
		extent.Release()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return nil
		}
		all = append(all, b...)
	}
	return all
}

func sameLog(t *testing.T, a, b *brokertest.Broker, topic string, partitions int32) func() bool {
	return func() bool {
		for i := range partitions {
			x, y := logBytes(t, a, topic, i), logBytes(t, b, topic, i)
			if len(x) == 0 || !bytes.Equal(x, y) {
				return false
			}
		}
		return true
	}
}

func awaitSameLog(t *testing.T, a, b *brokertest.Broker, topic string, partitions int32) {
	t.Helper()
	until(t, fmt.Sprintf("the logs of %s are the same", topic), sameLog(t, a, b, topic, partitions))
}

func produceTo(t *testing.T, b *brokertest.Broker, topic, prefix string, partitions int32, n int) {
	t.Helper()
	c := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowAutoTopicCreation())
	for i := range n {
		c.Produce(b.Context(), &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: fmt.Appendf(nil, "%s %d", prefix, i)},
			func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
	}
	if err := c.Flush(b.Context()); err != nil {
		t.Fatal(err)
	}
}

func orderOf(t *testing.T, b *brokertest.Broker, in site.Input) {
	t.Helper()
	until(t, fmt.Sprintf("%T", in), func() bool {
		err := b.Pair().Order(in)
		if err != nil && !errors.Is(err, site.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func writable(b *brokertest.Broker, topic string, partitions int32) func() bool {
	return func() bool {
		for i := range partitions {
			if p, ok := b.Partition(topic, i); !ok || !p.Ready() {
				return false
			}
		}
		return b.Pair().View().Serving
	}
}

func awaitWritable(t *testing.T, b *brokertest.Broker, topic string, partitions int32) {
	t.Helper()
	until(t, topic+" is writable", writable(b, topic, partitions))
}

func TestStandbySiteHasTheSameLog(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 3, "retention.ms=86400000")
	produceTo(t, east, "t", "one", 3, 500)
	awaitSameLog(t, east, west, "t", 3)
	until(t, "known lag of 0 at both", func() bool {
		for _, b := range []*brokertest.Broker{east, west} {
			s := b.Pair().Stand()
			if !s.Connected || s.Halted != 0 || len(s.Topics) != 1 || s.Topics[0].Lag == nil || s.Topics[0].Lag.Records == nil || *s.Topics[0].Lag.Records != 0 {
				return false
			}
		}
		return true
	})
	p, _ := west.Partition("t", 0)
	if p.Ready() {
		t.Fatal("a partition of a standby takes produces")
	}
	if got := p.Config().RetentionMs; got != 86400000 {
		t.Fatalf("retention.ms %d at the standby", got)
	}
}

func TestStandbyCompactsItsOwnLog(t *testing.T) {
	east, west := startPair(t, "log.cleaner.backoff.ms=20", "checkpoint.interval.ms=100")
	east.CreateTopic("t", 1, "cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.01")
	c := east.Client(kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(8<<10))
	const n = 4000
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "%d", i%3), Value: make([]byte, 1000)})
	}
	if err := c.ProduceSync(east.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	until(t, "west has less than was written, and all of the end", func() bool {
		p, ok := west.Partition("t", 0)
		return ok && p.Log() != nil && p.Log().LogEnd() == n && p.Size() < n*1000/2
	})
	kept := map[string]bool{}
	for rest := logBytes(t, west, "t", 0); len(rest) > 0; {
		b, next, err := record.Next(rest)
		if err == nil {
			rest, err = next, b.Each(1<<20, func(r record.Record) error { kept[string(r.Key)] = true; return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) != 3 {
		t.Fatalf("keys %v", kept)
	}
}

func TestSwitchoverAndBack(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 3)
	produceTo(t, east, "t", "one", 3, 99)
	awaitSameLog(t, east, west, "t", 3)
	orderOf(t, east, site.Switchover{})
	awaitWritable(t, west, "t", 3)
	produceTo(t, west, "t", "two", 3, 99)
	awaitSameLog(t, west, east, "t", 3)
	west.CreateTopic("later", 2)
	produceTo(t, west, "later", "two", 2, 10)
	awaitSameLog(t, west, east, "later", 2)
	orderOf(t, west, site.Switchover{})
	awaitWritable(t, east, "t", 3)
	produceTo(t, east, "t", "three", 3, 99)
	awaitSameLog(t, east, west, "t", 3)
	if p, _ := east.Partition("t", 0); p.Log().LogEnd() != 99 {
		t.Fatalf("log end offset %d: a switchover leaves no gap", p.Log().LogEnd())
	}
	if p, _ := east.Partition("later", 0); p.Log().LogEnd() != 5 {
		t.Fatalf("log end offset %d: a new topic begins at 0", p.Log().LogEnd())
	}
}

func TestLogStartShips(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 1)
	produceTo(t, east, "t", "one", 1, 50)
	awaitSameLog(t, east, west, "t", 1)
	begins := func(b *brokertest.Broker, want int64) func() bool {
		return func() bool {
			p, ok := b.Partition("t", 0)
			if !ok {
				return false
			}
			start, _, _, _ := p.Offsets()
			return start == want
		}
	}
	p, _ := east.Partition("t", 0)
	if _, err := p.DeleteRecords(east.Context(), 20); err != nil {
		t.Fatal(err)
	}
	until(t, "log start 20 at the standby", begins(west, 20))

	// What is deleted while the standby is away is no gap: it goes on behind it, and the logs end alike, also where all is deleted.
	orderOf(t, east, site.Switchover{})
	awaitWritable(t, west, "t", 1)
	if err := east.Stop(); err != nil {
		t.Fatal(err)
	}
	produceTo(t, west, "t", "two", 1, 30)
	p, _ = west.Partition("t", 0)
	if _, err := p.DeleteRecords(west.Context(), 80); err != nil {
		t.Fatal(err)
	}
	east.Restart()
	until(t, "log start 80 at the standby", begins(east, 80))
	orderOf(t, west, site.Switchover{})
	awaitWritable(t, east, "t", 1)
	produceTo(t, east, "t", "three", 1, 10)
	awaitSameLog(t, east, west, "t", 1)
	if q, _ := east.Partition("t", 0); q.Log().LogEnd() != 90 {
		t.Fatalf("log end offset %d", q.Log().LogEnd())
	}
}

func TestActiveThatNeverMetItsStandbyServesAfterARestart(t *testing.T) {
	east := brokertest.Start(t, "node.id=1", "site.name=east", "site.role=active", "site.peers=west@127.0.0.1:1",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT")
	produceTo(t, east, "t", "one", 1, 10)
	east.Restart()
	produceTo(t, east, "t", "two", 1, 10)
}

func TestRestartedActiveAsksBeforeItServes(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 1)
	produceTo(t, east, "t", "one", 1, 10)
	awaitSameLog(t, east, west, "t", 1)
	if err := west.Stop(); err != nil {
		t.Fatal(err)
	}
	east.Restart()
	if v := east.Pair().View(); v.Role != site.Active || v.Serving {
		t.Fatalf("%+v: nobody has said that west was not promoted", v)
	}
	if others := east.Pair().PeerBrokers(); len(others) != 1 || others[0].Node != 101 {
		t.Fatalf("clients are told of %+v beside a site that does not serve: they never get to west, which may have been promoted", others)
	}
}

// TestProducerIDsOfAStandby are of the active's, and nobody else has them, over a loss of the active too.
func TestProducerIDsOfAStandby(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 1)
	produceTo(t, east, "t", "one", 1, 10)
	awaitSameLog(t, east, west, "t", 1)
	given := map[int64]bool{}
	take := func(b *brokertest.Broker, epoch int64) {
		t.Helper()
		c := b.Dial()
		for range 1100 { // more than a block
			req := kmsg.NewPtrInitProducerIDRequest()
			req.SetVersion(4)
			p := c.Do(req).(*kmsg.InitProducerIDResponse)
			if p.ErrorCode != 0 || p.ProducerID>>40 != epoch || given[p.ProducerID] {
				t.Fatalf("%+v; given before: %t", p, given[p.ProducerID])
			}
			given[p.ProducerID] = true
		}
	}
	take(west, 0)
	take(east, 0)
	take(west, 0)
	if err := east.Stop(); err != nil {
		t.Fatal(err)
	}
	orderOf(t, west, site.Failover{ActiveIsDown: true})
	awaitWritable(t, west, "t", 1)
	take(west, 1)
	produceTo(t, west, "t", "two", 1, 10)
	east.Restart()
	awaitSameLog(t, west, east, "t", 1) // so that east has found west
	take(east, 1)
}

func TestLostSiteComesBack(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 3)
	produceTo(t, east, "t", "one", 3, 99)
	awaitSameLog(t, east, west, "t", 3)
	if err := east.Stop(); err != nil {
		t.Fatal(err)
	}
	orderOf(t, west, site.Failover{ActiveIsDown: true})
	awaitWritable(t, west, "t", 3)
	produceTo(t, west, "t", "two", 3, 99)
	east.Restart()
	awaitSameLog(t, west, east, "t", 3)
	if east.Pair().View().Role != site.Standby {
		t.Fatal("the site that was lost has not stepped down")
	}
}

// An active site that goes over to its next site epoch by itself: clients go on in its band, and the standby follows.
func TestActiveTakesItsNextSiteEpoch(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 3)
	produceTo(t, east, "t", "one", 3, 99)
	awaitSameLog(t, east, west, "t", 3)
	orderOf(t, east, site.SelfPromote{})
	until(t, "east is in epoch 4", func() bool { return east.Pair().View().Epoch == 4 && writable(east, "t", 3)() })
	produceTo(t, east, "t", "two", 3, 99)
	awaitSameLog(t, east, west, "t", 3)
	if p, _ := west.Partition("t", 0); p.Log().LogEnd() != 4<<42+33 {
		t.Fatalf("log end offset %d: the new band begins at %d", p.Log().LogEnd(), int64(4)<<42)
	}
	east.CreateTopic("later", 1)
	produceTo(t, east, "later", "two", 1, 10)
	awaitSameLog(t, east, west, "later", 1)
}

// Batches that go from their segment straight to the link arrive as they are, in one segment or many, and so does what is small between them.
func TestLargeBatchesArriveFromTheirSegments(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("t", 2, "segment.bytes=1048576")
	c := east.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 60 {
		value := bytes.Repeat(fmt.Appendf(nil, "%d ", i), []int{10, 10_000, 60_000}[i%3])
		if err := c.ProduceSync(east.Context(), &kgo.Record{Topic: "t", Partition: int32(i / 3 % 2), Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "equal logs", sameLog(t, east, west, "t", 2))
}
