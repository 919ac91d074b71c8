package sites

import "testing"

// TestFirstCopyEndsUnderLoad: the standby never has all of a log that grows while it answers, but once all that was there when it began.
func TestFirstCopyEndsUnderLoad(t *testing.T) {
	const behind = 60 // what is written while an answer is on its way
	var c firstCopy
	c.note(4, 1000, 0, false)
	for acked := int64(0); acked <= 2000; acked += 10 {
		end := max(1000, acked+behind)
		c.note(4, end, acked, true)
		if c.done != (acked >= 1000) {
			t.Fatalf("at %d of %d, and 1000 at first: done %v", acked, end, c.done)
		}
	}
	for _, s := range []struct {
		what       string
		epoch      uint32
		end, acked int64
		known      bool
		done       bool
	}{
		{"it is not heard of", 4, 3000, 0, false, true},
		{"it goes on", 4, 3000, 2000, true, true},
		{"it came back with less", 4, 3000, 1999, true, false},
		{"it has what was there before, and not all", 4, 3100, 2999, true, false},
		{"it has all that was there when it came back", 4, 3100, 3000, true, true},
		{"another site epoch", 5, 3100, 0, false, false},
		{"which it follows", 5, 3100, 3090, true, false},
		{"and has", 5, 3200, 3100, true, true},
	} {
		if c.note(s.epoch, s.end, s.acked, s.known); c.done != s.done {
			t.Errorf("%s: done %v", s.what, c.done)
		}
	}
}
