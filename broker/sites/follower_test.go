package sites

import (
	"testing"
	"time"
)

// TestMetadataIsAskedForLessAndLessOften: where an answer takes longer than the first patience, one for each question would take longer still.
func TestMetadataIsAskedForLessAndLessOften(t *testing.T) {
	begin := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	asked := func(a *asks, from, to time.Duration) (at []time.Duration) {
		for now := from; now <= to; now += headInterval {
			if a.due(begin.Add(now)) {
				at = append(at, now-from)
			}
		}
		return at
	}
	var a asks
	got := asked(&a, 0, 2*time.Minute)
	for i, seconds := range []int{0, 2, 6, 14, 30, 62, 94} {
		if i >= len(got) || got[i] != time.Duration(seconds)*time.Second {
			t.Fatalf("asked at %v", got)
		}
	}
	if len(got) != 7 {
		t.Errorf("asked at %v", got)
	}
	a.answered()
	if got := asked(&a, 3*time.Minute, 3*time.Minute+5*time.Second); len(got) != 2 || got[0] != 0 || got[1] != askInterval {
		t.Errorf("asked at %v behind an answer", got)
	}
}
