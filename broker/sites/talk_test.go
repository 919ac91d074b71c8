package sites

import (
	"testing"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// A report is as old as the one of ours that its sender had by then: by this run's clock, and no other.
func TestAgeOfAReport(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	p := &Pair{options: PairOptions{Now: clock}, boot: 7, driver: New(Options{Now: clock, Boot: 7})}
	began := now
	now = now.Add(10 * time.Second)
	first := p.stamp()
	if first.Boot != 7 || first.Clock != 10*time.Second || first.EchoOf != 0 {
		t.Fatalf("%+v", first)
	}
	p.remote.setReport(report{stamp: stamp{Boot: 9, Clock: time.Hour}}, now, began)
	if s := p.stamp(); s.EchoOf != 9 || s.Echo != time.Hour {
		t.Fatalf("%+v", s)
	}
	now = now.Add(5 * time.Second)
	for _, c := range []struct {
		name string
		s    stamp
		want time.Time
	}{
		{"an answer to what was said", stamp{Boot: 9, EchoOf: 7, Echo: first.Clock}, began.Add(10 * time.Second)},
		{"the other one had heard nothing", stamp{Boot: 9}, began},
		{"of an earlier run", stamp{Boot: 9, EchoOf: site.Boot(6), Echo: 12 * time.Second}, began},
		{"of the future", stamp{Boot: 9, EchoOf: 7, Echo: time.Hour}, began},
		{"before the run", stamp{Boot: 9, EchoOf: 7, Echo: -1}, began},
	} {
		if got := p.madeAfter(c.s); !got.Equal(c.want) {
			t.Errorf("%s: %s after the run began, want %s", c.name, got.Sub(began), c.want.Sub(began))
		}
	}
}
