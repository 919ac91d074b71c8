package verify

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// runsMax is how many comparisons are remembered, and one at a time is running.
const runsMax = 8

// Runs carries comparisons out in the background. Safe for concurrent use.
type Runs struct {
	here, there Side
	partitions  func(ctx context.Context, topics []string) ([]Partition, error)
	options     Options

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	mu    struct {
		sync.Mutex
		runs []operator.Verification // the newest last
	}
}

// NewRuns returns Runs that compare partitions of topics, all that ship where none is named. It starts nothing.
func NewRuns(here, there Side, partitions func(ctx context.Context, topics []string) ([]Partition, error), o Options) *Runs {
	r := &Runs{here: here, there: there, partitions: partitions, options: o}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Close ends what is running and waits for it.
func (r *Runs) Close() {
	r.stop()
	r.tasks.Wait()
}

// Begin begins a comparison; an ID that is known is told how it stands.
func (r *Runs) Begin(o operator.VerifyOrder) (operator.Verification, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.mu.runs {
		switch {
		case v.ID == o.ID:
			return v, nil
		case v.State == operator.Running:
			return v, &operator.Error{Code: operator.CodeRefused, Text: "the sites are being compared already", Next: "wait for its end"}
		}
	}
	v := operator.Verification{ID: o.ID, State: operator.Running}
	r.mu.runs = append(r.mu.runs, v)
	if over := len(r.mu.runs) - runsMax; over > 0 {
		r.mu.runs = slices.Delete(r.mu.runs, 0, over)
	}
	r.tasks.Add(1)
	go func() { // ended by Close
		defer r.tasks.Done()
		r.run(o)
	}()
	return v, nil
}

func (r *Runs) run(o operator.VerifyOrder) {
	options := r.options
	options.Progress = func(v operator.Verification) { r.set(o.ID, v) }
	partitions, err := r.partitions(r.ctx, o.Topics)
	var v operator.Verification
	if err == nil {
		v, err = Compare(r.ctx, r.here, r.there, partitions, options)
	}
	if err != nil {
		v.State, v.Error = operator.Failed, err.Error()
	}
	r.set(o.ID, v)
}

func (r *Runs) set(id string, v operator.Verification) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.ID, v.Skipped = id, slices.Clone(v.Skipped)
	for i := range r.mu.runs {
		if r.mu.runs[i].ID == id {
			r.mu.runs[i] = v
		}
	}
}

// Progress is how a comparison stands.
func (r *Runs) Progress(id string) (operator.Verification, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.mu.runs {
		if v.ID == id {
			return v, nil
		}
	}
	return operator.Verification{}, &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("no comparison %q is known here", id), Next: "tandem dr verify"}
}
