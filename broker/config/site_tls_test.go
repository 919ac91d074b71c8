package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	_, a.key, a.cert = a.make(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) pem() string { return encodePEM("CERTIFICATE", a.cert.Raw) }

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// sign makes a key store for a host.
func (a *authority) sign(host string, until time.Time) (key, chain string) {
	template := &x509.Certificate{NotAfter: until, DNSNames: []string{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(host); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, private, _ := a.make(host, template)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return encodePEM("PRIVATE KEY", text), encodePEM("CERTIFICATE", der)
}

func (a *authority) make(name string, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(1), pkix.Name{CommonName: name}
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key, cert
}

// files are the files of both sites.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	return []byte(text), nil
}

func (f files) config(t *testing.T, s SiteSecurity) *tls.Config {
	t.Helper()
	s.VersionMin = tls.VersionTLS12
	c, err := s.TLS(TLSOptions{ReadFile: f.read})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// meet connects two sites, the client having dialled host, and passes a word each way.
func meet(t *testing.T, client, server *tls.Config, host string) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	served := make(chan error, 1)
	go func() { // ends with the connection
		far, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer far.Close()
		conn := tls.Server(far, server)
		word := make([]byte, 4)
		_, err = conn.Read(word)
		if err == nil {
			_, err = conn.Write(bytes.ToUpper(word))
		}
		served <- err
	}()
	client = client.Clone()
	client.ServerName = host
	conn := tls.Client(near, client)
	_ = near.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Write([]byte("word"))
	if err == nil {
		_, err = conn.Read(make([]byte, 4)) // with TLS 1.3 a server refuses a client's certificate here
	}
	near.Close()
	if serverErr := <-served; serverErr != nil && err != nil {
		return fmt.Errorf("%w; server: %w", err, serverErr)
	}
	return err
}

func TestSitesTrustOnlyWhomTheyAreTold(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	hour := time.Now().Add(time.Hour)
	store := func(a *authority, host string, until time.Time) string {
		key, chain := a.sign(host, until)
		return "a word in front\n" + key + chain
	}
	f := files{
		"east": store(ours, "east.example", hour), "west": store(ours, "west.example", hour), "ip": store(ours, "127.0.0.1", hour),
		"foreign": store(theirs, "east.example", hour), "old": store(ours, "east.example", time.Now().Add(-time.Minute)),
		"ours": ours.pem(), "theirs": theirs.pem(), "both": theirs.pem() + ours.pem(),
	}
	site := func(store, trust string) SiteSecurity {
		return SiteSecurity{KeyStore: store, TrustStore: trust, CheckHost: true}
	}
	loose := func(s SiteSecurity) SiteSecurity { s.CheckHost = false; return s }
	for _, c := range []struct {
		what           string
		client, server SiteSecurity
		host           string
		want           string // "" = they meet
	}{
		{"two sites", site("west", "ours"), site("east", "ours"), "east.example", ""},
		{"an address", site("west", "ours"), site("ip", "ours"), "127.0.0.1", ""},
		{"another address", site("west", "ours"), site("ip", "ours"), "127.0.0.2", "127.0.0.2"},
		{"two authorities", site("west", "both"), site("foreign", "both"), "east.example", ""},
		{"another host", site("west", "ours"), site("east", "ours"), "north.example", "north.example"},
		{"another host, not looked at", loose(site("west", "ours")), site("east", "ours"), "north.example", ""},
		{"a foreign server", site("west", "ours"), site("foreign", "ours"), "east.example", "unknown authority"},
		{"a foreign server, host not looked at", loose(site("west", "ours")), site("foreign", "ours"), "east.example", "unknown authority"},
		{"a foreign client", site("foreign", "ours"), site("east", "ours"), "east.example", "unknown certificate authority"},
		{"a server out of date", site("west", "ours"), site("old", "ours"), "east.example", "expired"},
		{"a client out of date", site("old", "ours"), site("east", "ours"), "east.example", "expired"},
	} {
		err := meet(t, f.config(t, c.client), f.config(t, c.server), c.host)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	bare := &tls.Config{RootCAs: x509.NewCertPool()}
	bare.RootCAs.AddCert(ours.cert)
	if err := meet(t, bare, f.config(t, site("east", "ours")), "east.example"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a client without a certificate: %v", err)
	}
}

func TestChangedCertificatesCountAtOnce(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	hour := time.Now().Add(time.Hour)
	store := func(a *authority, host string) string {
		key, chain := a.sign(host, hour)
		return key + chain
	}
	f := files{"east": store(ours, "east.example"), "west": store(ours, "west.example"), "trust": ours.pem(), "west trust": ours.pem()}
	east := f.config(t, SiteSecurity{KeyStore: "east", TrustStore: "trust", CheckHost: true})
	west := f.config(t, SiteSecurity{KeyStore: "west", TrustStore: "west trust", CheckHost: true})
	try := func(what string, ok bool) {
		t.Helper()
		if err := meet(t, west, east, "east.example"); (err == nil) != ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	try("at first", true)
	f["west"] = "-----BEGIN half"
	try("with a file that is being written", true)
	f["west"] = store(theirs, "west.example")
	try("with a certificate that the other does not trust", false)
	f["trust"] += theirs.pem()
	try("with one that it has begun to trust", true)
	f["trust"] = theirs.pem()
	try("with the old one no longer trusted", true)
	f["west"] = store(ours, "west.example")
	try("with the old one again", false)
}

// TestPEMOnOneLine: in a properties file PEM may be one line, or continued with blanks, as Kafka takes it.
func TestPEMOnOneLine(t *testing.T) {
	a := newAuthority(t, "ours")
	key, chain := a.sign("h", time.Now().Add(time.Hour))
	flat := func(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", " ") }
	s := SiteSecurity{Key: flat(key), Chain: flat(chain), Trusted: flat(a.pem()) + " " + flat(a.pem()), CheckHost: true}
	if err := meet(t, files{}.config(t, s), files{}.config(t, s), "h"); err != nil {
		t.Error(err)
	}
}

func TestUselessCertificatesAreRefused(t *testing.T) {
	a := newAuthority(t, "ours")
	key, chain := a.sign("h", time.Now().Add(time.Hour))
	other, _ := a.sign("h", time.Now().Add(time.Hour))
	for want, f := range map[string]files{
		"open k":              {"t": chain},
		"open t":              {"k": key + chain},
		"key store k: must":   {"k": key, "t": chain},
		"private key and its": {"k": chain, "t": chain},
		"two private keys":    {"k": key + other + chain, "t": chain},
		"does not match":      {"k": other + chain, "t": chain},
		"is encrypted":        {"k": strings.ReplaceAll(key, "PRIVATE", "ENCRYPTED PRIVATE") + chain, "t": chain},
		"trust store t: must": {"k": key + chain, "t": key},
		"malformed":           {"k": key + chain, "t": encodePEM("CERTIFICATE", []byte("x"))},
	} {
		s := SiteSecurity{KeyStore: "k", TrustStore: "t"}
		if _, err := s.TLS(TLSOptions{ReadFile: f.read}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzPEM(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE----- AA== -----END CERTIFICATE-----"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = readTrustStore(text)
		if c, err := readKeyStore(text); err == nil && c.PrivateKey == nil {
			t.Error("a key store without a key")
		}
	})
}
