package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
)

// readyLimit is how long a broker may take from its start until it says that it is ready.
const readyLimit = 60 * time.Second

// site is one broker process. Its ports stay the same over restarts.
type site struct {
	name    string
	binary  string
	dataDir string
	logFile string
	address string // of clients
	admin   string
	own     string // SITE listener
	set     []string
	more    []string // settings of this start

	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended; nil before the first start
	stopped bool          // by us
}

// pair is two sites and the network between them. Faults of the link hit both directions of dialling.
type pair struct {
	sites [2]*site
	links [2]*proxy.Proxy // links[i] leads to sites[i]
}

func newPair(binary, dir string) (*pair, error) {
	addresses, err := freeAddresses(6)
	if err != nil {
		return nil, err
	}
	p := &pair{}
	for i, name := range []string{"east", "west"} {
		p.sites[i] = &site{name: name, binary: binary, dataDir: filepath.Join(dir, name), logFile: filepath.Join(dir, name+".log"),
			address: addresses[3*i], admin: addresses[3*i+1], own: addresses[3*i+2]}
		if p.links[i], err = proxy.Listen(p.sites[i].own); err != nil {
			return nil, err
		}
	}
	for i, s := range p.sites {
		other := p.sites[1-i]
		s.set = []string{
			fmt.Sprintf("node.id=%d", 1+100*i), "log.dirs=" + s.dataDir, "admin.listener=" + s.admin,
			"listeners=PLAINTEXT://" + s.address + ",SITE://" + s.own,
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT",
			"site.name=" + s.name, "site.role=" + []string{"active", "standby"}[i], "site.listener.name=SITE",
			"site.peers=" + other.name + "@" + p.links[1-i].Addr(),
			// A group begins anew after each promotion. With the default of 3 s, again from the start at each member, rounds would mostly wait.
			"group.initial.rebalance.delay.ms=500",
		}
	}
	return p, nil
}

// freeAddresses are loopback addresses that nobody listens on now.
func freeAddresses(count int) ([]string, error) {
	var addresses []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // all at the end, so that they differ
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

func (p *pair) addresses() []string { return []string{p.sites[0].address, p.sites[1].address} }

// other is the site that s is not.
func (p *pair) other(s *site) *site {
	if p.sites[0] == s {
		return p.sites[1]
	}
	return p.sites[0]
}

// link does the same to both proxies.
func (p *pair) link(fn func(*proxy.Proxy)) {
	for _, l := range p.links {
		fn(l)
	}
}

func (p *pair) cut()      { p.link((*proxy.Proxy).Cut) }
func (p *pair) halfOpen() { p.link((*proxy.Proxy).HalfOpen) }

func (p *pair) slow(delay time.Duration, bandwidth int64) {
	p.link(func(l *proxy.Proxy) { l.SetDelay(delay); l.SetBandwidth(bandwidth) })
}

func (p *pair) heal() {
	p.link(func(l *proxy.Proxy) { l.SetDelay(0); l.SetBandwidth(0); l.Heal() })
}

// moved is how many bytes have gone through the link so far.
func (p *pair) moved() int64 { return p.links[0].Forwarded() + p.links[1].Forwarded() }

// close ends both sites, with SIGKILL, and the network.
func (p *pair) close() {
	for i, s := range p.sites {
		s.kill()
		p.links[i].Close()
	}
}

// start runs the process and does not wait until it is ready.
func (s *site) start() error {
	log, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	args := []string{"serve"}
	for _, setting := range slices.Concat(s.set, s.more) {
		args = append(args, "--set", setting)
	}
	s.command = exec.Command(s.binary, args...)
	s.command.Stdout, s.command.Stderr = log, log
	if err := s.command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	command, ended := s.command, make(chan struct{})
	s.ended, s.stopped = ended, false
	go func() { // ends with the process, awaited by kill
		_ = command.Wait()
		close(ended)
	}()
	return nil
}

func (s *site) running() bool {
	if s.ended == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// stopLimit bounds how long a process may take to end after SIGTERM.
const stopLimit = 30 * time.Second

// terminate ends the process with SIGTERM, and wants it to end well.
func (s *site) terminate(ctx context.Context) error {
	s.stopped = true
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM to %s: %w", s.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	select {
	case <-s.ended:
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended within %s of SIGTERM\n%s", s.name, stopLimit, s.logTail())
	}
	if code := s.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %d after SIGTERM\n%s", s.name, code, s.logTail())
	}
	return nil
}

// kill ends the process with SIGKILL.
func (s *site) kill() {
	if s.ended == nil {
		return
	}
	s.stopped = true
	_ = s.command.Process.Kill() // it may have ended already
	<-s.ended
}

// died is an error if the process has ended and nobody killed it.
func (s *site) died() error {
	if s.ended != nil && !s.stopped && !s.running() {
		return fmt.Errorf("%s ended by itself: %s\n%s", s.name, s.command.ProcessState, s.logTail())
	}
	return nil
}

// waitReady waits until the process says that it is ready.
func (s *site) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	client := http.Client{Timeout: time.Second}
	return poll(ctx, 10*time.Millisecond, func() (bool, error) {
		if err := s.died(); err != nil {
			return false, err
		}
		response, err := client.Get("http://" + s.admin + "/readyz")
		ready := err == nil && response.StatusCode == http.StatusOK
		if err == nil {
			response.Body.Close()
		}
		return ready, nil
	}, func() string { return s.name + " is not ready" })
}

func (s *site) logTail() string {
	const linesMax = 20
	data, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-linesMax):], "\n")
}

// poll calls fn until it says yes, fails, or ctx ends, which is an error with the text of late.
func poll(ctx context.Context, every time.Duration, fn func() (bool, error), late func() string) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := fn(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New(late()), ctx.Err())
		case <-tick.C:
		}
	}
}
