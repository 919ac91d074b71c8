//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// againPause is how long a start is traced once it is ready: long enough for the mark of an idle journal and a checkpoint.
const againPause = 500 * time.Millisecond

// disk is the one on which the broker is started in a state.
func (st *state) disk() *disk {
	if st.killed != nil {
		return st.killed.clone()
	}
	return diskOf(st.files)
}

// loseAgain traces a start of the broker in a state, and loses power behind each of its calls: what the first power loss left
// of the promises must survive recovery being cut short, and so must what a killed process left.
func (s *search) loseAgain(ctx context.Context, w *worker, st *state) {
	events, promises, err := s.traceStart(ctx, w, st)
	if err != nil {
		s.failed(st, fmt.Errorf("traced start: %w", err))
		return
	}
	n := 0
	err = follow(st.disk(), w.dir, "", events, func(d *disk, e event) error {
		n++
		for variant := range s.variants + 1 {
			r := rand.New(rand.NewPCG(s.seed, uint64(st.op)<<40|uint64(st.variant)<<32|uint64(n)<<8|uint64(variant)))
			l := syncedOnly
			if variant > 0 {
				l = loss(1 + r.IntN(int(lossCount)-1))
			}
			second := &state{op: st.op, variant: st.variant, loss: st.loss, at: st.at, files: d.lose(l, r), promises: promises}
			if err := w.recover(second); err != nil {
				s.failed(second, fmt.Errorf("power lost again in the start, behind call %d of it (%s, %s): %w", n, e.name, l, err))
			}
			s.mu.Lock()
			s.mu.again++
			s.mu.Unlock()
		}
		return ctx.Err()
	})
	if err != nil {
		s.failed(st, fmt.Errorf("traced start: %w", err))
	}
}

// traceStart starts the broker in a state, kills it, and makes sure that the trace is complete. Retention may have gone on
// meanwhile, which is in the promises that it returns.
func (s *search) traceStart(ctx context.Context, w *worker, st *state) ([]event, []promise, error) {
	dir := w.dir
	if err := materialise(st.files, dir); err != nil {
		return nil, nil, err
	}
	trace := dir + ".trace"
	for _, name := range []string{dir, dir + ".log", trace} {
		defer os.RemoveAll(name)
	}
	b, err := startBroker(ctx, s.tandem, filepath.Join(dir, "data"), straceArgs(trace))
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-time.After(againPause):
	case <-b.process.Ended():
	case <-ctx.Done():
	}
	b.kill()
	events, err := readTrace(trace, 1)
	if err != nil {
		return nil, nil, err
	}
	d := st.disk()
	if err := follow(d, dir, dir, events, func(*disk, event) error { return nil }); err != nil {
		return nil, nil, err
	}
	if err := d.compare(dir); err != nil {
		return nil, nil, err
	}
	starts, err := w.starts(filepath.Join(dir, "data"))
	promises := slices.Clone(st.promises)
	for i := range promises {
		promises[i].startMax = max(promises[i].startMax, starts[promises[i].folder()])
	}
	return events, promises, err
}
