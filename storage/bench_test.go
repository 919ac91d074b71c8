package storage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
)

// BenchmarkAppend appends batches of a size to a number of Raft groups at a time, synced, and the plain loop beside it writes
// the same bytes to one file with one fdatasync a batch.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ groups, size int }{{1, 1 << 10}, {100, 1 << 10}, {1, 64 << 10}, {1, 1 << 20}} {
		b.Run(fmt.Sprintf("groups=%d,size=%d", c.groups, c.size), func(b *testing.B) {
			o := testOptions(b.TempDir())
			o.MetaNoSync = false
			s := openStore(b, o)
			type lane struct {
				g *Group
				p *producer
			}
			lanes := make([]lane, c.groups)
			for i := range lanes {
				lanes[i].g, lanes[i].p = createGroup(b, s, i)
				mustAppend(b, lanes[i].g, lanes[i].p, lanes[i].p.noop(), lanes[i].p.epochBase())
			}
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range lanes {
				l := lanes[i]
				n := b.N / c.groups
				if i < b.N%c.groups {
					n++
				}
				wg.Go(func() {
					for range n {
						e := l.p.data(c.size, entry.Synced)
						if err := l.g.Append([]Entry{e}, l.p.state); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(b.N)/float64(s.journal.Stats().Syncs), "appends/sync")
		})
	}
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("plain,size=%d", size), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			p := newProducer(rand.New(rand.NewPCG(1, 1)), 0)
			p.noop()
			p.epochBase()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for range b.N {
				if _, err := f.Write(p.data(size, entry.Synced).Payload); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkOpen starts a store of 1,000 Raft groups after a clean and an unclean stop.
func BenchmarkOpen(b *testing.B) {
	for _, clean := range []bool{true, false} {
		b.Run(fmt.Sprintf("clean=%v", clean), func(b *testing.B) {
			o := testOptions(b.TempDir())
			s, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := w; i < 1000; i += 8 {
						id := GroupID{Topic: [16]byte{0: 1, 14: byte(i >> 8), 15: byte(i)}}
						g, err := s.CreateGroup(id, fmt.Sprintf("topic-%d", i), 0, log.Options{})
						if err != nil {
							b.Error(err)
							return
						}
						p := newProducer(rand.New(rand.NewPCG(1, 1)), 0)
						mustAppend(b, g, p, p.noop(), p.epochBase(), p.data(1000, entry.Synced))
					}
				})
			}
			wg.Wait()
			if clean {
				if err := s.Checkpoint(b.Context(), snapshotAll); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(clean); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				s, err := Open(o)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Close(clean); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkSaveTails is what the store of the mark costs that runs once a second, when that many Raft groups got records since.
func BenchmarkSaveTails(b *testing.B) {
	for _, groups := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			o := testOptions(b.TempDir())
			o.MarkSaveInterval, o.CheckpointInterval, o.MetaNoSync = time.Hour, time.Hour, false
			s := openStore(b, o)
			records := make([]journal.Record, groups)
			for i := range records {
				id := GroupID{Topic: uuid.New(), Partition: int32(i)}
				records[i] = journal.VoteRecord(id, 1, 1, "1@x")
			}
			var took, waited time.Duration
			for b.Loop() {
				for some := range slices.Chunk(records, 1000) {
					if _, err := s.journal.Append(some, false).Wait(); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := s.journal.Append(nil, true).Wait(); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				s.takeTails(false)
				waited += time.Since(start)
				if waits, err := s.saveMark(); waits || err != nil {
					b.Fatal(waits, err)
				}
				took += time.Since(start)
			}
			b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/store")
			b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "us/duty")
		})
	}
}
