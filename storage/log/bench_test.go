package log

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

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
