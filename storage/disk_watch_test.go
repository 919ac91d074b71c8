package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A line when a sync is slow, one each time that it has doubled, one when it is over.
func TestSlowCalls(t *testing.T) {
	var w slowCalls
	var said []string
	for _, oldest := range []time.Duration{0, 1, 4, 5, 6, 9, 10, 19, 20, 30, 2, 5, 7, 6, 8, 0, 0} {
		if what, waited := w.look(oldest, 5); what != slowNot {
			said = append(said, fmt.Sprintf("%d:%d", what, waited))
		}
	}
	if got := strings.Join(said, " "); got != "1:5 2:10 2:20 3:30 1:5 3:7 1:8 3:8" {
		t.Fatal(got)
	}
}

func TestDiskWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := vfs.NewDiskWatch(time.Now)
		if d := w.Oldest(); d != 0 {
			t.Fatal(d)
		}
		first := w.Begin()
		time.Sleep(time.Second)
		var later []int
		for range 200 {
			later = append(later, w.Begin())
		}
		time.Sleep(time.Second)
		if d := w.Oldest(); d != 2*time.Second {
			t.Fatal(d)
		}
		w.End(first)
		if d := w.Oldest(); d != time.Second {
			t.Fatal(d)
		}
		for _, slot := range later {
			w.End(slot)
		}
		if d := w.Oldest(); d != 0 {
			t.Fatal(d)
		}
	})
}

// lines is a log that can be read while it is written.
type lines struct {
	sync.Mutex
	b bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.b.Write(b)
}

func (l *lines) has(text string) bool {
	l.Lock()
	defer l.Unlock()
	return strings.Contains(l.b.String(), text)
}

// A sync or a write of a segment, or of the journal, that does not return is told, and so is its end.
func TestDiskHangs(t *testing.T) {
	for _, file := range []string{"/data/topic-1/", "/journal/"} {
		for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
			t.Run(fmt.Sprint(file, op), func(t *testing.T) { diskHangs(t, file, op) })
		}
	}
}

func diskHangs(t *testing.T, file string, op vfs.Op) {
	mem, meta := vfs.NewMem(), scratchDir(t)
	var said lines
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir, o.Now = mem, []string{"/data"}, meta, time.Now
	o.journalFS, o.SlowCall = journalIn{mem, meta}, 20*time.Millisecond
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	o.journalLibrary = func(string) (journal.Library, error) { return openMemLibrary(mem)("/journal") }
	s := openStore(t, o)
	g, err := s.CreateGroup(groupID(1), "topic-1", 0, log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := newProducer(rand.New(rand.NewPCG(1, 1)), 0)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	hung, goOn := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release) // before the store is closed
	var once sync.Once
	mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op&op != 0 && strings.Contains(c.Name, file) {
			once.Do(func() { close(hung) })
			<-goOn
		}
		return vfs.Outcome{}
	})
	done := make(chan error, 1)
	e := p.data(30000, entry.Synced)
	go func() { done <- g.Append([]Entry{e}, p.state) }() // ends below
	<-hung
	await(t, func() bool { return s.SlowCalls() == 1 && said.has("the disk hangs") && s.DiskWaiting() >= o.SlowCall })
	select {
	case err := <-done:
		t.Fatal("acknowledged while the disk hangs", err)
	default:
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return said.has("the disk goes on") && s.DiskWaiting() == 0 })
	mem.SetHook(nil)
	s.Close(true)
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s")
		}
		time.Sleep(time.Millisecond)
	}
}
