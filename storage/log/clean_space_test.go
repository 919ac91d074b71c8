package log

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// tightFS has room for one more segment only while none is being replaced.
type tightFS struct {
	vfs.FS
	mu     sync.Mutex
	begun  int           // segments that were let through
	done   int           // those that were replaced
	denied chan struct{} // closed when one was not let through
}

func (f *tightFS) Free(string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done < f.begun {
		select {
		case <-f.denied:
		default:
			close(f.denied)
		}
		return 0, nil
	}
	f.begun++
	return 1 << 40, nil
}

// A round does not need room for two segments at a time, although it rewrites one while the one before is made durable.
func TestCleanNeedsRoomForOneSegment(t *testing.T) {
	w, o := compacted(t, 200)
	tight := &tightFS{FS: w.l.fsys, denied: make(chan struct{})}
	w.l.fsys = tight
	o.Replace = func(r Replacement) error {
		if r.First == 0 {
			select {
			case <-tight.denied: // the next one was asked for while this one takes its place
			case <-time.After(10 * time.Second):
				return errors.New("the next segment does not wait for room")
			}
		}
		err := w.replace(r)
		tight.mu.Lock()
		defer tight.mu.Unlock()
		tight.done++
		return err
	}
	done, err := w.l.Clean(context.Background(), o)
	if err != nil || done.Replaced < 2 || done.Segments != done.Replaced {
		t.Fatalf("%+v, %v", done, err)
	}
}
