package log

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// bigBatch is a batch of about size bytes of 1 KiB records.
func bigBatch(b *testing.B, size int) made {
	return makeBatch(b, batchSpec{count: size / 1024, valueLen: 1014})
}

func benchLog(b *testing.B) *Log {
	l, err := Create(vfs.OS{}, filepath.Join(b.TempDir(), "topic-0"), testTopic, 0, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	return l
}

// stampAt moves m to offset base, as the store does with each proposal.
func (m *made) stampAt(base int64) {
	count := int64(m.row.LastOffsetDelta)
	m.row.BaseOffset, m.row.LastOffset = base, base+count
	for i := range 8 {
		m.bytes[i] = byte(base >> (56 - 8*i))
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			l := benchLog(b)
			m := bigBatch(b, size)
			payload, rows := payload(m)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			written := int64(0)
			for b.Loop() {
				m.stampAt(l.LogEnd())
				copy(payload, m.bytes[:8])
				rows[0] = m.row
				if _, err := l.Append(payload, rows); err != nil {
					b.Fatal(err)
				}
				if written += int64(len(payload)); written > 256<<20 { // not more of the disk than it takes
					b.StopTimer()
					written = 0
					if err := l.SetLogStart(l.LogEnd()); err != nil {
						b.Fatal(err)
					}
					if _, err := l.DeleteBelow(l.LogEnd()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkRead finds an extent and gives it back; what is sent from it does not pass through Go on Linux.
func BenchmarkRead(b *testing.B) {
	for _, tail := range []bool{false, true} {
		b.Run(map[bool]string{false: "middle", true: "tail"}[tail], func(b *testing.B) {
			l := benchLog(b)
			m := bigBatch(b, 64<<10)
			for range 1000 {
				m.stampAt(l.LogEnd())
				mustAppend(b, l, m)
			}
			offset := l.LogEnd() / 2
			if tail {
				offset = l.LogEnd() - 5*int64(m.row.LastOffsetDelta+1)
			}
			b.ReportAllocs()
			for b.Loop() {
				e, err := l.Read(offset, 1<<20, l.LogEnd(), true)
				if err != nil || e.Len() == 0 {
					b.Fatal(e.Len(), err)
				}
				e.Release()
			}
		})
	}
}

func TestExtentIsAFileForSendfile(t *testing.T) {
	l, err := Create(vfs.OS{}, filepath.Join(t.TempDir(), "topic-0"), testTopic, 0, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	list := fill(t, l, 5)
	e, err := l.Read(3, 1<<20, l.LogEnd(), true)
	if err != nil {
		t.Fatal(err)
	}
	f, pos, n := e.File()
	if err := os.RemoveAll(l.Dir()); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, pos, n))
	if err != nil || string(got) != string(joined(list[1:])) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	e.Release()
	l.shut()
}

// A log on a real disk of which half stays, per byte of the log.
func BenchmarkClean(b *testing.B) {
	for _, size := range []int{1024, 128} {
		b.Run(fmt.Sprintf("record=%d", size), func(b *testing.B) {
			const total = 128 << 20
			b.SetBytes(total)
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				l := dirtyLog(b, b.TempDir(), size, total)
				var keys compact.Map
				o := CleanOptions{Bound: CleanBound{Below: math.MaxInt64}, Map: &keys, MapBytes: 128 << 20, Replace: l.Replace}
				b.StartTimer()
				if done, err := l.Clean(context.Background(), o); err != nil || done.RecordsKept > done.RecordsRead*6/10 {
					b.Fatalf("%+v, %v", done, err)
				}
				b.StopTimer()
				keys.Release()
				_ = l.Close()
			}
		})
	}
}

// dirtyLog is a log of total bytes in which every second record has a younger one of its key.
func dirtyLog(b *testing.B, dir string, size, total int) *Log {
	b.Helper()
	l, err := Create(vfs.OS{}, dir+"/topic-0", testTopic, 0, Options{SegmentBytes: 32 << 20})
	if err != nil {
		b.Fatal(err)
	}
	builder, value := record.NewBuilder(), make([]byte, size-25)
	for written := 0; written < total; {
		builder.Reset()
		builder.BaseOffset, builder.LeaderEpoch = l.LogEnd(), 0
		for i := range (64 << 10) / size {
			key := int(builder.BaseOffset) + i
			if i%2 == 1 {
				key = -i
			}
			builder.Append(1, fmt.Appendf(nil, "%016d", key), value)
		}
		batch, err := builder.Batch()
		if err != nil {
			b.Fatal(err)
		}
		row := entry.Row{Length: uint32(len(batch)), BaseOffset: batch.BaseOffset(), LastOffset: batch.LastOffset(), LeaderEpoch: 0, MaxTimestamp: 1,
			LastOffsetDelta: batch.LastOffsetDelta()}
		if _, err := l.Append(batch, []entry.Row{row}); err != nil {
			b.Fatal(err)
		}
		written += len(batch)
	}
	if err := l.Flush(); err != nil {
		b.Fatal(err)
	}
	return l
}
