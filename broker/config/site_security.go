package config

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// SiteSecurity is the mutual TLS between two sites, as Kafka's ssl.* keys say it: those of the listener (listener.name.<name>.ssl.*)
// go before the general ones. PEM alone. SiteSecurity.TLS reads it.
type SiteSecurity struct {
	KeyStore   string // a file with the private key and the certificate chain; "" = Key and Chain
	Key, Chain string // PEM
	TrustStore string // a file with the certificates of who signs; "" = Trusted
	Trusted    string // PEM
	VersionMin uint16 // tls.VersionTLS12 or tls.VersionTLS13
	// CheckHost: whoever is dialled must have a certificate for the host that site.peers has. Off where
	// ssl.endpoint.identification.algorithm is empty.
	CheckHost bool
}

// siteSecurityKeys are what readSiteSecurity knows of a listener.
var siteSecurityKeys = []string{
	"ssl.client.auth", "ssl.enabled.protocols", "ssl.endpoint.identification.algorithm", "ssl.key.password",
	"ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.keystore.location", "ssl.keystore.password", "ssl.keystore.type",
	"ssl.truststore.certificates", "ssl.truststore.location", "ssl.truststore.password", "ssl.truststore.type",
}

// siteSecurityKey says whether a key is one of the listener for the other site.
func (l *loader) siteSecurityKey(key string) bool {
	return l.text(siteName) != "" && strings.HasPrefix(key, sitePrefix(l.siteListenerName()))
}

func sitePrefix(listener string) string { return "listener.name." + strings.ToLower(listener) + "." }

// failAt is fail for a key that is in no table. Its value is not shown: it may be a private key.
func (l *loader) failAt(key, format string, args ...any) {
	place := "default"
	if v, ok := l.values[key]; ok {
		place = v.place
	}
	l.errs = append(l.errs, fmt.Errorf("%s: %s: %s", place, key, fmt.Sprintf(format, args...)))
}

// siteValue finds the value of an ssl.* key for the listener, and the key that has it. Source: Kafka
// AbstractConfig.valuesWithPrefixOverride.
func (l *loader) siteValue(listener, name string) (text, key string) {
	key = sitePrefix(listener) + name
	if v, ok := l.values[key]; ok {
		return strings.TrimSpace(v.text), key
	}
	if _, set := l.values[name]; set {
		return l.text(name), name
	}
	return l.text(name), key
}

// readSiteSecurity reads the listener's keys, so that nothing of what protects the sites is left to a default.
func (l *loader) readSiteSecurity(listener string) *SiteSecurity {
	prefix := sitePrefix(listener)
	for _, key := range slices.Sorted(maps.Keys(l.values)) {
		if rest, ok := strings.CutPrefix(key, prefix); ok && !slices.Contains(siteSecurityKeys, rest) {
			l.failAt(key, "is not a key of the listener for the other site; did you mean %q?", prefix+nearestOf(rest, siteSecurityKeys))
		}
	}
	for _, name := range []string{"ssl.keystore.type", "ssl.truststore.type"} {
		if text, key := l.siteValue(listener, name); text != "PEM" {
			l.failAt(key, "is %s; accepted: PEM", text)
		}
	}
	for _, name := range []string{"ssl.keystore.password", "ssl.truststore.password", "ssl.key.password"} {
		if text, key := l.siteValue(listener, name); text != "" {
			l.failAt(key, "there are no encrypted keys and stores of type PEM here; accepted: a key that is not encrypted, and leave this out")
		}
	}
	// Of the listener alone: the general one is about clients.
	if v, ok := l.values[prefix+"ssl.client.auth"]; ok && strings.TrimSpace(v.text) != "required" {
		l.failAt(prefix+"ssl.client.auth", "is %s; accepted: required", strings.TrimSpace(v.text))
	}
	s := &SiteSecurity{VersionMin: l.siteVersion(listener)}
	s.KeyStore, s.Key, s.Chain = l.keyStore(listener)
	s.TrustStore, s.Trusted = l.trustStore(listener)
	switch text, key := l.siteValue(listener, "ssl.endpoint.identification.algorithm"); strings.ToLower(text) {
	case "https":
		s.CheckHost = true
	case "":
	default:
		l.failAt(key, "is %s; accepted: https, or empty", text)
	}
	return s
}

func nearestOf(name string, names []string) string {
	return closest(name, names, len(name)+len(names[0])+100)
}

func (l *loader) keyStore(listener string) (location, key, chain string) {
	location, locationKey := l.siteValue(listener, "ssl.keystore.location")
	key, keyKey := l.siteValue(listener, "ssl.keystore.key")
	chain, chainKey := l.siteValue(listener, "ssl.keystore.certificate.chain")
	switch {
	case location != "" && (key != "" || chain != ""):
		l.failAt(locationKey, "the key is here and in ssl.keystore.key or .certificate.chain; accepted: one of the two ways")
	case location != "":
	case key == "" && chain == "":
		l.failAt(locationKey, "%s is protected by TLS and has no key; accepted: a PEM file with private key and certificates, or ssl.keystore.key and .certificate.chain; or %s:PLAINTEXT in %s",
			listener, listener, protocolMap)
	case key == "":
		l.failAt(keyKey, "is missing beside ssl.keystore.certificate.chain")
	case chain == "":
		l.failAt(chainKey, "is missing beside ssl.keystore.key")
	}
	return location, key, chain
}

func (l *loader) trustStore(listener string) (location, trusted string) {
	location, key := l.siteValue(listener, "ssl.truststore.location")
	trusted, _ = l.siteValue(listener, "ssl.truststore.certificates")
	switch {
	case location != "" && trusted != "":
		l.failAt(key, "the certificates are here and in ssl.truststore.certificates; accepted: one of the two ways")
	case location == "" && trusted == "":
		l.failAt(key, "%s is protected by TLS and trusts nobody; accepted: a PEM file with the certificates of who signs those of both sites, or ssl.truststore.certificates", listener)
	}
	return location, trusted
}

func (l *loader) siteVersion(listener string) uint16 {
	text, key := l.siteValue(listener, "ssl.enabled.protocols")
	least := uint16(tls.VersionTLS13)
	for _, protocol := range SplitList(text) {
		switch protocol {
		case "TLSv1.3":
		case "TLSv1.2":
			least = tls.VersionTLS12
		default:
			l.failAt(key, "has %s; accepted: TLSv1.3 with or without TLSv1.2", protocol)
		}
	}
	if !slices.Contains(SplitList(text), "TLSv1.3") {
		l.failAt(key, "is %q; accepted: TLSv1.3 with or without TLSv1.2", text)
	}
	return least
}
