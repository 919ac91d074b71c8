package wire

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestMemoryIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(100)
		take := func(n int64) <-chan struct{} {
			done := make(chan struct{})
			go func() {
				if err := m.Acquire(t.Context(), n); err != nil {
					t.Error(err)
				}
				close(done)
			}()
			synctest.Wait()
			return done
		}
		granted := func(c <-chan struct{}) bool {
			synctest.Wait()
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		first, large, small := take(60), take(90), take(10)
		if !granted(first) || granted(large) || granted(small) {
			t.Fatal("a small request passed a waiting large one")
		}
		m.Release(60)
		if !granted(large) || !granted(small) || m.Used() != 100 {
			t.Fatalf("%d bytes used after the release", m.Used())
		}
		m.Release(90)
		m.Release(10)

		// More than there is counts as all there is.
		all := take(1 << 40)
		one := take(1)
		if !granted(all) || granted(one) {
			t.Fatal("the whole budget")
		}
		m.Release(1 << 40)
		if !granted(one) {
			t.Fatal("not granted after the release")
		}
		m.Release(1)
		if m.Used() != 0 {
			t.Fatalf("%d bytes used in the end", m.Used())
		}
	})
}

func TestMemoryGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(100)
		if err := m.Acquire(t.Context(), 50); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := m.Acquire(ctx, 80); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() { // fits, but came later
			if err := m.Acquire(t.Context(), 50); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait() // the one behind it was let in
		if m.Used() != 100 {
			t.Fatalf("%d bytes used", m.Used())
		}
		// Granted in the moment in which its context ended: what it was granted must not leak.
		m.abandon(&waiter{n: 50})
		if m.Used() != 50 {
			t.Fatalf("%d bytes used", m.Used())
		}
	})
}
