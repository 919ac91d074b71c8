package partition

import (
	"testing"
	"testing/synctest"
	"time"
)

// Retention and the expiry of producers run by themselves, at their intervals.
func TestMaintenanceRunsAtItsIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{dir: t.TempDir(), config: topicConfig(), clock: &clock{now: time.Unix(1_800_000_000, 0)}}
		b.config.RetentionMs = 60_000
		b.start(t)
		defer b.kill(t)
		p := b.create(t, 0)
		mustAppend(t, p, write{producer: 1, ts: b.clock.Now().UnixMilli()})
		b.clock.add(2 * time.Hour)
		if start, _, _, _ := p.Offsets(); start != 0 {
			t.Fatalf("log start %d at once", start)
		}
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		if start, hw, _, _ := p.Offsets(); start != hw {
			t.Fatalf("log start %d, high watermark %d after the retention interval", start, hw)
		}
		p.mu.Lock()
		known := len(p.mu.producers.byID)
		p.mu.Unlock()
		if known != 1 {
			t.Fatal("producer forgotten before the check interval")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		p.mu.Lock()
		known = len(p.mu.producers.byID)
		p.mu.Unlock()
		if known != 0 {
			t.Fatal("producer not forgotten")
		}
	})
}
