package storage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// A process that may open fewer files than it has partitions writes, rolls, takes checkpoints and starts all the same. It runs
// in a child, because the limit holds for a whole process.
func TestFewDescriptors(t *testing.T) {
	if os.Getenv("TANDEM_TEST_DESCRIPTORS") != "" {
		fewDescriptors(t, 200, 10, 160)
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^TestFewDescriptors$", "-test.v")
	c.Env = append(os.Environ(), "TANDEM_TEST_DESCRIPTORS=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fewDescriptors(t *testing.T, partitions, segments int, limit uint64) {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	o := testOptions(t.TempDir())
	lo := log.Options{SegmentBytes: 700}
	o.LogOptions = func(string) log.Options { return lo }
	s := openStore(t, o)
	var groups []*Group
	var producers []*producer
	for i := range partitions {
		g, err := s.CreateGroup(groupID(i), fmt.Sprintf("topic-%d", i), 0, lo)
		if err != nil {
			t.Fatal(err)
		}
		p := newProducer(rand.New(rand.NewPCG(uint64(i), 1)), 0)
		mustAppend(t, g, p, p.noop(), p.epochBase())
		groups, producers = append(groups, g), append(producers, p)
	}
	for round := range segments {
		for i, g := range groups {
			mustAppend(t, g, producers[i], producers[i].data(600, entry.Cached)) // in the journal, and unsynced in the segment
		}
		if round == segments/2 {
			if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
				t.Fatal(err)
			}
		}
	}
	var before []string
	for _, g := range groups {
		if n := len(g.Log().Segments()); n < segments {
			t.Fatalf("%d segments", n)
		}
		before = append(before, readLog(t, g))
	}
	s.Close(false)
	began := time.Now()
	s = openStore(t, o)
	t.Logf("%d partitions of %d segments opened in %v, %d files", partitions, segments, time.Since(began), s.files.Open())
	for i := range groups {
		g, _ := s.Group(groupID(i))
		if err := g.Offline(); err != nil {
			t.Fatal(err)
		}
		if readLog(t, g) != before[i] {
			t.Fatalf("partition %d changed", i)
		}
	}
	if err := s.Close(true); err != nil {
		t.Fatal(err)
	}
}
