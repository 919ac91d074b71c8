package partition

import (
	"math/rand/v2"
	"testing"
	"time"
)

// handClock is moved by hand.
type handClock struct{ at time.Time }

func (c *handClock) now() time.Time { return c.at }

// appendOf notes an append that takes took, and moves the clock by it.
func (c *handClock) appendOf(t *temper, took time.Duration, compacted int) {
	begin := c.at
	c.at = c.at.Add(took)
	t.appended(begin, compacted)
}

// Rests grow until one append in a hundred takes too long, and shrink where fewer do, between their bounds; what takes long
// without compaction too is not too long.
func TestRestsFollowWhatAppendsTake(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		alone  time.Duration         // of each append without compaction
		beside func(float64) float64 // the part of the appends beside it that take 3 ms, by how long it rests
		low    float64               // bounds of what comes of it
		high   float64
	}{
		"nobody meets it":                {ms, func(float64) float64 { return 0 }, shareMin, shareMin},
		"everybody does":                 {ms, func(float64) float64 { return 1 }, shareMax, shareMax},
		"one in a hundred at five times": {ms, func(s float64) float64 { return 0.05 / s }, 4, 6.5},
		"one in a hundred at eight":      {ms, func(s float64) float64 { return 0.64 / s / s }, 6.5, shareMax},
		"they are slow anyway":           {2 * ms, func(float64) float64 { return 0.5 }, shareMin, shareMin},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		clock := &handClock{time.Unix(1000, 0)}
		p := newTemper(clock.now)
		for range 500 {
			clock.appendOf(p, c.alone, 0)
		}
		p.begin()
		var sum float64
		const appends = 40_000
		for i := range appends {
			took := c.alone
			if rng.Float64() < c.beside(p.mu.share) {
				took = 3 * ms
			}
			clock.appendOf(p, took, 0)
			if i >= appends/2 {
				sum += p.mu.share
			}
		}
		if mean := sum / (appends / 2); mean < c.low-0.01 || mean > c.high+0.01 {
			t.Errorf("%s: rests %.2f times as long as it works, want %.1f to %.1f", name, mean, c.low, c.high)
		}
	}
}

// What appends take without compaction is learned where none is under way, and while it stops, but not of those that may have met
// it: neither those that began before it had stopped for a moment, nor those that ended after it went on.
func TestWhatIsWithoutCompaction(t *testing.T) {
	clock := &handClock{time.Unix(1000, 0)}
	p := newTemper(clock.now)
	seen := func(what string, took time.Duration, want int) {
		t.Helper()
		before := p.mu.alone.count
		clock.appendOf(p, took, 0)
		if got := p.mu.alone.count - before; got != want {
			t.Errorf("%s: counts %d times, want %d", what, got, want)
		}
	}
	seen("nothing is under way", time.Millisecond, 1)
	p.begin()
	p.begin()
	seen("two rounds", time.Millisecond, 0)
	p.end()
	seen("one round", time.Millisecond, 0)
	if rest := p.rest(time.Millisecond); rest != shareFirst*time.Millisecond {
		t.Fatalf("rests %v", rest)
	}
	clock.at = clock.at.Add(quietEvery)
	if rest := p.rest(time.Millisecond); rest != quietFor {
		t.Fatalf("stops for %v", rest)
	}
	seen("it has just stopped", quietSettle, 0)
	seen("it has stopped", time.Millisecond, 1)
	if rest := p.rest(time.Millisecond); rest != quietFor-quietSettle-time.Millisecond {
		t.Fatalf("another thread stops for %v", rest)
	}
	seen("it goes on meanwhile", quietFor, 0)
	if rest := p.rest(time.Millisecond); rest != shareFirst*time.Millisecond {
		t.Fatalf("rests %v", rest)
	}
	p.end()
	seen("it has just ended", quietSettle, 0)
	seen("it has ended", time.Millisecond, 1)
}

// However slow appends are, a round is not slower than what they give it to do, by how much of the log is dirty.
func TestCompactionKeepsUp(t *testing.T) {
	for name, c := range map[string]struct {
		each  int           // bytes of an append, one each 10 ms
		dirty float64       // of the log
		work  time.Duration // for 256 KiB
		least float64       // bytes a second
		most  float64
	}{
		"nothing is written":            {0, 0.5, time.Millisecond, 23e6, 25e6}, // the longest rests
		"nothing, and the disk is slow": {0, 0.5, 20 * time.Millisecond, 8e6, 9e6},
		"20 MB/s, all is dirty":         {200_000, 1, time.Millisecond, 3 * 20e6, 4 * 20e6},
		"20 MB/s, half of it":           {200_000, 0.5, time.Millisecond, 5 * 20e6, 6.5 * 20e6},
		"10 MB/s, a fifth of it":        {100_000, 0.2, time.Millisecond, 11 * 10e6, 14 * 10e6},
	} {
		clock := &handClock{time.Unix(1000, 0)}
		temper := newTemper(clock.now)
		for range 6000 {
			clock.appendOf(temper, 10*time.Millisecond, c.each)
		}
		temper.begin()
		temper.mu.share, temper.mu.slow = shareMax, time.Nanosecond // all appends are too slow
		p := &pacer{temper: temper, dirty: c.dirty, now: clock.now}
		begin, moved, due := clock.at, 0, clock.at
		const block = 256 << 10
		for clock.at.Sub(begin) < 30*time.Second {
			clock.at = clock.at.Add(c.work)
			moved += block
			clock.at = clock.at.Add(p.rest(c.work, block))
			for ; due.Before(clock.at); due = due.Add(10 * time.Millisecond) {
				temper.appended(due, c.each)
			}
		}
		if rate := float64(moved) / clock.at.Sub(begin).Seconds(); rate < c.least || rate > c.most {
			t.Errorf("%s: %.1f MB/s, want %.1f to %.1f", name, rate/1e6, c.least/1e6, c.most/1e6)
		}
	}
}

// A percentile is right to an eighth, of the last durations.
func TestLatencies(t *testing.T) {
	var l latencies
	if l.quantile(0.99) != 0 {
		t.Fatal("a percentile of nothing")
	}
	for _, d := range []time.Duration{-5, 0, 1, 9, 1000, 123_456, time.Hour, 1<<63 - 1} {
		var one latencies
		one.add(d)
		if got := one.quantile(0.5); d < time.Hour*1000 && (got < d || float64(got) > max(float64(d)*1.13, 9)) {
			t.Errorf("%v is counted as %v", d, got)
		}
	}
	for i := range 1000 {
		l.add(time.Duration(i) * time.Microsecond)
	}
	if got := l.quantile(0.99); got < 990*time.Microsecond || got > 1130*time.Microsecond {
		t.Errorf("p99 %v of 0 to 1 ms", got)
	}
	for range 20 * aloneMost {
		l.add(time.Microsecond)
	}
	if got := l.quantile(0.99); got > 2*time.Microsecond || l.count > aloneMost {
		t.Errorf("p99 %v of %d after long", got, l.count)
	}
}
