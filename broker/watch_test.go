package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/group"
)

// TestGroupCounts: the figures of one scrape are counted once, those of the next anew.
func TestGroupCounts(t *testing.T) {
	reads, now := 0, time.UnixMilli(1_000_000)
	c := &groupCounts{now: func() time.Time { return now }}
	c.read = func() group.Counts {
		reads++
		now = now.Add(time.Minute) // it takes its time
		return group.Counts{Offsets: reads}
	}
	for range 10 {
		if got := c.get(); got.Offsets != 1 {
			t.Fatalf("%+v", got)
		}
	}
	now = now.Add(time.Second)
	if got := c.get(); got.Offsets != 2 || reads != 2 {
		t.Errorf("%+v, %d times", got, reads)
	}
}

// TestGroupMetrics: a scrape shows groups and their offsets.
func TestGroupMetrics(t *testing.T) {
	r := start(t, settings(t, t.TempDir(), "offsets.topic.num.partitions=3"))
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Addr("PLAINTEXT").String()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a := kadm.NewClient(client)
	if _, err := a.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	var offsets kadm.Offsets
	offsets.AddOffset("t", 0, 7, -1)
	if err := a.CommitAllOffsets(t.Context(), "g", offsets); err != nil {
		t.Fatal(err)
	}
	r.awaitMetrics(t, "\ntandem_groups{state=\"Empty\"} 1\n", "\ntandem_groups{state=\"Stable\"} 0\n", "\ntandem_committed_offsets 1\n",
		"\ntandem_offset_commits_total 1\n", "\ntandem_offsets_loading 0\n", "\ntandem_offsets_append_failures_total 0\n")
}
