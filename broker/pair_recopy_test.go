package broker_test

import (
	"testing"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

func statusOf(t *testing.T, b *brokertest.Broker) operator.Status {
	t.Helper()
	s, err := b.Pair().DR().Status(b.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// incarnation of a partition's log; it rises when that is begun anew.
func incarnation(b *brokertest.Broker, topic string, partition int32) uint32 {
	if p, ok := b.Partition(topic, partition); ok {
		return p.Incarnation()
	}
	return 0
}

// awaitAnew waits until a log is there that is later than that of the given incarnation.
func awaitAnew(t *testing.T, b *brokertest.Broker, topic string, partition int32, before uint32) {
	t.Helper()
	until(t, "another log", func() bool { return incarnation(b, topic, partition) > before })
}

func recopyOf(t *testing.T, b *brokertest.Broker, topic string, partition int32) operator.Recopied {
	t.Helper()
	var r operator.Recopied
	until(t, "recopy", func() (done bool) {
		var err error
		r, err = b.Pair().DR().Recopy(b.Context(), operator.RecopyOrder{Topic: topic, Partition: partition})
		return err == nil
	})
	return r
}

// One partition is copied anew by order: whole, and no other. Until the copy is whole the sites are not green, also across a restart.
func TestPartitionIsCopiedAnewByOrder(t *testing.T) {
	east, west, between := startPairApart(t)
	east.CreateTopic("t", 2)
	produceTo(t, east, "t", "one", 2, 200)
	awaitSameLog(t, east, west, "t", 2)
	until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
	zero, one, there := incarnation(west, "t", 0), incarnation(west, "t", 1), incarnation(east, "t", 1)
	if r := recopyOf(t, east, "t", 1); !r.Begun || r.Site != "west" || r.From != r.End {
		t.Fatalf("%+v", r)
	}
	awaitAnew(t, west, "t", 1, one)
	awaitSameLog(t, east, west, "t", 2)
	if a, b := incarnation(west, "t", 0), incarnation(west, "t", 1); a != zero || b <= one || incarnation(east, "t", 1) != there {
		t.Fatalf("incarnations %d, %d", a, b)
	}
	until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })

	// Cut off in the middle: what is there is no copy, and a failover has to be told that it may lose records.
	if r := recopyOf(t, west, "t", 0); !r.Begun {
		t.Fatalf("%+v", r)
	}
	between.Cut(true)
	awaitAnew(t, west, "t", 0, zero)
	for _, when := range []string{"cut off", "restarted"} {
		s := statusOf(t, west)
		if copied := sameLog(t, east, west, "t", 2)(); s.Partitions.Copying < 1 && !copied {
			t.Fatalf("%s: %+v, whole copy %v", when, s.Partitions, copied)
		}
		if s.Partitions.Copying > 0 {
			_, err := west.Pair().DR().Failover(west.Context(), operator.FailoverOrder{ID: "x", To: "west", ActiveIsDown: true, DryRun: true})
			if err == nil {
				t.Fatalf("%s: a failover to half a copy needs nothing", when)
			}
		}
		if when == "cut off" {
			west.Restart()
		}
	}
	between.Lead(west.Pair().Addr().String())
	between.Cut(false)
	awaitSameLog(t, east, west, "t", 2)
	until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
	produceTo(t, east, "t", "two", 2, 20)
	awaitSameLog(t, east, west, "t", 2)
}

// A link that has halted for divergent logs runs again once the partition was copied anew, and what only the standby had is archived, also where
// the active has written other records at the same offsets since.
func TestHaltedLinkRunsAgainAfterARecopy(t *testing.T) {
	t.Run("shorter", func(t *testing.T) { haltAndRecopy(t, 0) })
	t.Run("overtaken", func(t *testing.T) { haltAndRecopy(t, 70) })
}

// haltAndRecopy has the active write so many records before the partition is copied anew.
func haltAndRecopy(t *testing.T, more int) {
	east, west := startPair(t)
	east.CreateTopic("t", 1)
	produceTo(t, east, "t", "one", 1, 50)
	awaitSameLog(t, east, west, "t", 1)
	// West gets records that east never had: as if east had lost its disk's end.
	p, _ := west.Partition("t", 0)
	q, _ := east.Partition("t", 0)
	rows, payload, err := q.Shipped(0).ReadShipped(40, 50, 1<<20, func(n int) []byte { return make([]byte, n) })
	if err != nil || len(rows) == 0 {
		t.Fatal(err)
	}
	for i := range rows {
		payload[rows[i].Pos+7] += 50 // base offset, outside of the checksum
		payload[rows[i].Pos+15]++    // leader epoch, too
		rows[i].LeaderEpoch++
		rows[i].BaseOffset, rows[i].LastOffset = rows[i].BaseOffset+50, rows[i].LastOffset+50
	}
	records := int64(0)
	for i := range rows {
		records += int64(rows[i].LastOffsetDelta) + 1
	}
	stored := make(chan entry.VoidReason, 1)
	p.Shipped(0).Propose(entry.Header{Kind: entry.Data, Rows: rows, PayloadLength: uint32(len(payload))}, payload, func() {},
		func(reason entry.VoidReason, err error) {
			if err != nil {
				t.Error(err)
			}
			stored <- reason
		})
	if reason := <-stored; reason != entry.Admitted {
		t.Fatalf("%v", reason)
	}
	until(t, "a link that has halted", func() bool {
		s := statusOf(t, east)
		return s.Partitions.Halted == 1 && s.Next == "tandem dr recopy --topic t --partition 0"
	})
	if more > 0 {
		produceTo(t, east, "t", "other", 1, more)
	}
	before := p.Incarnation()
	r := recopyOf(t, east, "t", 0)
	if !r.Begun || r.From != 50 || r.End < 51 {
		t.Fatalf("%+v", r)
	}
	awaitAnew(t, west, "t", 0, before)
	awaitSameLog(t, east, west, "t", 1)
	until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
	lost := lostRecords(t, east)["t-0"]
	if int64(len(lost)) != records {
		t.Errorf("%d records archived, want %d", len(lost), records)
	}
	produceTo(t, east, "t", "two", 1, 20)
	awaitSameLog(t, east, west, "t", 1)
}

// A returning site whose retention has passed where the logs part copies the partition anew, by itself, and archives what it has left.
func TestReturnBehindRetentionIsCopiedAnew(t *testing.T) {
	east, west, between := startPairApart(t)
	east.CreateTopic("t", 1)
	produceTo(t, east, "t", "one", 1, 50)
	awaitSameLog(t, east, west, "t", 1)
	between.Cut(true)
	produceTo(t, east, "t", "gone", 1, 30)
	produceTo(t, east, "t", "lost", 1, 20)
	p, _ := east.Partition("t", 0)
	before := p.Incarnation()
	if _, err := p.DeleteRecords(east.Context(), 80); err != nil {
		t.Fatal(err)
	}
	orderOf(t, west, site.Failover{ActiveIsDown: true})
	awaitWritable(t, west, "t", 1)
	produceTo(t, west, "t", "two", 1, 30)
	between.Cut(false)
	awaitAnew(t, east, "t", 0, before)
	awaitSameLog(t, west, east, "t", 1)
	until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
	if lost := lostRecords(t, west)["t-0"]; len(lost) != 20 {
		t.Errorf("%d records archived, want the 20 that were left", len(lost))
	}
}
