//go:build linux && (amd64 || arm64)

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// TestStandbyThatIsSlow: a lag of more than 10 s is told at both sites; the active takes writes, a switchover says how long it waits, and all is
// well once the network is.
func TestStandbyThatIsSlow(t *testing.T) {
	if testing.Short() {
		t.Skip("goes by seconds, which the race detector stretches")
	}
	t.Parallel()
	east, west := newSites(t)
	between := brokertest.NewRelay(t, west.own)
	east.change("site.peers=west@" + between.Addr())
	west.change("site.peers=")
	east.start()
	west.start()
	east.write("t", 1, 1)
	west.has("t")
	between.Delay(500 * time.Millisecond) // 64 KB/s a connection
	east.write("t", 4000, 1000)
	for _, s := range []*siteProcess{east, west} {
		s.tells("the standby is 1", "look at the network and the standby's disk; tandem dr status --watch")
		st := s.status()
		if st.Lag == nil || *st.Lag.Ms < 10_000 || *st.Lag.Records < 1 || *st.Lag.Bytes < 1 || !st.Contact.Connected || st.RPO.Ms == nil || *st.RPO.Ms < 10_000 {
			t.Errorf("at %s: %+v, %+v", s.name, st.Lag, st.RPO)
		}
	}
	if text := east.does(0, "switchover --to west --dry-run", "Nothing has changed", "west is 1"); strings.Contains(text, "not known") {
		t.Errorf("%s", text)
	}
	east.write("t", 1, 1)
	between.Delay(0)
	east.green()
	west.green()
	west.does(0, "verify", "equal: ")
}

// TestStandbyThatStandsStill: a process that answers nothing is told of within seconds, the active takes writes, and it goes on by itself.
func TestStandbyThatStandsStill(t *testing.T) {
	if testing.Short() {
		t.Skip("goes by seconds, which the race detector stretches")
	}
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 10, 10)
	west.has("t")
	west.signal(syscall.SIGSTOP)
	east.tells("though it is connected", "tandem dr status --watch")
	if text := east.does(3, "switchover --to west --yes"); !strings.Contains(text, "nothing has changed") && !strings.Contains(text, "not in contact") { // by when it comes
		t.Errorf("%s", text)
	}
	east.until("no contact", func(st operator.Status) bool { return !st.Contact.Connected })
	east.tells("nothing was heard of west for", "mend the network between the sites, or start the brokers of west")
	east.does(3, "switchover --to west --yes", "not in contact")
	east.write("t", 100, 1000, kgo.DisableIdempotentWrite()) // a producer id may be asked of any broker, and waits as long as the client does
	if st := east.status(); st.Lag != nil && *st.Lag.Records < 100 || st.Contact.SilenceMs == nil {
		t.Errorf("%+v, %+v", st.Lag, st.Contact)
	}
	code, _, stderr := west.drFor("500ms", "status") // it takes the connection and says nothing
	if code != 1 || !strings.Contains(stderr, "no answer from "+west.address) || !strings.Contains(stderr, "next: ") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	code, _, stderr = west.drFor("500ms", "switchover", "--to", "east", "--yes") // which it may carry out later
	if code != 1 || !strings.Contains(stderr, "whether that was begun is not known") || !strings.Contains(stderr, "next: tandem dr status") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	west.signal(syscall.SIGCONT)
	east.green()
	west.has("t")
	west.does(0, "verify", "equal: ")
}

func (s *siteProcess) signal(what syscall.Signal) {
	s.t.Helper()
	if err := s.command.Process.Signal(what); err != nil {
		s.t.Fatal(err)
	}
}

// TestBoundedTopicThatWaits: a lag at which produces are held is told, however short it is.
func TestBoundedTopicThatWaits(t *testing.T) {
	t.Parallel()
	east, west := newSites(t)
	between := brokertest.NewRelay(t, west.own)
	east.change("site.peers=west@" + between.Addr())
	west.change("site.peers=")
	east.start()
	west.start()
	east.topic("t", map[string]string{"dr.mode": "bounded", "dr.max.lag.ms": "500"})
	east.write("t", 1, 1)
	west.has("t")
	between.Delay(500 * time.Millisecond)
	east.write("t", 1000, 1000) // taken as a whole, and then on its way for 5 s
	for _, s := range []*siteProcess{east, west} {
		s.tells("behind in t-0, more than its dr.max.lag.ms (500ms): produces to it are held", "look at the network and the standby's disk")
	}
	between.Delay(0)
	east.write("t", 1, 1)
	east.has("t")
	west.does(0, "verify", "equal: ")
}
