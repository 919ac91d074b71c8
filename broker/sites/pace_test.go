package sites

import (
	"testing"
	"time"
)

// Rounds are far apart where much is written in Appends that are not full, and close at the rate of the lag, where a link catches up, and soon behind
// a burst.
func TestPaceFollowsWhatIsShipped(t *testing.T) {
	const kib = 1 << 10
	for name, c := range map[string]struct {
		bytes int // of an Append
		every time.Duration
		full  bool
		want  time.Duration
	}{
		"nothing":                          {0, time.Millisecond, false, turnInterval},
		"5 MB/s":                           {5 * kib, time.Millisecond, false, turnInterval},
		"5 MB/s in batches of 64 KiB":      {64 * kib, 13 * time.Millisecond, false, turnInterval},
		"30 MB/s":                          {30 * kib, time.Millisecond, false, turnIntervalMax},
		"30 MB/s, rounds far apart":        {240 * kib, 8 * time.Millisecond, false, turnIntervalMax},
		"200 MB/s, catching up":            {1024 * kib, 5 * time.Millisecond, true, turnInterval},
		"one batch of 1 MiB once a second": {1024 * kib, time.Second, false, turnIntervalMax},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			now := time.Hour
			for range 100 {
				now += c.every
				p.begin(now)
				if c.bytes > 0 {
					p.shipped(c.bytes, c.full)
				}
			}
			if got := p.interval(); got != c.want {
				t.Errorf("rounds are %s apart, %s are expected", got, c.want)
			}
			p.begin(now + flowWindow)
			if got := p.interval(); got != turnInterval {
				t.Errorf("behind a pause rounds are %s apart", got)
			}
		})
	}
}
