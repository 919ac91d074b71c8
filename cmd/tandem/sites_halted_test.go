//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// topic makes a topic of one partition with key=value configs.
func (s *siteProcess) topic(name string, configs map[string]string) {
	s.t.Helper()
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	s.admin(func(ctx context.Context, c *kadm.Client) error {
		r, err := c.CreateTopics(ctx, 1, 1, values, name)
		if err == nil {
			err = r[name].Err
		}
		return err
	})
}

func (s *siteProcess) deleteTopic(name string) {
	s.t.Helper()
	s.admin(func(ctx context.Context, c *kadm.Client) error {
		r, err := c.DeleteTopics(ctx, name)
		if err == nil {
			err = r[name].Err
		}
		return err
	})
}

// admin has a client do something at this site's broker. A broker that was restarted has another address here, and the other site, which a client
// may ask too, learns of it a moment later.
func (s *siteProcess) admin(do func(context.Context, *kadm.Client) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c := s.kgo()
	defer c.Close()
	err := do(ctx, kadm.NewClient(c))
	var old *net.OpError
	for ; (kerr.IsRetriable(err) || errors.As(err, &old)) && ctx.Err() == nil; err = do(ctx, kadm.NewClient(c)) {
		time.Sleep(retryPause)
	}
	if err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
}

// TestLinkThatRetentionHasOvertaken: what the standby lacks is gone at the active. The link stops and says so at both sites, no role changes by
// itself, and either way out leads to equal sites.
func TestLinkThatRetentionHasOvertaken(t *testing.T) {
	for name, wayOut := range map[string]func(east, west *siteProcess){
		"copied anew": func(east, west *siteProcess) {
			east.does(2, "recopy --topic t", "which partition", "--partition N")
			east.does(2, "recopy --topic nosuch --partition 0", "no partition nosuch-0 is shipped")
			west.does(0, "recopy --topic t --partition 0 --dry-run", "Drop t-0 at west and copy it whole from east?")
			west.does(3, "recopy --topic t --partition 0", "nobody said yes", "--yes")
			west.does(3, "recopy --topic t --partition 0 --json", `"next":"the same command with --yes"`)
			if st := west.status(); st.Partitions.Halted != 1 {
				t.Errorf("halted links: %+v", st.Partitions)
			}
			east.does(0, "recopy --topic t --partition 0 --yes", "west has dropped t-0 and copies it anew", "tandem dr status --watch")
		},
		"done without": func(east, _ *siteProcess) {
			east.admin(func(ctx context.Context, c *kadm.Client) error {
				starts, err := c.ListStartOffsets(ctx, "t")
				if err == nil {
					err = starts.Error()
				}
				if err != nil {
					return err
				}
				r, err := c.DeleteRecords(ctx, starts.Offsets())
				if err == nil {
					err = r.Error()
				}
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			east, west := newSites(t)
			east.change("dr.retention.hold.bytes=0", "log.retention.check.interval.ms=20")
			east.start()
			west.start()
			east.topic("t", map[string]string{"retention.bytes": "20000", "internal.segment.bytes": "10000"})
			east.write("t", 10, 10)
			west.has("t")
			west.stop()
			for range 20 {
				east.write("t", 5, 1000)
			}
			for late := time.Now().Add(patience); east.linesOf("retention passes what the other site does not have") == 0; time.Sleep(retryPause) {
				if time.Now().After(late) {
					t.Fatal("retention does not pass the standby")
				}
			}
			west.start()
			for _, s := range []*siteProcess{east, west} {
				s.tells("the link of t-0 has stopped: gap by retention", "tandem dr recopy --topic t --partition 0")
				s.does(3, "switchover --to west --yes", "the links of 1 of", "tandem dr status")
			}
			east.kill()
			west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
			west.does(3, "failover --to west --active-is-down --yes", "The links of 1 of", "--accept-data-loss")
			west.does(3, "recopy --topic t --partition 0 --yes", "there is nothing to copy from", "tandem dr status")
			east.start()
			west.tells("the link of t-0 has stopped: gap by retention", "tandem dr recopy")
			wayOut(east, west)
			east.has("t")
			west.has("t")
			west.does(0, "verify", "equal: ")
			east.write("t", 10, 10)
			east.does(0, "switchover --to west --yes", "west is the active site")
		})
	}
}

// TestTopicThatIsMadeAnewWhileTheStandbyIsAway: the standby has the new one, from its beginning, and nothing of the old one in it.
func TestTopicThatIsMadeAnewWhileTheStandbyIsAway(t *testing.T) {
	t.Parallel()
	east, west := newSites(t)
	between := brokertest.NewRelay(t, west.own)
	east.change("site.peers=west@" + between.Addr())
	west.change("site.peers=")
	east.start()
	west.start()
	east.write("t", 100, 10)
	west.has("t")
	between.Cut(true)
	east.deleteTopic("t")
	east.topic("t", nil)
	east.write("t", 10, 10)
	between.Cut(false)
	west.has("t")
	east.has("t")
	west.does(0, "verify", "equal: ")
	west.does(3, "undelete t")
}

// sitesWithTheirOwn are sites each of which has a topic called own, which west does not ship. east is active.
func sitesWithTheirOwn(t *testing.T) (east, west *siteProcess) {
	t.Helper()
	east, west = newSites(t)
	west.change("dr.topics.exclude=own")
	east.start()
	west.start()
	east.write("t", 1, 1)
	west.has("t")
	east.does(0, "switchover --to west --yes", "west is the active site")
	west.write("own", 5, 5)
	west.green()
	west.does(0, "switchover --to east --yes", "east is the active site")
	east.write("own", 3, 3)
	return east, west
}

// TestTopicThatIsLeftOut: the standby has another topic of the name, which it does not ship itself. Neither is touched until one is deleted.
func TestTopicThatIsLeftOut(t *testing.T) {
	t.Parallel()
	east, west := sitesWithTheirOwn(t)
	for _, s := range []*siteProcess{east, west} {
		s.tells("the topic own is not shipped: the standby has another one of its name", "delete the topic own at the site where it is not wanted")
		s.does(3, "switchover --to west --yes", "the topic own is not shipped", "delete the topic own at the site where it is not wanted")
	}
	east.does(1, "verify", "not compared: own-0: ")
	west.deleteTopic("own")
	east.green()
	west.green()
}

// TestFailoverWithoutATopicThatIsLeftOut ends, though the active has told of a topic that will never be here.
func TestFailoverWithoutATopicThatIsLeftOut(t *testing.T) {
	t.Parallel()
	east, west := sitesWithTheirOwn(t)
	west.until("the active's word of the partition", func(st operator.Status) bool { return st.Partitions.All == 2 })
	east.kill()
	west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
	west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site", "own-0")
	if st := west.status(); st.Order != nil {
		t.Errorf("an order goes on: %+v", *st.Order)
	}
	west.write("t", 1, 1)
	east.start()
	west.does(0, "history", "failover")
	east.does(3, "failover --to west --active-is-down --yes", "west is the active site already")
}
