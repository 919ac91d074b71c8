//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

type options struct {
	tandem, recoverlogs string
	dir, replay         string
	bursts, kills       int
	variants            int
	starts, again       int
	successors          int
	workers             int
	seed                uint64
	op, variant         int
}

func (o *options) parse() {
	flag.StringVar(&o.tandem, "tandem", "", "path of the tandem binary")
	flag.StringVar(&o.recoverlogs, "recoverlogs", "", "path of the recoverlogs binary")
	flag.StringVar(&o.dir, "dir", "", "folder for the recording, which is then kept; a temporary one when empty")
	flag.StringVar(&o.replay, "replay", "", "use the recording in this folder instead of a new one")
	flag.IntVar(&o.bursts, "bursts", 60, "bursts of records a partition")
	flag.IntVar(&o.kills, "kills", 4, "how often the broker is killed during the load, and started again")
	flag.IntVar(&o.variants, "variants", 4, "states by chance for each operation, beside the one that keeps only what was synced")
	flag.IntVar(&o.starts, "starts", 40, "states in which the broker itself is started")
	flag.IntVar(&o.again, "again", 8, "how many of these starts are traced, to lose power a second time behind each call of theirs")
	flag.IntVar(&o.successors, "successors", 8, "how often the broker is killed in the recording once more, and power is lost behind each call of its successor")
	flag.IntVar(&o.workers, "workers", 2, "states that are recovered at a time")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the load and of the states")
	flag.IntVar(&o.op, "op", -1, "only this operation (with -replay)")
	flag.IntVar(&o.variant, "variant", -1, "only this state of it")
	flag.Parse()
}

func main() {
	var o options
	o.parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "trace:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	scratch, err := scratchDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var r *recording
	if o.replay != "" {
		r, err = openRecording(o.replay)
	} else {
		dir := o.dir
		if dir == "" { // on a real disk: a tmpfs has other errors and no syncs worth the name
			if dir, err = os.MkdirTemp("", "tandem-trace-"); err != nil {
				return err
			}
		} else if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		r, err = record(ctx, o, dir)
	}
	if err != nil {
		return err
	}
	s := &search{options: o, recording: r, scratch: scratch, jobs: make(chan *state), seen: map[uint64]bool{}}
	err = s.run(ctx)
	if err == nil && o.dir == "" && o.replay == "" {
		err = os.RemoveAll(r.dir)
	}
	if err != nil {
		err = fmt.Errorf("%w (the recording is in %s: -replay %s -seed %d)", err, r.dir, r.dir, o.seed)
	}
	return err
}

// scratchDir is in memory where the machine has such a place.
func scratchDir() (string, error) {
	if dir, err := os.MkdirTemp("/dev/shm", "tandem-trace-"); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", "tandem-trace-")
}

// state is a disk after a power loss, and what it must hold.
type state struct {
	op, variant int
	loss        loss
	at          string // the operation
	files       []file
	promises    []promise
	deleted     []string // topics whose deletion had been acknowledged
	start       bool     // the broker itself is started in it as well
	again       bool     // power is lost a second time during that start
	killed      *disk    // what a killed process left, if that is the state; nil = a power loss
}

// search replays a recording.
type search struct {
	options
	recording *recording
	scratch   string
	jobs      chan *state

	logStarts map[string]int64 // at the end of the recording

	killed int // states of a killed process so far

	ops      int
	states   int
	promised int64 // most records that a state had to hold
	byName   map[string]int
	seen     map[uint64]bool
	mu       struct {
		sync.Mutex
		failures []string
		started  int
		traced   int // of started
		again    int // states of a power loss in these, and in successors of a killed process
	}
}

func (s *search) run(ctx context.Context) error {
	began := time.Now()
	events, err := s.read()
	if err != nil {
		return err
	}
	total, err := s.count(events)
	if err != nil {
		return err
	}
	if err := s.readStarts(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i := range s.workers {
		w := &worker{binary: s.recoverlogs, dir: filepath.Join(s.scratch, fmt.Sprintf("state-%d", i))}
		wg.Go(func() { s.work(ctx, w) })
	}
	err = s.replayAll(ctx, events, total)
	close(s.jobs)
	wg.Wait()
	const shown = 20
	for _, f := range s.mu.failures[:min(len(s.mu.failures), shown)] {
		fmt.Println(f)
	}
	fmt.Printf("trace: %d operations %v, %d distinct states, up to %d records promised, %d starts of the broker, %d states of a power loss in %d starts and %d successors of a killed one, %d failures, seed %d, %s\n", s.ops, s.byName,
		s.states, s.promised, s.mu.started, s.mu.again, s.mu.traced, s.killed, len(s.mu.failures), s.seed, time.Since(began).Round(time.Second))
	if err == nil && len(s.mu.failures) > 0 {
		err = fmt.Errorf("%d of %d states failed", len(s.mu.failures), s.states)
	}
	return err
}

// readStarts opens a copy of what the last run left behind.
func (s *search) readStarts() error {
	w := &worker{binary: s.recoverlogs, dir: filepath.Join(s.scratch, "end")}
	defer os.RemoveAll(w.dir)
	err := os.CopyFS(w.dir, os.DirFS(s.recording.end(s.recording.Runs)))
	if err == nil {
		s.logStarts, err = w.starts(filepath.Join(w.dir, "data"))
	}
	return errors.Join(err, w.stop())
}

func (s *search) read() (phases [][]event, err error) {
	line := 1
	for phase := 1; phase <= s.recording.Runs; phase++ {
		events, err := readTrace(s.recording.trace(phase), line)
		if err != nil {
			return nil, err
		}
		line = events[len(events)-1].line + 2
		phases = append(phases, events)
	}
	return phases, nil
}

// count follows the whole recording once: the number of operations, and the proof that the trace is complete, because it
// explains every byte that the processes left behind.
func (s *search) count(phases [][]event) (total int, err error) {
	err = s.follow(phases, func(*disk, event) error {
		total++
		return nil
	})
	return total, err
}

func (s *search) follow(phases [][]event, operation func(*disk, event) error) error {
	d := newDisk()
	for i, events := range phases {
		real := s.recording.end(i + 1)
		err := follow(d, s.recording.Root, real, events, operation)
		if err == nil {
			err = d.compare(real)
		}
		if err != nil {
			return fmt.Errorf("phase %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *search) replayAll(ctx context.Context, phases [][]event, total int) error {
	s.byName = map[string]int{}
	stride := max(1, total/max(1, s.starts))
	return s.follow(phases, func(d *disk, e event) error {
		op := s.ops
		s.ops++
		s.byName[e.name]++
		if s.op >= 0 && s.op != op {
			return ctx.Err()
		}
		now := s.at(op, e)
		if s.wantsKilled(d, op, total) {
			s.killed++
			st := now
			st.variant, st.loss, st.killed = s.variants+1, all, d.clone()
			st.files = st.killed.lose(all, rand.New(rand.NewPCG(s.seed, 0)))
			if err := s.send(ctx, &st); err != nil {
				return err
			}
		}
		for variant := range s.variants + 1 {
			r := rand.New(rand.NewPCG(s.seed, uint64(op)<<16|uint64(variant)))
			l := syncedOnly
			if variant > 0 {
				l = loss(1 + r.IntN(int(lossCount)-1))
			}
			files := d.lose(l, r)
			if s.variant >= 0 && s.variant != variant {
				continue
			}
			start := s.starts > 0 && op%stride == stride-1 && variant == op/stride%(s.variants+1) || s.op >= 0
			if h := fingerprint(files); !start && s.seen[h] && variant > 0 {
				continue // variant 0 may have been promised more than before
			} else if !s.seen[h] {
				s.seen[h] = true
				s.states++
			}
			st := now
			st.variant, st.loss, st.files, st.start = variant, l, files, start
			st.again = start && s.again > 0 && (s.op >= 0 || op/stride%max(1, s.starts/s.again) == 0)
			if err := s.send(ctx, &st); err != nil {
				return err
			}
		}
		return nil
	})
}

// at is what all states behind an operation have in common.
func (s *search) at(op int, e event) state {
	st := state{op: op, at: e.name, promises: s.recording.promises(e.next, s.logStarts)}
	var promised int64
	for _, p := range st.promises {
		promised += p.acked
		if p.lane.DeletedAt > 0 && p.lane.DeletedAt < e.next {
			st.deleted = append(st.deleted, p.lane.Topic)
		}
	}
	s.promised = max(s.promised, promised)
	return st
}

func (s *search) send(ctx context.Context, st *state) error {
	select {
	case s.jobs <- st:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wantsKilled spreads the states of a killed process over the recording. Every other one is killed in a commit of meta.db, which
// is where a successor that believes the page cache can do most harm.
func (s *search) wantsKilled(d *disk, op, total int) bool {
	if s.op >= 0 || s.successors == 0 || op < (2*s.killed+1)*total/(2*s.successors) {
		return s.op >= 0 && s.variant == s.variants+1
	}
	db := d.root.find("data/meta.db")
	return s.killed%2 > 0 || db != nil && len(db.pending) > 0
}

// work recovers states until there are no more.
func (s *search) work(ctx context.Context, w *worker) {
	for st := range s.jobs {
		if err := w.recover(st); err != nil {
			s.failed(st, err)
		}
		if st.killed != nil {
			s.loseAgain(ctx, w, st)
		}
		if !st.start || ctx.Err() != nil {
			continue
		}
		if err := s.startBroker(ctx, w.dir, st); err != nil {
			s.failed(st, fmt.Errorf("started: %w", err))
		}
		s.mu.Lock()
		s.mu.started++
		s.mu.Unlock()
		if st.again {
			s.mu.Lock()
			s.mu.traced++
			s.mu.Unlock()
			s.loseAgain(ctx, w, st)
		}
	}
	if err := w.stop(); err != nil {
		s.failed(&state{}, fmt.Errorf("recoverlogs: %w", err))
	}
}

func (s *search) failed(st *state, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.failures = append(s.mu.failures, fmt.Sprintf("FAIL -op %d -variant %d -seed %d (behind %s, %s): %v", st.op, st.variant, s.seed, st.at, st.loss, err))
	slices.SortFunc(s.mu.failures, cmp.Compare[string])
}
