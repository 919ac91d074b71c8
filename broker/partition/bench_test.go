package partition

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tandembroker/tandem/protocol/record"
)

// BenchmarkAppend appends batches of one size, with a number in flight over all partitions.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ partitions, inFlight, size int }{
		{100, 100, 1 << 10}, {100, 400, 1 << 10}, {1, 1, 64 << 10}, {1, 16, 64 << 10}, {1, 1, 1 << 20}, {1, 16, 1 << 20}, {1, 16, 1 << 10},
	} {
		b.Run(fmt.Sprintf("partitions=%d/inflight=%d/bytes=%d", c.partitions, c.inFlight, c.size), func(b *testing.B) {
			br := newBroker(b)
			br.config.SegmentBytes = 1 << 30
			parts := make([]*Partition, c.partitions)
			for i := range parts {
				parts[i] = br.create(b, int32(i))
			}
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			used, syncs := cpu(), br.store.Journal().Stats().Syncs
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for w := range c.inFlight {
				batch := write{size: c.size - 100}.batch(b)
				wg.Go(func() {
					p := parts[w%len(parts)]
					for next.Add(1) <= int64(b.N) {
						a := p.Append(batch, func() {})
						<-a.Done()
						if _, err := a.Result(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/float64(br.store.Journal().Stats().Syncs-syncs), "appends/sync")
		})
	}
}

// BenchmarkPlain is what BenchmarkAppend is measured against: writes of the same batches, one fdatasync for all in flight.
func BenchmarkPlain(b *testing.B) {
	for _, c := range []struct{ perSync, size int }{{1, 64 << 10}, {16, 64 << 10}, {1, 1 << 20}, {16, 1 << 20}} {
		b.Run(fmt.Sprintf("persync=%d/bytes=%d", c.perSync, c.size), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			batch := []byte(record.Batch(write{size: c.size - 100}.batch(b)))
			b.SetBytes(int64(c.size))
			b.ResetTimer()
			for i := range b.N {
				if _, err := f.Write(batch); err != nil {
					b.Fatal(err)
				}
				if i%c.perSync == c.perSync-1 {
					if err := unix.Fdatasync(int(f.Fd())); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
