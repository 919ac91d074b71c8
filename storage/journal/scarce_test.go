package journal

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// A roll that finds no descriptor left has files of others closed, and goes on; where there are none to close, the journal fails, as
// with any other error.
func TestRollWithoutADescriptor(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		times int // how often the library cannot be opened
		free  int // how often others have files to close
		fine  bool
	}{
		"closed in time":   {syscall.EMFILE, 3, 3, true},
		"the whole system": {syscall.ENFILE, 1, 5, true},
		"none left":        {syscall.EMFILE, 3, 2, false},
		"again and again":  {syscall.EMFILE, 1 << 20, 1 << 20, false},
		"another error":    {syscall.EACCES, 1, 5, false},
		"none to close":    {syscall.EMFILE, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			times, reclaimed := 0, 0
			s := &seam{}
			o := s.options(Options{SegmentBytes: 1000, MarkInterval: time.Hour})
			o.Reclaim = func() bool {
				reclaimed++
				return reclaimed <= c.free
			}
			dir := memDir(t)
			j, _ := mustOpen(t, dir, o)
			mustAppend(t, j, true, inlineEntry(1, 1, 1200))
			s.before = func(op, name string) error {
				if op != "library open" || times == c.times {
					return nil
				}
				times++
				return &os.PathError{Op: "open", Path: name, Err: c.err}
			}
			_, err := j.Append([]Record{inlineEntry(1, 2, 100)}, true).Wait()
			if (err == nil) != c.fine || !c.fine && !errors.Is(err, c.err) || reclaimed > openTriesMax {
				t.Fatalf("%v, %d files closed", err, reclaimed)
			}
			s.before = nil
			if !c.fine {
				return
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if _, r := mustOpen(t, dir, Options{MarkInterval: time.Hour}); len(all(t, r)) < 2 || len(r.Damage) > 0 {
				t.Fatalf("%d records, damage %+v", len(all(t, r)), r.Damage)
			}
		})
	}
}
