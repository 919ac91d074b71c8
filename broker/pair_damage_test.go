package broker_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// damage changes a byte in the middle of the batch of topic-partition at offset, and returns what undoes it.
func damage(t *testing.T, b *brokertest.Broker, topic string, partition int32, offset int64) (undo func()) {
	t.Helper()
	p, ok := b.Partition(topic, partition)
	if !ok {
		t.Fatal("no partition")
	}
	extent, err := p.Log().Read(offset, 1, offset+1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer extent.Release()
	file, pos, n := extent.File()
	f, err := os.OpenFile(file.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var was [1]byte
	if _, err := f.ReadAt(was[:], pos+n/2); err != nil {
		t.Fatal(err)
	}
	write := func(value byte) {
		if _, err := f.WriteAt([]byte{value}, pos+n/2); err != nil {
			t.Fatal(err)
		}
	}
	write(^was[0])
	return func() { write(was[0]) }
}

// What the active's disk has damaged never comes to the standby; it holds up its partition alone, and the status of both sites says which and why.
func TestDamagedBatchHoldsUpItsPartitionAndIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		deleted  bool // the way out: to do without it
	}{"from its segment": {nil, true}, "through memory": {[]string{"dr.compression=zstd"}, false}} {
		t.Run(name, func(t *testing.T) {
			east, west, between := startPairApart(t, c.settings...)
			east.CreateTopic("t", 2)
			produceTo(t, east, "t", "one", 2, 2)
			awaitSameLog(t, east, west, "t", 2)
			until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
			between.Cut(true)
			client := east.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
			for i := range 6 {
				value := bytes.Repeat([]byte{'a' + byte(i)}, 100_000)
				if err := client.ProduceSync(east.Context(), &kgo.Record{Topic: "t", Value: value}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			undo := damage(t, east, "t", 0, 3)
			between.Cut(false)
			said := func(b *brokertest.Broker) func() bool {
				return func() bool {
					for _, r := range statusOf(t, b).Reasons {
						if r.Code == "damaged" && strings.Contains(r.Text, "records of t-0 do not come to the standby") && r.Next != "" {
							return true
						}
					}
					return false
				}
			}
			until(t, "said at the active", said(east))
			until(t, "said at the standby", said(west))
			produceTo(t, east, "t", "two", 2, 2)
			until(t, "the other partition goes on", func() bool {
				return bytes.Equal(logBytes(t, east, "t", 1), logBytes(t, west, "t", 1))
			})
			if _, err := east.Pair().DR().Switchover(east.Context(), operator.SwitchoverOrder{ID: "x", To: "west", DryRun: true}); err == nil {
				t.Error("a switchover would wait for what never comes")
			}
			if p, _ := west.Partition("t", 0); p.Log().LogEnd() > 3 {
				t.Errorf("the standby has taken what is damaged: its log ends at %d", p.Log().LogEnd())
			}
			if p, _ := east.Partition("t", 0); !c.deleted {
				undo()
			} else if _, err := p.DeleteRecords(east.Context(), 4); err != nil {
				t.Fatal(err)
			}
			awaitSameLog(t, east, west, "t", 2)
			until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
		})
	}
}
