package log

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// besideFault fails calls on files that are no segments.
func besideFault(f *vfs.Fault) func(vfs.Call) vfs.Outcome {
	return func(c vfs.Call) vfs.Outcome {
		if strings.HasSuffix(c.Name, suffixLog) {
			return vfs.Outcome{}
		}
		return f.Hook(c)
	}
}

// Each call of a Flush on the files beside the segments meets a full disk once. The log goes on, whatever was half written, and the
// next Flush makes up for it.
func TestFlushOnAFullDiskIsTriedAgain(t *testing.T) {
	for _, cut := range []bool{false, true} {
		for n := 0; ; n++ {
			fsys := vfs.NewMem()
			l := create(t, fsys, testOptions())
			list := fill(t, l, 40)
			aborted := []AbortedTxn{{ProducerID: 7, FirstOffset: 3, LastOffset: 8, LastStableOffset: 9}, {ProducerID: 7, FirstOffset: 90, LastOffset: 95, LastStableOffset: 96}}
			for _, txn := range aborted {
				if err := l.AppendAborted(txn); err != nil {
					t.Fatal(err)
				}
			}
			fault := &vfs.Fault{Ops: vfs.OpOpen | vfs.OpWrite | vfs.OpRename, N: n, Err: syscall.ENOSPC, Short: n*29%97 + 1}
			fsys.SetHook(besideFault(fault))
			err := l.flush(0)
			fsys.SetHook(nil)
			if !fault.Hit() {
				if n < 10 {
					t.Fatalf("only %d calls", n)
				}
				break
			}
			if !errors.Is(err, ErrNoSpace) || l.Err() != nil {
				t.Fatalf("call %d: %v, the log: %v", n, err, l.Err())
			}
			if cut { // what was half written is not of this log any more
				keep := list[20].row.BaseOffset
				if err := l.Truncate(keep); err != nil {
					t.Fatal(err)
				}
				list, aborted = list[:20], aborted[:1]
			}
			list = append(list, fill(t, l, 2)...)
			if err := l.flush(0); err != nil {
				t.Fatalf("call %d: the next time: %v", n, err)
			}
			wantFiles(t, fsys, l, n)
			cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition(), Sealed: l.Sealed(l.EndPosition()), EpochsCRC: l.EpochsCRC(0, l.LogEnd())}
			clone := fsys.CrashClone(nil)
			for _, e := range mustReadDir(t, clone) {
				if strings.HasSuffix(e, suffixTemp) {
					t.Fatalf("call %d: %s is left", n, e)
				}
			}
			again := openAt(t, clone, cp, testOptions())
			if err := check(again, list, 0); err != nil {
				t.Fatalf("call %d: behind a restart: %v", n, err)
			}
			if got := again.AbortedIn(0, again.LogEnd()); len(got) != len(aborted) || got[0] != aborted[0] {
				t.Fatalf("call %d: aborted transactions %+v, want %+v", n, got, aborted)
			}
		}
	}
}

// wantFiles wants the files beside the segments to hold what memory does, and no more.
func wantFiles(t *testing.T, fsys vfs.FS, l *Log, n int) {
	t.Helper()
	want := map[string]string{l.dir + "/" + nameEpochs: string(l.mu.epochs.encode())}
	for _, s := range l.mu.segments {
		if x := &s.index; len(x.offsets)+len(x.times) > 0 {
			want[fileName(l.dir, s.base, suffixIndex)] = string(encodeOffsets(x.offsets))
			want[fileName(l.dir, s.base, suffixTime)] = string(encodeTimes(x.times))
		}
	}
	for name, content := range want {
		if b, err := readSmall(fsys, name); err != nil || string(b) != content {
			t.Fatalf("call %d: %s: %d bytes, want %d: %v", n, name, len(b), len(content), err)
		}
	}
}

func mustReadDir(t *testing.T, fsys vfs.FS) (names []string) {
	t.Helper()
	files, err := fsys.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// A failed sync of a file that is appended to, or of the folder, stays final, even where the disk is full: what was promised before
// may be lost. So does any other error.
func TestFlushFailsForGoodWhereItMustBeSure(t *testing.T) {
	for _, f := range []*vfs.Fault{{Ops: vfs.OpSyncDir, Err: syscall.ENOSPC}, {Ops: vfs.OpSyncDir, N: 1, Err: syscall.ENOSPC},
		{Ops: vfs.OpSync, N: 1, Err: syscall.ENOSPC}, {Ops: vfs.OpWrite, Err: syscall.EIO}, {Ops: vfs.OpRename, Err: syscall.EIO}} {
		fsys := vfs.NewMem()
		l := create(t, fsys, testOptions())
		fill(t, l, 40)
		fsys.SetHook(besideFault(f))
		err := l.flush(0)
		fsys.SetHook(nil)
		if !errors.Is(err, ErrFailed) || l.Flush() == nil {
			t.Fatalf("op %d, call %d: %v", f.Ops, f.N, err)
		}
	}
}

// So is the state of the producers.
func TestProducerSnapshotOnAFullDiskIsTriedAgain(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 3)
	entries := []ProducerEntry{{ProducerID: 5, LastOffset: 3}}
	fsys.SetHook(besideFault(&vfs.Fault{Ops: vfs.OpWrite, Err: syscall.ENOSPC, Short: 9}))
	err := l.WriteProducerSnapshot(4, entries)
	fsys.SetHook(nil)
	if !errors.Is(err, ErrNoSpace) || l.Err() != nil {
		t.Fatalf("%v, the log: %v", err, l.Err())
	}
	if err := l.WriteProducerSnapshot(4, entries); err != nil {
		t.Fatal(err)
	}
	if got, err := l.ReadProducerSnapshot(4); err != nil || len(got) != 1 || got[0] != entries[0] {
		t.Fatalf("%+v, %v", got, err)
	}
}
