package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Listener is a client listener: where it binds, and what clients are told.
type Listener struct {
	Name       string // upper case
	Host       string // "" = all interfaces
	Port       int    // 0 = a free port
	Advertised bool
	// AdvertisedHost and AdvertisedPort go into metadata; port 0 stands for the port that was bound.
	AdvertisedHost string
	AdvertisedPort int
}

// Address is host:port to listen on.
func (l Listener) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(l.Port)) }

type endpoint struct {
	name, host string
	port       int
}

// parseEndpoint reads NAME://host:port; host may be empty or an IPv6 address in brackets.
func parseEndpoint(text string) (endpoint, error) {
	name, address, ok := strings.Cut(text, "://")
	if !ok || name == "" {
		return endpoint{}, fmt.Errorf("%q must be NAME://host:port", text)
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q must be NAME://host:port", text)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q must end in a port from 0 to 65535", text)
	}
	return endpoint{strings.ToUpper(name), host, int(port)}, nil
}

// endpoints parses listeners or advertised.listeners without those of a KRaft controller, and names the ones left out.
func (l *loader) endpoints(key string, controller []string) (all []endpoint, dropped []string) {
	for _, text := range SplitList(l.text(key)) {
		e, err := parseEndpoint(text)
		if err != nil {
			l.fail(key, "%s", err)
			continue
		}
		if slices.Contains(controller, e.name) {
			dropped = append(dropped, text)
			continue
		}
		if slices.ContainsFunc(all, func(other endpoint) bool { return other.name == e.name }) {
			l.fail(key, "each listener must have a name of its own; %s occurs twice", e.name)
		}
		all = append(all, e)
	}
	return all, dropped
}

func (l *loader) listeners(c *Config, hostname func() (string, error)) {
	roles := SplitList(l.text("process.roles"))
	if len(roles) > 0 && !slices.Contains(roles, "broker") {
		l.fail("process.roles", "there is no separate controller here, and this process would serve no client; accepted: a list with broker in it")
	}
	controller := SplitList(strings.ToUpper(l.text("controller.listener.names")))
	bound, dropped := l.endpoints("listeners", controller)
	advertised, droppedToo := l.endpoints("advertised.listeners", controller)
	if len(dropped)+len(droppedToo) > 0 {
		l.warn("controller listeners are left out: every broker is part of the metadata quorum here", append(dropped, droppedToo...))
	}
	l.checkPorts(bound)
	bound, advertised = l.siteListener(c.Site, bound, advertised)
	if len(bound) == 0 && len(l.errs) == 0 {
		l.fail("listeners", "must name at least one listener for clients")
	}
	l.checkProtocols(bound)
	for _, e := range bound {
		c.Listeners = append(c.Listeners, l.advertise(e, advertised, hostname))
	}
	for _, a := range advertised {
		if !slices.ContainsFunc(bound, func(e endpoint) bool { return e.name == a.name }) {
			l.fail("advertised.listeners", "%s is not one of listeners", a.name)
		}
	}
	l.interBroker(c)
	l.adminListener(c)
}

// checkProtocols refuses what would be served without the protection that it asks for.
func (l *loader) checkProtocols(bound []endpoint) {
	protocols := l.protocols()
	for _, pair := range SplitList(l.text(protocolMap)) {
		if !strings.Contains(pair, ":") {
			l.fail(protocolMap, "%q must be NAME:PROTOCOL", pair)
		}
	}
	var open []string
	for _, e := range bound {
		switch protocol, ok := protocols[e.name]; {
		case !ok:
			l.fail("listeners", "%s has no entry in listener.security.protocol.map", e.name)
		case protocol != "PLAINTEXT":
			l.fail("listeners", "%s uses %s, which is not supported yet; accepted: PLAINTEXT", e.name, protocol)
		case !loopback(e.host):
			open = append(open, fmt.Sprintf("%s://%s", e.name, net.JoinHostPort(e.host, strconv.Itoa(e.port))))
		}
	}
	l.warn("ANYONE WHO REACHES THESE LISTENERS CAN READ AND WRITE EVERYTHING: no encryption, no authentication", open)
}

const protocolMap = "listener.security.protocol.map"

// protocols is what listener.security.protocol.map says, in upper case.
func (l *loader) protocols() map[string]string {
	protocols := map[string]string{}
	for _, pair := range SplitList(l.text(protocolMap)) {
		if name, protocol, ok := strings.Cut(pair, ":"); ok {
			protocols[strings.ToUpper(strings.TrimSpace(name))] = strings.ToUpper(strings.TrimSpace(protocol))
		}
	}
	return protocols
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func (l *loader) checkPorts(bound []endpoint) {
	for i, e := range bound {
		for _, other := range bound[:i] {
			if e.port != 0 && e.port == other.port && (e.host == other.host || e.host == "" || other.host == "") {
				l.fail("listeners", "%s and %s have the same port", other.name, e.name)
			}
		}
	}
}

func (l *loader) advertise(e endpoint, advertised []endpoint, hostname func() (string, error)) Listener {
	out := Listener{Name: e.name, Host: e.host, Port: e.port}
	if len(advertised) > 0 {
		i := slices.IndexFunc(advertised, func(a endpoint) bool { return a.name == e.name })
		if i < 0 {
			return out
		}
		out.Advertised, out.AdvertisedHost, out.AdvertisedPort = true, advertised[i].host, advertised[i].port
	} else {
		out.Advertised, out.AdvertisedHost, out.AdvertisedPort = true, e.host, e.port
	}
	if ip := net.ParseIP(out.AdvertisedHost); ip != nil && ip.IsUnspecified() {
		key := "listeners"
		if len(advertised) > 0 {
			key = "advertised.listeners"
		}
		l.fail(key, "%s: clients cannot connect to %s; name the host that they should use in advertised.listeners", e.name, out.AdvertisedHost)
	}
	if out.AdvertisedHost != "" {
		return out
	}
	if hostname != nil {
		if name, err := hostname(); err == nil && name != "" {
			out.AdvertisedHost = name
			return out
		}
	}
	l.fail("advertised.listeners", "%s listens on all interfaces and this machine's name is not known; name the host that clients should use", e.name)
	return out
}

func (l *loader) interBroker(c *Config) {
	name := strings.ToUpper(l.text("inter.broker.listener.name"))
	key := "inter.broker.listener.name"
	if name == "" {
		key = "security.inter.broker.protocol"
		name = l.text(key)
		if _, set := l.values[key]; !set && len(c.Listeners) > 0 {
			name = c.Listeners[0].Name // as far as it matters: with one broker no one connects
		}
	}
	if len(c.Listeners) > 0 && !slices.ContainsFunc(c.Listeners, func(x Listener) bool { return x.Name == name }) {
		l.fail(key, "is not the name of one of listeners")
	}
	c.InterBroker = name
}

func (l *loader) adminListener(c *Config) {
	c.AdminListener = l.text("admin.listener")
	_, set := l.values["admin.listener"]
	c.AdminMayMove = !set
	if c.AdminListener == "" {
		return
	}
	host, portText, err := net.SplitHostPort(c.AdminListener)
	if _, portErr := strconv.ParseUint(portText, 10, 16); err != nil || portErr != nil {
		l.fail("admin.listener", "must be host:port with a port from 0 to 65535, or empty for none")
		return
	}
	if !loopback(host) {
		l.warn("the admin listener (metrics, profiles) is open to other machines", []string{c.AdminListener})
	}
}
