package site

import (
	"flag"
	"fmt"
	"strings"
	"testing"
)

var (
	seedCount = flag.Int("seeds", 1000, "how many seeds of each kind of operator the two-site model tries")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
)

const runSteps = 320

// TestSitesKeepTheirPromises drives the product's own step functions through seeded runs: loss, delay, duplication and disorder of
// messages, crashes with loss of what was not synced, clocks that drift, and an operator who switches and fails over at any moment.
// The promises are the checks of invariants_test.go. A seed that breaks one is shrunk and printed; -seed N -seeds 1 runs it again.
func TestSitesKeepTheirPromises(t *testing.T) {
	for _, m := range []mode{honest, lying, leased} {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			did := map[string]int{}
			for i := range *seedCount {
				seed := *firstSeed + uint64(i)
				w, run := random(m, seed, runSteps)
				if w.violation == "" {
					heal(w)
				}
				for what, n := range w.did {
					did[what] += n
				}
				if w.violation != "" {
					t.Fatal(story(m, seed, run))
				}
			}
			for _, what := range []string{"acknowledged", "failovers", "switchovers", "tails cut", "fences taken away", "log starts shipped"} {
				if did[what] == 0 && *seedCount >= 1000 {
					t.Errorf("the runs reached no %s", what)
				}
			}
			t.Logf("%d acknowledged, %d failovers, %d switchovers, %d tails cut, %d fences taken away", did["acknowledged"], did["failovers"],
				did["switchovers"], did["tails cut"], did["fences taken away"])
		})
	}
}

// story is the shortest run that breaks the same promise, to be read.
func story(m mode, seed uint64, run []action) string {
	run = shrink(m, run)
	var b strings.Builder
	w := replay(m, run, func(line string) { fmt.Fprintln(&b, line) })
	if w.violation == "" {
		heal(w)
	}
	text := b.String()
	const most = 12000
	if len(text) > most {
		text = text[:most] + "...\n"
	}
	return fmt.Sprintf("operator %v, seed %d: %s\n%d actions:\n%s=> %s", m, seed, w.violation, len(run), text, w.violation)
}
