package log

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/vfs"
)

// countsBlocks counts reads of a whole block from the beginning of a segment.
type countsBlocks struct {
	vfs.FS
	block int
	reads atomic.Int64
}

func (c *countsBlocks) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, suffixLog) {
		return f, err
	}
	return &countedFile{f, c}, nil
}

type countedFile struct {
	vfs.File
	fs *countsBlocks
}

func (f *countedFile) ReadAt(b []byte, pos int64) (int, error) {
	if pos == 0 && len(b) == f.fs.block {
		f.fs.reads.Add(1)
	}
	return f.File.ReadAt(b, pos)
}

// The beginning of each segment but the first is read before the one in front of it ends, in both passes; not while somebody else
// waits for the disk.
func TestCleanReadsTheNextSegmentAhead(t *testing.T) {
	for _, busy := range []bool{false, true} {
		w, o := compacted(t, 1)
		cp := w.cp
		if err := w.l.Close(); err != nil {
			t.Fatal(err)
		}
		o.BufferBytes, o.MapBytes, o.Busy = 256, 1<<20, func() bool { return busy }
		block := blockFactor * o.BufferBytes
		fsys := &countsBlocks{FS: w.fsys, block: block}
		w.opts.SegmentBytes = int64(4 * block)
		w.l = openAt(t, fsys, cp, w.opts)
		for i := range 300 {
			b := record.NewBuilder()
			b.BaseOffset = w.l.LogEnd()
			b.Append(w.now, fmt.Appendf(nil, "key-%d", i%7), make([]byte, 200))
			batch, err := b.Batch()
			if err != nil {
				t.Fatal(err)
			}
			w.put(batch)
		}
		w.checkpoint()
		o.Bound.Below, o.Map = w.cp.End.Segment, &compact.Map{}
		fsys.reads.Store(0)
		done, err := w.l.Clean(context.Background(), o)
		if err != nil || done.Segments < 5 {
			t.Fatalf("%+v, %v", done, err)
		}
		want := 0 // then blocks are small
		if !busy {
			const passes = 2
			want = passes * (done.Segments + done.Segments - 1)
		}
		if n := int(fsys.reads.Load()); n != want {
			t.Errorf("busy %v: %d blocks at the beginning of %d segments, want %d", busy, n, done.Segments, want)
		}
	}
}
