package config

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Site is what a broker of a pair of sites is told of it.
type Site struct {
	Name  string
	Role  string // active, standby, or "" = not said; counts at the first start only
	Index int    // which site epochs are the site's; -1 = not said, and no role that says it. Counts at the first start only

	Listener *Listener // for the other site's brokers, never advertised; nil = this broker only dials
	Peer     string    // name of the other site; "" = not said, this broker only waits to be dialled
	Peers    []string  // host:port of the other site's brokers

	// Security is nil where listener.security.protocol.map has PLAINTEXT for the listener.
	Security *SiteSecurity

	FenceAfter         time.Duration // dr.fence.after.ms; 0 = no lease
	FailoverSilenceMax time.Duration
	DeleteDelay        time.Duration
	RetentionHoldBytes int64
	ThrottleBytes      int64 // a second; 0 = as much as goes
	Compress           bool

	include, exclude []*regexp.Regexp
}

const (
	siteName     = "site.name"
	siteListener = "site.listener.name"
	sitePeers    = "site.peers"
)

var siteNames = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// Ships says whether the topic is one that goes to the other site. Groups and transactions always do: both sites need them.
func (s *Site) Ships(topic string) bool {
	if topic == "__consumer_offsets" || topic == "__transaction_state" {
		return true
	}
	matches := func(p *regexp.Regexp) bool { return p.MatchString(topic) }
	return slices.ContainsFunc(s.include, matches) && !slices.ContainsFunc(s.exclude, matches)
}

// site reads the keys of two sites; all of them mean nothing without a name.
func (l *loader) site() *Site {
	name := l.text(siteName)
	if name == "" {
		for _, k := range siteKeys {
			if _, set := l.values[k.Name]; set {
				l.fail(k.Name, "is for a broker of a pair of sites; accepted: together with %s", siteName)
			}
		}
		return nil
	}
	if !siteNames.MatchString(name) {
		l.fail(siteName, "must be 1 to 64 letters, digits, dots, - and _")
	}
	s := &Site{
		Name: name, Role: l.text("site.role"), Index: l.siteIndex(),
		FenceAfter:         milliseconds(l.integer("dr.fence.after.ms")),
		FailoverSilenceMax: milliseconds(l.integer("dr.failover.silence.max.ms")),
		DeleteDelay:        milliseconds(l.integer("dr.delete.delay.ms")),
		RetentionHoldBytes: l.integer("dr.retention.hold.bytes"),
		ThrottleBytes:      max(l.integer("dr.throttle.bytes.per.second"), 0),
		Compress:           l.text("dr.compression") == "zstd",
		include:            l.patterns("dr.topics.include"),
		exclude:            l.patterns("dr.topics.exclude"),
	}
	l.peers(s)
	return s
}

func (l *loader) siteIndex() int {
	if _, set := l.values["site.index"]; set {
		return int(l.integer("site.index"))
	}
	switch l.text("site.role") {
	case "active":
		return 0
	case "standby":
		return 1
	}
	return -1
}

func (l *loader) patterns(key string) (all []*regexp.Regexp) {
	for _, text := range SplitList(l.text(key)) {
		p, err := regexp.Compile(`^(?:` + text + `)$`)
		if err != nil {
			l.fail(key, "%q must be a regular expression of RE2's syntax, such as orders\\..*: %s", text, err)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (l *loader) peers(s *Site) {
	for _, text := range SplitList(l.text(sitePeers)) {
		name, address, ok := strings.Cut(text, "@")
		host, portText, err := net.SplitHostPort(address)
		port, portErr := strconv.ParseUint(portText, 10, 16)
		switch {
		case !ok || !siteNames.MatchString(name) || err != nil || portErr != nil || host == "" || port == 0:
			l.fail(sitePeers, "%q must be NAME@host:port, with the name of the other site and a port from 1 to 65535", text)
		case name == s.Name:
			l.fail(sitePeers, "%q is this site itself (%s); accepted: brokers of the other site", text, siteName)
		case s.Peer != "" && name != s.Peer:
			l.fail(sitePeers, "%s and %s are two sites; accepted: brokers of one, the other site", s.Peer, name)
		case slices.Contains(s.Peers, address):
			l.fail(sitePeers, "%s occurs twice", address)
		default:
			s.Peer, s.Peers = name, append(s.Peers, address)
		}
	}
}

// siteListener takes the listener for the other site out of those for clients.
func (l *loader) siteListener(s *Site, bound, advertised []endpoint) (clientsBound, clientsAdvertised []endpoint) {
	if s == nil {
		return bound, advertised
	}
	name := l.siteListenerName()
	is := func(e endpoint) bool { return e.name == name }
	i := slices.IndexFunc(bound, is)
	if _, set := l.values[siteListener]; i < 0 && set {
		l.fail(siteListener, "is not the name of one of listeners")
	} else if i < 0 && len(s.Peers) == 0 && len(l.errs) == 0 {
		l.fail(siteName, "this broker could meet no other site; accepted: with %s, or with a listener %s in listeners", sitePeers, name)
	}
	if slices.ContainsFunc(advertised, is) {
		l.fail("advertised.listeners", "%s is for the other site, which finds it by its own %s; accepted: without it", name, sitePeers)
	}
	if i >= 0 {
		s.Listener = &Listener{Name: name, Host: bound[i].host, Port: bound[i].port}
		bound = slices.Delete(slices.Clone(bound), i, i+1)
	}
	s.Security = l.siteSecurity(s, name)
	return bound, advertised
}

func (l *loader) siteListenerName() string { return strings.ToUpper(l.text(siteListener)) }

// siteSecurity goes by the security that the map has for the listener's name; SSL where it has none.
func (l *loader) siteSecurity(s *Site, name string) *SiteSecurity {
	protocol, ok := l.protocols()[name]
	if !ok {
		protocol = "SSL"
	}
	switch protocol {
	case "SSL":
		return l.readSiteSecurity(name)
	case "PLAINTEXT":
		for _, key := range slices.Sorted(maps.Keys(l.values)) {
			if l.siteSecurityKey(key) {
				l.failAt(key, "%s is PLAINTEXT in %s, and not protected; accepted: %s:SSL there, or leave it out", name, protocolMap, name)
			}
		}
		if s.Listener != nil && !loopback(s.Listener.Host) {
			l.warn("ANYONE WHO REACHES THIS LISTENER CAN PASS FOR THE OTHER SITE AND READ AND WRITE EVERYTHING: no encryption, no authentication",
				[]string{fmt.Sprintf("%s://%s", name, s.Listener.Address())})
		}
	default:
		l.fail(protocolMap, "%s uses %s, which sites do not support; accepted: %s:SSL, or %s:PLAINTEXT", name, protocol, name, name)
	}
	return nil
}
