package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
	"github.com/tandembroker/tandem/bench/internal/process"
)

// place is where a site's broker runs, and how others reach it. All but via are host:port.
type place struct {
	listen, link       string // what it listens on for clients, and for the other site
	address, linkedAs  string // what clients, and the other site, are told
	peer               string // by which it reaches the other site
	admin              string
	via                []string // see tandem.via
	silence, heal, end func() error
}

// loopback are two sites with nothing between them.
func loopback() (east, west place, err error) {
	a, err := process.FreeAddresses(6)
	if err != nil {
		return east, west, err
	}
	at := func(a []string, peer string) place {
		return place{listen: a[0], address: a[0], link: a[1], linkedAs: a[1], admin: a[2], peer: peer}
	}
	return at(a[:3], a[4]), at(a[3:], a[1]), nil
}

// behindHole are two sites of which west can be made to vanish: packets to it and of it are dropped, and nobody is told. Where the system
// lets us, it is in a network namespace of its own; elsewhere behind proxies that swallow all, where a connection can still be opened.
func behindHole(ctx context.Context) (east, west place, err error) {
	east, west, err = inNamespace(ctx)
	if err == nil {
		fmt.Println("    the hole: a network namespace whose link is taken down")
		return east, west, nil
	}
	fmt.Printf("    the hole: proxies that swallow everything (%v)\n", err)
	return behindProxies()
}

// inNamespace puts west into a network namespace. Who dials it knows its hardware address for good: a host behind a router that is gone is
// not found missing either.
func inNamespace(ctx context.Context) (east, west place, err error) {
	n := os.Getpid() % (1 << 14)
	name := fmt.Sprintf("tandem%d", n)
	host := func(i int) string { return fmt.Sprintf("198.18.%d.%d", n>>6, n&63*4+i) } // of those for measurements (RFC 2544)
	outer, inner := host(1), host(2)
	ip := func(line string) error {
		_, err := command(ctx, nil, "ip", strings.Fields(line)...)
		return err
	}
	end := func() error {
		_, err := command(context.WithoutCancel(ctx), nil, "ip", "link", "del", name+"a") // both ends go
		_, err2 := command(context.WithoutCancel(ctx), nil, "ip", "netns", "del", name)
		return errors.Join(err, err2)
	}
	if err := ip("netns add " + name); err != nil {
		return east, west, err
	}
	up := func() error {
		for _, line := range []string{
			"link add " + name + "a type veth peer name " + name + "b netns " + name,
			"addr add " + outer + "/30 dev " + name + "a", "link set " + name + "a up",
			"-n " + name + " addr add " + inner + "/30 dev " + name + "b", "-n " + name + " link set lo up", "-n " + name + " link set " + name + "b up",
		} {
			if err := ip(line); err != nil {
				return err
			}
		}
		hardware, err := command(ctx, nil, "ip", "netns", "exec", name, "cat", "/sys/class/net/"+name+"b/address")
		if err != nil {
			return err
		}
		return ip("neigh replace " + inner + " lladdr " + strings.TrimSpace(hardware) + " dev " + name + "a nud permanent")
	}
	if err := up(); err != nil {
		return east, west, errors.Join(err, end())
	}
	at := func(host, peer string) place {
		p := place{listen: net.JoinHostPort(host, "9092"), link: net.JoinHostPort(host, "9192"), admin: net.JoinHostPort(host, "9292"), peer: net.JoinHostPort(peer, "9192")}
		p.address, p.linkedAs = p.listen, p.link
		return p
	}
	east, west = at(outer, inner), at(inner, outer)
	west.via = []string{"ip", "netns", "exec", name}
	west.silence = func() error { return ip("-n " + name + " link set " + name + "b down") }
	west.heal = func() error { return ip("-n " + name + " link set " + name + "b up") }
	west.end = end
	return east, west, nil
}

// behindProxies puts proxies before west's listeners, and on its way to east.
func behindProxies() (east, west place, err error) {
	if east, west, err = loopback(); err != nil {
		return east, west, err
	}
	var all []*proxy.Proxy
	each := func(do func(*proxy.Proxy)) func() error {
		return func() error {
			for _, p := range all {
				do(p)
			}
			return nil
		}
	}
	west.silence, west.heal, west.end = each((*proxy.Proxy).HalfOpen), each((*proxy.Proxy).Heal), each((*proxy.Proxy).Close)
	for to, as := range map[string]*string{west.listen: &west.address, west.link: &west.linkedAs, east.link: &west.peer} {
		p, err := proxy.Listen(to)
		if err != nil {
			return east, west, errors.Join(err, west.end())
		}
		all = append(all, p)
		*as = p.Addr()
	}
	east.peer = west.linkedAs
	return east, west, nil
}
