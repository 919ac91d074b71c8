package broker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// lostRecords are the values in all archives that a site knows of, by topic and partition, sorted.
func lostRecords(t *testing.T, b *brokertest.Broker) map[string][]string {
	t.Helper()
	var list operator.LostList
	until(t, "archives of both sites", func() (all bool) { // they may just have lost contact
		var err error
		list, err = b.Pair().DR().LostList(b.Context())
		return err == nil && list.Missing == ""
	})
	all := map[string][]string{}
	for _, a := range list.Archives {
		at := &operator.LostPlace{Site: a.Site, Node: a.Node, ID: a.ID}
		for at != nil {
			page, err := b.Pair().DR().LostShow(b.Context(), *at)
			if err != nil || page.Damage != "" {
				t.Fatalf("%+v, %v", page, err)
			}
			for line := range strings.Lines(string(page.Lines)) {
				all[fmt.Sprintf("%s-%d", a.Topic, a.Partition)] = append(all[fmt.Sprintf("%s-%d", a.Topic, a.Partition)], line)
			}
			at = page.Next
		}
	}
	return all
}

func folders(t *testing.T, b *brokertest.Broker, prefix string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(b.Config().LogDirs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, filepath.Base(e.Name()))
		}
	}
	return names
}

// lose has east write alone, to topics and partitions that west never hears of, and west take over: then east returns.
func lose(t *testing.T, east, west *brokertest.Broker, between *brokertest.Relay) {
	t.Helper()
	east.CreateTopic("grown", 1)
	produceTo(t, east, "grown", "both", 1, 10)
	awaitSameLog(t, east, west, "grown", 1)
	between.Cut(true)
	east.CreateTopic("only", 2)
	produceTo(t, east, "only", "lost", 2, 20)
	east.CreateTopic("same", 1)
	produceTo(t, east, "same", "lost", 1, 10)
	east.CreateTopic("empty", 1)
	if _, err := kadm.NewClient(east.Client()).UpdatePartitions(east.Context(), 3, "grown"); err != nil {
		t.Fatal(err)
	}
	awaitWritable(t, east, "grown", 3)
	produceTo(t, east, "grown", "lost", 3, 30)
	orderOf(t, west, site.Failover{ActiveIsDown: true})
	awaitWritable(t, west, "grown", 1)
	west.CreateTopic("same", 1)
	produceTo(t, west, "same", "kept", 1, 10)
	between.Cut(false)
	awaitSameLog(t, west, east, "same", 1)
	awaitSameLog(t, west, east, "grown", 1)
}

// What only the lost site had is in archives as soon as it follows, whole, and its data goes once the delay is over, not before.
func TestWhatOnlyTheLostSiteHadIsArchivedAndThenDeleted(t *testing.T) {
	east, west, between := startPairApart(t, "dr.delete.delay.ms=4000")
	began := time.Now()
	lose(t, east, west, between)
	want := map[string]int{"only-0": 10, "only-1": 10, "same-0": 10, "grown-0": 10, "grown-1": 10, "grown-2": 10}
	until(t, "archives of all that was lost", func() bool { return len(lostRecords(t, west)) == len(want) })
	for _, b := range []*brokertest.Broker{east, west} {
		for of, lines := range lostRecords(t, b) {
			if len(lines) != want[of] || strings.Contains(lines[0], "kept") {
				t.Errorf("%d records of %s archived, want %d: %q", len(lines), of, want[of], lines[0])
			}
		}
	}
	if time.Since(began) < 4*time.Second && len(folders(t, east, "only-")) != 2 {
		t.Error("the data is gone before its time")
	}
	until(t, "the data is gone", func() bool {
		return len(folders(t, east, "only-")) == 0 && len(folders(t, east, "empty-")) == 0 && slices.Equal(folders(t, east, "grown-"), []string{"grown-0"})
	})
	if got := len(lostRecords(t, east)); got != len(want) {
		t.Errorf("archives of %d partitions once the data is gone, want %d", got, len(want))
	}
	east.Restart()
	awaitSameLog(t, west, east, "same", 1)
	if got := len(lostRecords(t, east)); got != len(want) {
		t.Errorf("archives of %d partitions after a restart, want %d", got, len(want))
	}
}

// Green means that what was lost can be looked at: also what only the lost site had, and with the delay of a day.
func TestStatusIsNotGreenBeforeWhatWasLostIsArchived(t *testing.T) {
	east, west, between := startPairApart(t)
	lose(t, east, west, between)
	for _, b := range []*brokertest.Broker{west, east} {
		until(t, "green", func() bool {
			s, err := b.Pair().DR().Status(b.Context())
			return err == nil && s.Green
		})
		if got := len(lostRecords(t, b)); got != 6 {
			t.Errorf("green with archives of %d partitions, want 6", got)
		}
	}
}

// Where the archives cannot be made, neither site is green, also when the site that has to make them is active again.
func TestNeitherSiteIsGreenBeforeAnActiveHasArchivedWhatWasLost(t *testing.T) {
	east, west, between := startPairApart(t)
	east.CreateTopic("both", 1)
	produceTo(t, east, "both", "both", 1, 10)
	awaitSameLog(t, east, west, "both", 1)
	between.Cut(true)
	east.CreateTopic("only", 1)
	produceTo(t, east, "only", "lost", 1, 10)
	inTheWay := filepath.Join(east.Config().LogDirs[0], "lost-records") // where archives are made
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	orderOf(t, west, site.Failover{ActiveIsDown: true})
	between.Cut(false)
	archiving := func(b *brokertest.Broker) func() bool {
		return func() bool {
			return slices.ContainsFunc(statusOf(t, b).Reasons, func(r operator.Reason) bool { return r.Code == "archiving" })
		}
	}
	until(t, "said at the site that came back", archiving(east))
	until(t, "said at the active", archiving(west))
	until(t, "what both have is copied", func() bool { s := statusOf(t, west).Partitions; return s.Copying+s.Halted+s.Unled == 0 })
	orderOf(t, west, site.Switchover{})
	awaitWritable(t, east, "both", 1)
	until(t, "said at the active", archiving(east))
	until(t, "all else is well at the standby", func() bool {
		s := statusOf(t, west)
		return s.Sites[0].Role == "standby" && s.Metadata.Current && (s.Green || len(s.Reasons) == 1 && s.Reasons[0].Code == "archiving")
	})
	if s := statusOf(t, west); s.Green {
		t.Error("the standby is green before all is in archives")
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	until(t, "green", func() bool { return statusOf(t, east).Green && statusOf(t, west).Green })
	if got := len(lostRecords(t, west)); got != 1 {
		t.Errorf("green with archives of %d partitions", got)
	}
}

// Until its data goes, a topic that only one site had comes back by undelete, once that site is active again: then it is not lost any more.
func TestTopicThatOnlyTheLostSiteHadComesBack(t *testing.T) {
	east, west, between := startPairApart(t, "dr.delete.delay.ms=600000")
	lose(t, east, west, between)
	until(t, "archives", func() bool { return len(lostRecords(t, west)) == 6 })
	if err := west.Pair().DR().Undelete(west.Context(), "only"); err == nil {
		t.Fatal("a topic that the active never had was undeleted there")
	}
	orderOf(t, west, site.Switchover{})
	awaitWritable(t, east, "grown", 1)
	if err := east.Pair().DR().Undelete(east.Context(), "same"); err == nil {
		t.Fatal("a topic was undeleted beside another of its name")
	}
	until(t, "undelete by way of the other site", func() bool { return west.Pair().DR().Undelete(west.Context(), "only") == nil })
	awaitSameLog(t, east, west, "only", 2)
	left := lostRecords(t, west)
	if len(left["only-0"])+len(left["only-1"]) != 0 || len(left) != 4 {
		t.Errorf("archived still: %v", left)
	}
	produceTo(t, east, "only", "new", 2, 10)
	awaitSameLog(t, east, west, "only", 2)
}

// A partition that only the lost site had is archived, and once more cut where the active adds one of its number: its records are lost once.
func TestPartitionThatBothSitesAddedIsArchivedOnce(t *testing.T) {
	east, west, between := startPairApart(t, "dr.delete.delay.ms=600000")
	lose(t, east, west, between)
	until(t, "archives", func() bool { return len(lostRecords(t, west)) == 6 })
	if _, err := kadm.NewClient(west.Client()).UpdatePartitions(west.Context(), 3, "grown"); err != nil {
		t.Fatal(err)
	}
	awaitWritable(t, west, "grown", 3)
	produceTo(t, west, "grown", "kept", 3, 30)
	awaitSameLog(t, west, east, "grown", 3)
	list, err := east.Pair().DR().LostList(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[int32]int{}
	for _, a := range list.Archives {
		if a.Topic == "grown" {
			counts[a.Partition]++
		}
	}
	if lines := lostRecords(t, east); counts[1] != 1 || counts[2] != 1 || len(lines["grown-1"]) != 10 || len(lines["grown-2"]) != 10 {
		t.Errorf("archives by partition %v", counts)
	}
}

// What was lost of a partition whose data has gone stays in its archives when the active adds a partition of its number, which is another log; and
// what is lost of that one in turn is archived too.
func TestArchivesOutliveTheLogsThatTheyAreOf(t *testing.T) {
	east, west, between := startPairApart(t, "dr.delete.delay.ms=1000")
	lose(t, east, west, between)
	until(t, "archives", func() bool { return len(lostRecords(t, west)) == 6 })
	until(t, "the data is gone", func() bool { return slices.Equal(folders(t, east, "grown-"), []string{"grown-0"}) })
	if _, err := kadm.NewClient(west.Client()).UpdatePartitions(west.Context(), 3, "grown"); err != nil {
		t.Fatal(err)
	}
	awaitWritable(t, west, "grown", 3)
	produceTo(t, west, "grown", "kept", 3, 30)
	awaitSameLog(t, west, east, "grown", 3)
	if lines := lostRecords(t, east); len(lines["grown-1"]) != 10 || len(lines["grown-2"]) != 10 {
		t.Errorf("%d and %d records archived of what went before", len(lines["grown-1"]), len(lines["grown-2"]))
	}
	orderOf(t, west, site.Switchover{})
	awaitWritable(t, east, "grown", 3)
	between.Cut(true)
	produceTo(t, east, "grown", "again", 3, 30)
	orderOf(t, west, site.Failover{ActiveIsDown: true})
	awaitWritable(t, west, "grown", 3)
	if _, err := kadm.NewClient(west.Client()).DeleteTopics(west.Context(), "grown"); err != nil {
		t.Fatal(err)
	}
	between.Cut(false)
	until(t, "the data is gone", func() bool { return len(folders(t, east, "grown-")) == 0 })
	for _, of := range []string{"grown-1", "grown-2"} {
		if lines := lostRecords(t, east)[of]; len(lines) != 30 {
			t.Errorf("%d records of %s archived, want 10 of the first log, and 20 of the second: %v", len(lines), of, lines)
		}
	}
}

// An undelete that is refused behind the removal of the archives has them made anew.
func TestRefusedUndeleteLeavesArchives(t *testing.T) {
	east, west, between := startPairApart(t, "dr.delete.delay.ms=600000")
	lose(t, east, west, between)
	until(t, "archives", func() bool { return len(lostRecords(t, west)) == 6 })
	orderOf(t, west, site.Switchover{})
	awaitWritable(t, east, "grown", 1)
	between.Cut(true)
	orderOf(t, east, site.Switchover{})
	if err := east.Pair().DR().Undelete(east.Context(), "only"); err == nil {
		t.Fatal("undeleted while a switchover goes on")
	}
	between.Cut(false)
	until(t, "archives", func() bool { return len(lostRecords(t, west)) == 6 })
}
