//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// TestFailoverOfASiteThatIsThere is refused, with what loses nothing; behind one that was, the second one is.
func TestFailoverOfASiteThatIsThere(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 100, 100)
	west.has("t")
	for _, s := range []*siteProcess{east, west} {
		s.does(3, "failover --to west --active-is-down --yes", "east is active and can be reached", "tandem dr switchover --to west")
		s.does(3, "failover --to east --active-is-down --yes", "east is the active site already")
		s.does(2, "failover --to north --yes", "no site is called")
	}
	east.kill()
	west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
	west.does(3, "failover --to west --yes", "not known to be under a lease", "--active-is-down")
	west.does(3, "failover --to west --active-is-down", "nobody said yes", "--yes")
	west.does(0, "failover --to west --active-is-down --dry-run", "Nothing has changed", "Known to be lost: 0 records")
	west.does(0, "failover --to west --active-is-down --yes", "west is the active site")
	west.does(3, "failover --to west --active-is-down --yes", "west is the active site already", "tandem dr history")
	west.does(0, "history", "failover", "joined as standby")
	west.write("t", 1, 1)
	east.start() // as it is: it hears of it
	west.green()
	west.does(0, "verify", "equal: ")
}

// TestFailoverToASiteThatMayLackMore needs --accept-data-loss, and says why.
func TestFailoverToASiteThatMayLackMore(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(east, west *siteProcess)
		why  string
	}{
		{"empty", func(east, west *siteProcess) {
			west.start()
			east.start()
			west.until("contact", func(st operator.Status) bool { return st.Contact.Connected })
			east.kill()
		}, "west is empty"},
		{"half copied", func(east, west *siteProcess) {
			east.change("dr.throttle.bytes.per.second=100000")
			east.start()
			east.write("t", 4000, 1000)
			west.start()
			west.until("a part", func(st operator.Status) bool {
				file, err := os.Stat(filepath.Join(west.dir, "t-0", "00000000000000000000.log"))
				return err == nil && file.Size() > 0 && st.Partitions.Copying == 1
			})
			east.kill()
		}, "The first copy to west is not finished"},
		{"silent for long", func(east, west *siteProcess) {
			west.change("dr.failover.silence.max.ms=1000")
			east.start()
			west.start()
			east.write("t", 10, 10)
			west.has("t")
			east.kill()
			west.until("a silence of a second", func(st operator.Status) bool {
				return st.Contact.SilenceMs != nil && *st.Contact.SilenceMs > 1000 && !st.Contact.Connected
			})
		}, "longer than dr.failover.silence.max.ms (1s)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			east, west := newSites(t)
			c.with(east, west)
			west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
			west.does(3, "failover --to west --active-is-down --yes", c.why, "--accept-data-loss")
			west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site")
			west.write("u", 1, 1)
			east.change("dr.throttle.bytes.per.second=")
			east.start()
			west.has("u")
			lost := "No records were lost."
			if c.name == "half copied" {
				lost = "t-0.1."
			}
			east.does(0, "lost list", lost)
			west.does(0, "verify", "equal: ")
		})
	}
}

// TestPartitionThatBothSitesHaveAdded, each while it was active, begins at another offset at each. Without a record they are equal all the same; the
// first one goes over, and so do the roles.
func TestPartitionThatBothSitesHaveAdded(t *testing.T) {
	t.Parallel()
	grow := func(s *siteProcess) {
		s.admin(func(ctx context.Context, c *kadm.Client) error {
			r, err := c.UpdatePartitions(ctx, 2, "t")
			if err == nil {
				err = r.Error()
			}
			return err
		})
	}
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	west.kill()
	grow(east)
	east.kill()
	west.start()
	west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site")
	grow(west)
	east.start()
	for _, s := range []*siteProcess{west, east} {
		s.until("green with both partitions", func(st operator.Status) bool {
			return st.Green && len(st.Topics) == 1 && st.Topics[0].Partitions == 2
		})
	}
	second := kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		return func(*kgo.Record, int) int { return 1 }
	}))
	west.does(0, "switchover --to east --yes", "east is the active site")
	east.green()
	east.does(0, "switchover --to west --yes", "west is the active site")
	west.write("t", 5, 10, second)
	west.green()
	west.does(0, "verify", "equal: ")
	west.does(0, "switchover --to east --yes", "east is the active site")
	east.write("t", 5, 10, second)
	if all := east.keys("t", "", 20); len(all) != 10 {
		t.Errorf("%v", all)
	}
	east.green()
	east.does(0, "verify", "equal: ")
}

// TestReturnToALogWithNothingLeft: all that both sites had was deleted, so behind the cut of its tail the lost site has an empty log. It follows,
// and takes over again.
func TestReturnToALogWithNothingLeft(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	east.admin(func(ctx context.Context, c *kadm.Client) error {
		ends, err := c.ListEndOffsets(ctx, "t")
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return err
		}
		r, err := c.DeleteRecords(ctx, ends.Offsets())
		if err == nil {
			err = r.Error()
		}
		return err
	})
	west.kill()
	east.write("t", 5, 10)
	east.kill()
	west.start()
	west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site")
	west.admin(func(ctx context.Context, c *kadm.Client) error { // it may not have heard of that
		r, err := c.DeleteRecords(ctx, kadm.OffsetsFromRecords(kgo.Record{Topic: "t", Offset: 9, LeaderEpoch: -1}))
		if err == nil {
			err = r.Error()
		}
		return err
	})
	east.start()
	west.until("green with the lost records archived", func(st operator.Status) bool { return st.Green && st.Archives.Archives == 1 })
	west.does(0, "verify", "equal: ")
	for range 2 { // there, back, and there again
		west.does(0, "switchover --to east --yes", "east is the active site")
		east.green()
		east.does(0, "switchover --to west --yes", "west is the active site")
		west.green()
	}
	west.does(0, "switchover --to east --yes", "east is the active site")
	east.write("t", 5, 10)
	east.green()
	east.does(0, "switchover --to west --yes", "west is the active site")
	if all := west.keys("t", "", 5); len(all) != 5 {
		t.Errorf("%v", all)
	}
}

// TestReturnOfASiteThatHadDeletedAll: the other one does not know of that, and has the records. They are at both again, for a site that lacks them could
// not take over without a loss.
func TestReturnOfASiteThatHadDeletedAll(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	west.kill()
	east.admin(func(ctx context.Context, c *kadm.Client) error {
		r, err := c.DeleteRecords(ctx, kadm.OffsetsFromRecords(kgo.Record{Topic: "t", Offset: 9, LeaderEpoch: -1}))
		if err == nil {
			err = r.Error()
		}
		return err
	})
	east.write("t", 5, 10)
	east.kill()
	west.start()
	west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site")
	east.start()
	west.until("green with the lost records archived", func(st operator.Status) bool { return st.Green && st.Archives.Archives == 1 })
	east.green()
	west.does(0, "verify", "equal: ")
	west.does(0, "switchover --to east --yes", "east is the active site")
	if all := east.keys("t", "", 10); len(all) != 10 {
		t.Errorf("%v", all)
	}
}

// TestFailoverBehindARestartOfTheTarget: the standby remembers when it last heard of the active, and that it had everything.
func TestFailoverBehindARestartOfTheTarget(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	west.stop()
	east.kill()
	west.start()
	west.tells("no active site is known here", "tandem dr failover --to west")
	west.does(0, "failover --to west --active-is-down --yes", "west is the active site", "Not known: what east took after")
	east.start()
	west.green()
}

// TestSitesThatAreRestarted together, by kill -9, go on by themselves; the active alone asks first, and may be let go on.
func TestSitesThatAreRestarted(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 100, 100)
	west.has("t")
	east.kill()
	west.kill()
	east.start()
	west.start()
	east.green()
	east.write("t", 100, 100)
	west.stop()
	east.kill()
	east.start()
	east.tells("east takes no writes", "tandem dr failover --to east")
	east.does(0, "failover --to east --active-is-down --yes", "east is the active site")
	east.write("t", 1, 1)
	west.start()
	west.green()
	west.does(0, "verify", "equal: ")
}

// TestReturnWithADamagedJournal: what is damaged is not served and not copied over; both sites say so, and the way out is to begin anew.
func TestReturnWithADamagedJournal(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 100, 100)
	west.has("t")
	east.does(0, "switchover --to west --yes") // so that the site that returns does not have the index of a standby
	west.write("u", 10, 10)
	east.has("u")
	east.kill()
	files, err := filepath.Glob(filepath.Join(east.dir, "journal", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no journal", err)
	}
	file := slices.Max(files)
	flip(t, file, func(b []byte) int { return len(b) / 2 })
	east.start()
	for _, s := range []*siteProcess{west, east} {
		s.tells("cannot be used at east", "empty its data directory, and start it with site.role=standby and site.index=0")
		s.does(3, "switchover --to east --yes", "east cannot take over")
	}
	west.does(1, "verify", "could not be compared")
	west.write("u", 10, 10)
	if n := east.linesOf("partition is not as the metadata wants it"); n > 40 {
		t.Errorf("%d lines", n)
	}
	east.anew("site.role=standby", "site.index=0")
	west.has("u")
	west.does(0, "verify", "equal: ")
	west.does(0, "switchover --to east --yes", "east is the active site")
}

// flip changes a byte of a file at the place that at finds.
func flip(t *testing.T, file string, at func([]byte) int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at(b)] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStandbyWithADamagedSegment: the partition is not served, nothing of it is promoted, and all commands say where the damage is.
func TestStandbyWithADamagedSegment(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	west.stop()
	flip(t, filepath.Join(west.dir, "t-0", "00000000000000000000.log"), func(b []byte) int { return len(b) - 3 })
	west.start()
	for _, s := range []*siteProcess{east, west} {
		s.tells("t-0 cannot be used at west", "empty its data directory, and start it with site.role=standby and site.index=1")
		s.does(1, "verify", "not compared: t-0: it cannot be used at west: ", "00000000000000000000.log, byte", "1 of 1 partitions could not be compared")
		s.does(3, "switchover --to west --yes", "west cannot take over: t-0 cannot be used at west")
		s.does(3, "recopy --topic t --partition 0 --yes", "is not open here", "tandem dr status")
	}
	east.write("t", 10, 10)
	west.anew("site.role=standby", "site.index=1")
	west.has("t")
	west.does(0, "verify", "equal: ")
}

// TestActiveWithADamagedSegment: the other site takes over with all of it, and the one with the damage begins anew.
func TestActiveWithADamagedSegment(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	east.stop()
	flip(t, filepath.Join(east.dir, "t-0", "00000000000000000000.log"), func(b []byte) int { return len(b) - 3 })
	east.start()
	for _, s := range []*siteProcess{east, west} {
		s.tells("t-0 cannot be used at east", "mend the disk of east, or stop the broker of east and make the other site the active one: tandem dr failover --active-is-down --to west")
	}
	east.stop()
	west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
	west.does(3, "failover --to west --active-is-down --yes", "Whether west has all of 1 of 1 partitions is not known: t-0 cannot be used at east", "--accept-data-loss")
	west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site")
	if all := west.keys("t", "", 10); len(all) != 10 {
		t.Errorf("%v", all)
	}
	east.anew("site.role=standby", "site.index=0")
	west.has("t")
	west.does(0, "verify", "equal: ")
}

// TestActiveWithAnOldDataDirectory: one that was put back from a copy lacks what the standby has. Both say so, and with the way out nothing that
// the standby has is lost.
func TestActiveWithAnOldDataDirectory(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	east.stop()
	kept := filepath.Join(t.TempDir(), "kept")
	copyDir := func(to, from string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
			t.Fatal(err)
		}
	}
	copyDir(kept, east.dir)
	east.start()
	east.write("t", 10, 10)
	east.admin(func(ctx context.Context, c *kadm.Client) error { // newer metadata: a producer id may be of a block that the standby took before
		value := "100000000"
		r, err := c.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, "t")
		if err == nil {
			err = r[0].Err
		}
		return err
	})
	east.has("t") // which knows of all that the standby follows
	west.has("t")
	east.kill()
	copyDir(east.dir, kept)
	east.start()
	for _, s := range []*siteProcess{east, west} {
		s.tells("east has lost the end of its disk, or was put back from a copy", "tandem dr failover --active-is-down --to west")
		s.until("a halted link", func(st operator.Status) bool { return st.Partitions.Halted == 1 })
		s.does(0, "status", "the link of t-0 has stopped: divergent logs")
		s.does(1, "verify", "not compared: t-0: its link has stopped (divergent logs)", "1 of 1 partitions could not be compared")
		s.does(3, "recopy --topic t --partition 0 --yes", "east has lost the end of its disk", "tandem dr failover --active-is-down --to west")
		s.does(3, "switchover --to west --yes", "next: ")
	}
	east.stop()
	west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
	west.does(3, "failover --to west --active-is-down --yes", "The links of 1 of 1 partitions have stopped", "--accept-data-loss")
	west.does(0, "failover --to west --active-is-down --accept-data-loss --yes", "west is the active site")
	east.start()
	east.green()
	west.has("t")
	west.does(0, "verify", "equal: ")
	if all := west.keys("t", "", 20); len(all) != 10 {
		t.Errorf("%v", all)
	}
}

// TestVerifyFindsWhatDiffers: a byte of a value, in a batch whose checksum fits all the same.
func TestVerifyFindsWhatDiffers(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	east.write("t", 10, 10)
	west.has("t")
	west.does(0, "verify", "equal: ")
	west.stop()
	file := filepath.Join(west.dir, "t-0", "00000000000000000000.log")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const lengthAt, checksumAt, checkedFrom, head = 8, 17, 21, 12
	at := 0 // of the last batch
	for next := 0; next < len(b); next += head + int(binary.BigEndian.Uint32(b[next+lengthAt:])) {
		at = next
	}
	offset := binary.BigEndian.Uint64(b[at:])
	b[len(b)-3] ^= 1
	binary.BigEndian.PutUint32(b[at+checksumAt:], crc32.Checksum(b[at+checkedFrom:], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	west.start()
	west.green()
	for _, s := range []*siteProcess{east, west} {
		text := s.does(1, "verify", "the sites differ, first in t-0 at offset 10:")
		if offset != 10 || strings.Contains(text, "equal") {
			t.Errorf("planted in the batch at %d:\n%s", offset, text)
		}
	}
	west.does(2, "verify nosuch", "there is no topic nosuch")
}
