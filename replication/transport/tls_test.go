package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// authority signs certificates of brokers at 127.0.0.1.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{key, cert, pool}
}

// config is of a broker that a signed and that trusts a.
func (a authority) config(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: a.pool, ClientCAs: a.pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
}

func listener(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// until waits for a condition, up to a deadline.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTLSIsMutual(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	unsigned := ours.config(t)
	unsigned.Certificates = nil
	for name, c := range map[string]struct {
		config *tls.Config
		reason string // at the dialling side; "" = linked
	}{
		"both signed":           {ours.config(t), ""},
		"no certificate":        {unsigned, "certificate required"},
		"of another authority":  {foreign(theirs.config(t), ours), "unknown certificate authority"},
		"peer of another one":   {theirs.config(t), "signed by unknown authority"},
		"without TLS":           {nil, ""},
		"name is not in theirs": {named(ours.config(t), "elsewhere"), "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listener(t)
			e := start(t, east(), Options{Listener: l, TLS: ours.config(t), HandshakeTimeout: 2 * time.Second})
			w := start(t, west(), Options{Peers: []string{l.Addr().String()}, TLS: c.config, HandshakeTimeout: 2 * time.Second})
			if name == "both signed" {
				until(t, "connected", func() bool { return e.Connected(w.id()) && w.Connected(e.id()) })
				w.Send(e.id(), batch(0, 0, 1<<20), nil)
				until(t, "received", func() bool { return len(e.received()) == 1 })
				return
			}
			until(t, "refused", func() bool { return w.Status().Dials[0].LastError != "" && e.Status().TurnedDown.Count > 0 })
			if got := w.Status().Dials[0].LastError; !strings.Contains(got, c.reason) {
				t.Errorf("the dialling side shows %q, expected %q", got, c.reason)
			}
			if e.Connected(w.id()) || w.Connected(e.id()) {
				t.Error("connected")
			}
		})
	}
}

// foreign is config, signed by one that a peer of known does not know.
func foreign(config *tls.Config, known authority) *tls.Config {
	config.RootCAs = known.pool
	return config
}

func named(config *tls.Config, name string) *tls.Config {
	config.ServerName = name
	return config
}

func TestTLSWithoutClientCertificatesIsRefused(t *testing.T) {
	l := listener(t)
	o := Options{Self: west, Receive: func(PeerID, any, func()) {}, Listener: l, TLS: &tls.Config{MinVersion: tls.VersionTLS13}}
	if _, err := started(o); err == nil || !strings.Contains(err.Error(), "both sides") {
		t.Errorf("%v", err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}
