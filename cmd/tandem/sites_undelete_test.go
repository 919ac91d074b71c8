//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// commit stores an offset of a group for partition 0 of a topic.
func (s *siteProcess) commit(group, topic string, offset int64) {
	s.t.Helper()
	s.admin(func(ctx context.Context, c *kadm.Client) error {
		r, err := c.CommitOffsets(ctx, group, kadm.OffsetsFromRecords(kgo.Record{Topic: topic, Offset: offset - 1, LeaderEpoch: -1}))
		if err == nil {
			err = r.Error()
		}
		return err
	})
}

// committed is the offset of a group for partition 0 of a topic; -1 = none.
func (s *siteProcess) committed(group, topic string) (offset int64) {
	s.t.Helper()
	s.admin(func(ctx context.Context, c *kadm.Client) error {
		r, err := c.FetchOffsets(ctx, group)
		if err == nil {
			err = r.Error()
		}
		offset = -1
		if o, ok := r.Lookup(topic, 0); ok {
			offset = o.At
		}
		return err
	})
	return offset
}

// forgotten waits until a group has no offset for partition 0 of a topic: that is done in the background.
func (s *siteProcess) forgotten(group, topic string) {
	s.t.Helper()
	for late := time.Now().Add(patience); s.committed(group, topic) != -1; time.Sleep(retryPause) {
		if time.Now().After(late) {
			s.t.Fatalf("the group is at %d", s.committed(group, topic))
		}
	}
}

// keys reads so many records of a topic, from its beginning or where a group goes on, and returns how often each key was there.
func (s *siteProcess) keys(topic, group string, count int) map[string]int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	options := []kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if group != "" {
		options = append(options, kgo.ConsumerGroup(group), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	}
	c := s.kgo(options...)
	defer c.Close()
	seen := map[string]int{}
	for n := 0; n < count; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			s.t.Fatalf("%d of %d records of %s at %s: %v", n, count, topic, s.name, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { n++; seen[string(r.Key)]++ })
	}
	return seen
}

// TestTopicThatIsTakenBack: a topic that was deleted by mistake is back at both sites, with its records, its offsets and where groups were.
func TestTopicThatIsTakenBack(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.topic("t", map[string]string{"retention.ms": "100000000"})
	east.write("t", 10, 10)
	east.commit("g", "t", 7)
	west.has("t")
	east.does(2, "undelete", "needs an argument")
	east.does(3, "undelete t", "there is a topic t", "tandem dr status")
	east.does(3, "undelete nosuch", "no deleted topic nosuch is kept (dr.delete.delay.ms)", "next: ")
	east.deleteTopic("t")
	for _, s := range []*siteProcess{east, west} {
		s.admin(func(ctx context.Context, c *kadm.Client) error {
			for topics, err := c.ListTopics(ctx, "t"); ; topics, err = c.ListTopics(ctx, "t") {
				if err != nil || topics["t"].Err == kerr.UnknownTopicOrPartition {
					return err
				}
				time.Sleep(retryPause)
			}
		})
	}
	if at := east.committed("g", "t"); at != -1 {
		t.Errorf("group at %d in a topic that is not there", at)
	}
	east.green() // a deletion is nothing to worry about
	west.does(0, "undelete t --json", `"undeleted": "t"`)
	west.does(3, "undelete t", "there is a topic t")
	east.has("t")
	west.has("t")
	west.does(0, "verify", "equal: ")
	for _, s := range []*siteProcess{east, west} {
		if s == west {
			east.does(0, "switchover --to west --yes", "west is the active site")
		}
		if at := s.committed("g", "t"); at != 7 {
			t.Errorf("group at %d at %s, which was at 7", at, s.name)
		}
		if all := s.keys("t", "", 10); len(all) != 10 {
			t.Errorf("%s: %v", s.name, all)
		}
	}
	west.write("t", 1, 1)
	if rest := west.keys("t", "g", 4); rest["7"]+rest["8"]+rest["9"] != 3 {
		t.Errorf("the group has read %v", rest)
	}

	// One of its name stands in the way, and it has nothing of the old one's groups.
	west.deleteTopic("t")
	west.topic("t", nil)
	west.forgotten("g", "t")
	east.does(3, "undelete t", "delete that one first")
	west.deleteTopic("t")
	west.does(0, "undelete t", "The topic t is back.")
	east.has("t")
}

// TestTopicThatIsGone: behind dr.delete.delay.ms nothing brings a topic back.
func TestTopicThatIsGone(t *testing.T) {
	t.Parallel()
	east, west := newSites(t)
	for _, s := range []*siteProcess{east, west} {
		s.change("dr.delete.delay.ms=300")
		s.start()
	}
	east.write("t", 10, 10)
	east.commit("g", "t", 7)
	west.has("t")
	east.deleteTopic("t")
	for late := time.Now().Add(patience); east.linesOf("data of deleted topics removed") == 0; time.Sleep(retryPause) {
		if time.Now().After(late) {
			t.Fatal("the data stays")
		}
	}
	east.does(3, "undelete t", "no deleted topic t is kept", "next: ")
	east.topic("t", nil)
	east.forgotten("g", "t")
	west.has("t")
}
