package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
	"github.com/tandembroker/tandem/bench/internal/process"
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

	process *process.Process // nil before the first start
}

// pair is two sites and the network between them. Faults of the link hit both directions of dialling.
type pair struct {
	sites [2]*site
	links [2]*proxy.Proxy // links[i] leads to sites[i]
}

func newPair(binary, dir string) (*pair, error) {
	addresses, err := process.FreeAddresses(6)
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
func (s *site) start() (err error) {
	args := process.Serve(s.binary, slices.Concat(s.set, s.more)...)
	s.process, err = process.Start(process.Command{Name: s.name, Args: args, Log: s.logFile})
	return err
}

// stopLimit bounds how long a process may take to end after SIGTERM.
const stopLimit = 30 * time.Second

// terminate ends the process with SIGTERM, and wants it to end well.
func (s *site) terminate() error { return s.process.Stop(stopLimit) }

// kill ends the process with SIGKILL.
func (s *site) kill() { s.process.Kill() }

// waitReady waits until the process says that it is ready.
func (s *site) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return s.process.AwaitReady(ctx, s.admin)
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
