package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const plainSite = "listeners=PLAINTEXT://127.0.0.1:9092,SITE://127.0.0.1:9093\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT\n"

func TestSite(t *testing.T) {
	c := mustLoad(t, plainSite+"site.name=east\nsite.role=standby\nsite.peers=west@10.0.0.1:9093, west@[::1]:9094\ndr.fence.after.ms=9000\n"+
		"dr.topics.include=a.*,b\ndr.topics.exclude=abc\ndr.compression=zstd\ndr.mode=bounded\ndr.max.lag.ms=7", nil, nil)
	s := c.Site
	if s == nil || s.Name != "east" || s.Role != "standby" || s.Index != 1 || s.Peer != "west" || !slices.Equal(s.Peers, []string{"10.0.0.1:9093", "[::1]:9094"}) {
		t.Fatalf("site %+v", s)
	}
	if s.Listener == nil || s.Listener.Address() != "127.0.0.1:9093" || s.Security != nil || len(c.Listeners) != 1 || c.Listeners[0].Name != "PLAINTEXT" {
		t.Errorf("site listener %+v, security %+v, listeners for clients %+v", s.Listener, s.Security, c.Listeners)
	}
	if s.FenceAfter != 9*time.Second || s.FailoverSilenceMax != time.Minute || s.DeleteDelay != 24*time.Hour || s.ThrottleBytes != 0 || !s.Compress {
		t.Errorf("site %+v", s)
	}
	if c.Rack != "east" || !c.Topic.DRBounded || c.Topic.DRLagMaxMs != 7 {
		t.Errorf("rack %q, topic %+v", c.Rack, c.Topic)
	}
	for topic, want := range map[string]bool{"a": true, "abc": false, "abcd": true, "b": true, "bb": false, "__consumer_offsets": true, "__transaction_state": true} {
		if s.Ships(topic) != want {
			t.Errorf("%s ships: %v", topic, !want)
		}
	}
	for _, w := range c.Warnings {
		t.Errorf("warning: %+v", w)
	}
}

// TestSiteDefaults: without site.name there is no site; what it does not say is known later, or has the safe value.
func TestSiteDefaults(t *testing.T) {
	if c := mustLoad(t, "", nil, nil); c.Site != nil || c.Rack != "" || c.Topic.DRBounded {
		t.Errorf("site %+v, rack %q", c.Site, c.Rack)
	}
	for set, want := range map[string]int{"": -1, "site.role=active": 0, "site.role=standby": 1, "site.role=active\nsite.index=3": 3, "site.index=0": 0} {
		c := mustLoad(t, plainSite+"broker.rack=r\nsite.name=east\n"+set, nil, nil)
		if c.Site.Index != want || c.Rack != "r" || c.Site.Peer != "" || c.Site.FenceAfter != 0 {
			t.Errorf("%q: %+v, rack %q", set, c.Site, c.Rack)
		}
	}
	// A site that only dials.
	c := mustLoad(t, "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT\nsite.name=east\nsite.peers=west@h:1", nil, nil)
	if c.Site.Listener != nil || c.Site.Security != nil || len(c.Listeners) != 1 {
		t.Errorf("%+v", c.Site)
	}
	// A name of its own for the listener; the loud word about one that is open.
	c = mustLoad(t, "listeners=PLAINTEXT://127.0.0.1:9092,WAN://:9093\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,wan:plaintext\nsite.name=east\nsite.listener.name=wan", nil, nil)
	if message, ok := warned(c, "WAN://:9093"); !ok || !strings.Contains(message, "ANYONE") || c.Site.Listener.Name != "WAN" {
		t.Errorf("%+v, warnings %v", c.Site, c.Warnings)
	}
}

// TestSiteRefused lists settings of sites that do not start, each with words that the message must have.
func TestSiteRefused(t *testing.T) {
	const east = "site.name=east\n"
	const tls = "listeners=PLAINTEXT://127.0.0.1:9092,SITE://127.0.0.1:9093\nsite.name=east\n"
	const stores = "listener.name.site.ssl.keystore.type=PEM\nlistener.name.site.ssl.keystore.location=/k\n" +
		"listener.name.site.ssl.truststore.type=PEM\nlistener.name.site.ssl.truststore.location=/t\n"
	for _, c := range []struct {
		file string
		want []string
	}{
		{"site.role=active", []string{"site.role=active", "together with site.name"}},
		{"site.peers=west@h:1", []string{"site.peers=west@h:1", "together with site.name"}},
		{"dr.mode=bounded", []string{"dr.mode=bounded", "together with site.name"}},
		{plainSite + "site.name=e st", []string{"site.name=e st", "letters"}},
		{plainSite + east + "site.role=primary", []string{"site.role=primary", "active, standby"}},
		{plainSite + east + "site.index=4", []string{"site.index=4", "from 0 to 3"}},
		{plainSite + east + "site.peers=east@h:1", []string{"site.peers=", "this site itself"}},
		{plainSite + east + "site.peers=west@h:1,north@h:2", []string{"west and north"}},
		{plainSite + east + "site.peers=west@h:1,west@h:1", []string{"h:1 occurs twice"}},
		{plainSite + east + "site.peers=h:1", []string{`"h:1" must be NAME@host:port`}},
		{plainSite + east + "site.peers=west@h", []string{"NAME@host:port"}},
		{plainSite + east + "site.peers=west@:1", []string{"NAME@host:port"}},
		{plainSite + east + "site.peers=west@h:0", []string{"from 1 to 65535"}},
		{plainSite + east + "site.listener.name=WAN", []string{"site.listener.name=WAN", "not the name of one of listeners"}},
		{"site.name=east\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT", []string{"site.name=east", "site.peers", "listener SITE"}},
		{plainSite + east + "advertised.listeners=PLAINTEXT://h:1,SITE://h:2", []string{"advertised.listeners", "SITE is for the other site"}},
		{"listeners=SITE://127.0.0.1:9093\nlistener.security.protocol.map=SITE:PLAINTEXT\nsite.name=east", []string{"at least one listener for clients"}},
		{"listeners=PLAINTEXT://:1,SITE://:1\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT\nsite.name=east", []string{"the same port"}},
		{plainSite + east + "inter.broker.listener.name=SITE", []string{"inter.broker.listener.name=SITE"}},
		{plainSite + east + "dr.topics.include=a(", []string{"dr.topics.include=a(", "RE2"}},
		{plainSite + east + "dr.fence.after.ms=10", []string{"dr.fence.after.ms=10", "1000", "or 0"}},
		{plainSite + east + "dr.max.lag.ms=0", []string{"dr.max.lag.ms=0"}},
		{plainSite + east + "dr.compression=gzip", []string{"none, zstd"}},
		{tls + "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:SASL_SSL", []string{"SASL_SSL", "accepted: SITE:SSL"}},
		{tls, []string{"ssl.keystore.type", "is JKS; accepted: PEM", "has no key", "SITE:PLAINTEXT", "trusts nobody"}},
		{tls + stores + "listener.name.site.ssl.keystore.key=secret", []string{"one of the two ways"}},
		{tls + stores + "listener.name.site.ssl.truststore.certificates=secret", []string{"one of the two ways"}},
		{tls + strings.Replace(stores, "keystore.location=/k", "keystore.key=secret", 1), []string{"ssl.keystore.certificate.chain: is missing"}},
		{tls + stores + "listener.name.site.ssl.key.password=secret", []string{"listener.name.site.ssl.key.password", "not encrypted"}},
		{tls + stores + "listener.name.site.ssl.client.auth=none", []string{"ssl.client.auth: is none; accepted: required"}},
		{tls + stores + "listener.name.site.ssl.enabled.protocols=TLSv1.1,TLSv1.3", []string{"has TLSv1.1"}},
		{tls + stores + "ssl.enabled.protocols=TLSv1.2", []string{"ssl.enabled.protocols", "TLSv1.3 with or without"}},
		{tls + stores + "listener.name.site.ssl.endpoint.identification.algorithm=no", []string{"https, or empty"}},
		{tls + stores + "listener.name.site.ssl.keystore.locaton=/k", []string{`did you mean "listener.name.site.ssl.keystore.location"`}},
		{plainSite + east + "listener.name.site.ssl.keystore.location=/k", []string{"not protected", "accepted: SITE:SSL"}},
	} {
		_, err := load(c.file, nil, nil)
		if err == nil {
			t.Errorf("%q started", c.file)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q does not say %q", c.file, err, want)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q shows a secret", c.file, err)
		}
	}
}

// TestSiteSecurityKeys: the listener's keys go before the general ones, and are not warned of.
func TestSiteSecurityKeys(t *testing.T) {
	c := mustLoad(t, "listeners=PLAINTEXT://127.0.0.1:9092,SITE://:9093\nsite.name=east\nssl.keystore.type=PEM\nssl.keystore.location=/general\n"+
		"ssl.truststore.type=PEM\nssl.truststore.location=/trust\nlistener.name.site.ssl.keystore.location=/own\n"+
		"listener.name.site.ssl.endpoint.identification.algorithm=\nlistener.name.other.x=y", nil, nil)
	s := c.Site.Security
	if s == nil || s.KeyStore != "/own" || s.TrustStore != "/trust" || s.CheckHost || s.Key != "" {
		t.Fatalf("%+v", s)
	}
	if _, ok := warned(c, "listener.name.site.ssl.keystore.location"); ok {
		t.Error("a key that counts was warned of")
	}
	if _, ok := warned(c, "listener.name.other.x"); !ok {
		t.Error("a key that does nothing was not warned of")
	}
}
