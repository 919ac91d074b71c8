//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker"
	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// wrongClock in the environment is by how much the broker's clock is wrong, as of time.ParseDuration.
const wrongClock = "TANDEM_TEST_WRONG_CLOCK"

// serveWithClock is `tandem serve --set ...` with a clock that is wrong.
func serveWithClock(text string, args []string) int {
	off, err := time.ParseDuration(text)
	var set []string
	for i := 1; i < len(args); i += 2 {
		set = append(set, args[i])
	}
	cfg, loadErr := config.Load(config.Input{Set: set, ReadFile: os.ReadFile})
	if err != nil || loadErr != nil {
		fmt.Fprintln(os.Stderr, err, loadErr)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := broker.New(cfg, broker.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: func() time.Time { return time.Now().Add(off) }})
	if err == nil {
		err = b.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitDone
}

// TestSiteWithAClockAnHourOff: what two clocks say is never compared, so lag and silence are what they are, and either site takes over.
func TestSiteWithAClockAnHourOff(t *testing.T) {
	for _, wrong := range []string{"east", "west"} { // of the two clocks each is an hour behind the other
		t.Run(wrong+" ahead", func(t *testing.T) {
			t.Parallel()
			east, west := newSites(t)
			for _, s := range []*siteProcess{east, west} {
				s.process, s.address = startTandemAs(t, s.dir, func(c *exec.Cmd) {
					if s.name == wrong {
						c.Env = append(c.Env, wrongClock+"=1h")
					}
				}, s.settings()...)
			}
			east.write("t", 100, 100)
			for _, s := range []*siteProcess{east, west} {
				s.has("t")
				s.until("a lag of no time", func(st operator.Status) bool { return st.Green && st.Lag != nil && *st.Lag.Ms < 1000 })
			}
			east.does(0, "switchover --to west --yes", "west is the active site")
			west.write("t", 100, 100)
			east.has("t")
			west.does(0, "verify", "equal: ")
			west.kill()
			st := east.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
			if st.Contact.SilenceMs == nil || *st.Contact.SilenceMs > 30_000 {
				t.Errorf("a silence of %v", st.Contact.SilenceMs)
			}
			east.does(0, "failover --to east --active-is-down --yes", "east is the active site")
			west.start() // with the right clock: what it had stored is from another time
			east.green()
			west.green()
		})
	}
}
