package group

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestTimers compares the heap with a list that is searched.
func TestTimers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.UnixMilli(1_000_000)
	now := start
	var (
		ts    timers
		fired []int
		due   = make(map[int]time.Time)
		all   = make([]*timer, 50)
	)
	for i := range all {
		all[i] = &timer{fire: func(time.Time) { fired = append(fired, i) }}
	}
	for range 5000 {
		i := rng.IntN(len(all))
		switch rng.IntN(4) {
		case 0, 1:
			due[i] = now.Add(time.Duration(rng.IntN(1000)) * time.Millisecond)
			ts.set(all[i], due[i])
		case 2:
			delete(due, i)
			ts.stop(all[i])
		case 3:
			now = now.Add(time.Duration(rng.IntN(200)) * time.Millisecond)
			fired = nil
			ts.run(now)
			for _, f := range fired {
				if at, ok := due[f]; !ok || at.After(now) {
					t.Fatalf("timer %d fired at %v, due %v", f, now.Sub(start), at.Sub(start))
				}
			}
			if !slices.IsSortedFunc(fired, func(a, b int) int { return due[a].Compare(due[b]) }) {
				t.Fatalf("%v in the wrong order", fired)
			}
			for _, f := range fired {
				delete(due, f)
			}
			for i, at := range due {
				if !at.After(now) {
					t.Fatalf("timer %d did not fire", i)
				}
			}
		}
		first, ok := ts.next()
		if ok != (len(due) > 0) {
			t.Fatalf("something to wait for: %v, with %d timers", ok, len(due))
		}
		for _, at := range due {
			if at.Before(first) {
				t.Fatal("the next one is too late")
			}
		}
	}
}

// TestJavaHash: values of java.lang.String.hashCode, by a JVM.
func TestJavaHash(t *testing.T) {
	for s, want := range map[string]int32{"": 0, "a": 97, "a\U0001F600é": 57849829, "polygenelubricants": -2147483648} {
		if got := javaHash(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}
