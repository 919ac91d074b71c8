package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

const benchAppenders = 100

// perAppender runs fn b.N times in all, from benchAppenders goroutines. fn gets the goroutine's number and its own count.
func perAppender(b *testing.B, bytes int, fn func(n int, count uint64)) {
	b.SetBytes(int64(bytes))
	b.SetParallelism(max(benchAppenders/runtime.GOMAXPROCS(0), 1))
	b.ReportAllocs()
	b.ResetTimer()
	var number atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		n, count := int(number.Add(1)), uint64(0)
		for pb.Next() {
			count++
			fn(n, count)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}

// BenchmarkAppend is 100 Raft groups that each append an entry with its payload inline, and wait for the sync.
// The journal has to reach three times BenchmarkFileEach.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		for _, segment := range []int{1 << 20, 2 << 20, 4 << 20, 8 << 20} {
			b.Run(fmt.Sprintf("bytes=%d/segment=%dMiB", size, segment>>20), func(b *testing.B) {
				j, _ := mustOpen(b, b.TempDir(), Options{SegmentBytes: segment})
				perAppender(b, size, func(n int, count uint64) {
					rec := [1]Record{inlineEntryFast(n, count, size)}
					if _, err := j.Append(rec[:], true).Wait(); err != nil {
						panic(err)
					}
				})
				s := j.Stats()
				b.ReportMetric(float64(s.Records)/float64(s.Batches), "records/batch")
				b.ReportMetric(float64(s.Syncs)/b.Elapsed().Seconds(), "syncs/s")
			})
		}
	}
}

var benchPayload, benchData = make([]byte, 16<<10), make([]byte, 104)

func inlineEntryFast(n int, index uint64, size int) Record {
	return Record{Kind: Entry, Group: group0(n), Index: index, Term: 3, Placement: Inline, PayloadLength: uint32(size), Data: benchData,
		Inline: benchPayload[:size]}
}

// BenchmarkFileEach is 100 goroutines that each append to a file of their own, with an fdatasync each.
func BenchmarkFileEach(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			var files [benchAppenders + 100]*os.File
			for i := range files {
				f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				files[i] = f
			}
			perAppender(b, size, func(n int, _ uint64) {
				if _, err := files[n].Write(benchPayload[:size]); err != nil {
					panic(err)
				}
				if err := unix.Fdatasync(int(files[n].Fd())); err != nil {
					panic(err)
				}
			})
		})
	}
}
