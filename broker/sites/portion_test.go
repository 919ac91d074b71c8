package sites

import (
	"testing"
	"time"
)

// TestPortionFollowsTheLine: on a narrow line Appends become small, and large again once it is wide.
func TestPortionFollowsTheLine(t *testing.T) {
	const most = 1 << 20
	for _, c := range []struct {
		name        string
		bytesPerSec int
		least, most int // of what it comes to
	}{
		{"wide", 100 << 20, most, most},
		{"narrow", 200 << 10, 64 << 10, 400 << 10},
		{"very narrow", 1 << 10, portionMin, portionMin},
	} {
		var p portion
		n := p.next(0, most)
		if n != most {
			t.Fatalf("%s: begins with %d", c.name, n)
		}
		took := func(n int) time.Duration { return time.Duration(n) * time.Second / time.Duration(c.bytesPerSec) }
		for range 20 {
			n = p.next(took(n), most)
		}
		if n < c.least || n > c.most {
			t.Errorf("%s: %d bytes", c.name, n)
		}
		for range 20 {
			n = p.next(time.Millisecond, most)
		}
		if n != most {
			t.Errorf("%s: %d bytes once it is wide", c.name, n)
		}
	}
	if n := (&portion{}).next(0, 1000); n != 1000 {
		t.Errorf("%d bytes of 1000 at most", n)
	}
	p := portion{}
	p.next(0, 1000)
	if n := p.next(time.Hour, 1000); n != 1000 {
		t.Errorf("%d bytes of 1000 at most, which is little", n)
	}
}
