//go:build linux && (amd64 || arm64)

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signer is who signs the certificates of sites.
type signer struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newSigner(t *testing.T) *signer {
	s := &signer{t: t}
	s.key, s.cert = s.make(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, time.Now().Add(time.Hour))
	return s
}

func (s *signer) make(template *x509.Certificate, until time.Time) (*ecdsa.PrivateKey, *x509.Certificate) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "site"}
	template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), until
	parent, private := template, key
	if s.cert != nil {
		parent, private = s.cert, s.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, private)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return key, cert
}

func (s *signer) trust() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
}

// sign makes a private key and its certificate for 127.0.0.1, in force until then.
func (s *signer) sign(until time.Time) (key, chain string) {
	s.t.Helper()
	private, cert := s.make(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, until)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

const siteSSL = "listener.name.site.ssl."

// files gives a site its certificates in files; they are read again when they change.
func (s *signer) files(site *siteProcess, until time.Time, trusted string) {
	s.t.Helper()
	key, chain := s.sign(until)
	site.set["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,SITE:SSL"
	for name, text := range map[string]string{"keystore": key + chain, "truststore": trusted} {
		path := filepath.Join(filepath.Dir(site.dir), site.name+"."+name+".pem")
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			s.t.Fatal(err)
		}
		site.set[siteSSL+name+".type"], site.set[siteSSL+name+".location"] = "PEM", path
	}
}

// TestWhoHasNoCertificate is not spoken to by a site, and disturbs nothing, however often he comes.
func TestWhoHasNoCertificate(t *testing.T) {
	t.Parallel()
	east, west := newSites(t)
	s, other := newSigner(t), newSigner(t)
	s.files(east, time.Now().Add(time.Hour), s.trust())
	s.files(west, time.Now().Add(time.Hour), s.trust())
	east.start()
	west.start()
	east.write("t", 10, 10)
	west.has("t")
	stranger := func(s *signer) tls.Certificate {
		key, chain := s.sign(time.Now().Add(time.Hour))
		c, err := tls.X509KeyPair([]byte(chain), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, with := range map[string]*tls.Config{
		"none":                      {InsecureSkipVerify: true},
		"one of another signer":     {InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger(other)}},
		"one, and an old TLS":       {InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger(s)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"one, and nothing to say":   nil,
		"one, and another protocol": {InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger(s)}},
	} {
		for range 5 {
			c, err := net.Dial("tcp", east.own)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			spoken := c
			if with != nil {
				spoken = tls.Client(c, with)
			}
			_, _ = io.WriteString(spoken, "GET / HTTP/1.1\r\nHost: east\r\n\r\n") // refused by then, or not: nothing comes in any case
			if b, err := io.ReadAll(spoken); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			_ = c.Close()
		}
	}
	if n := east.linesOf("level=WARN", "site link"); n < 1 || n > 12 {
		t.Errorf("%d lines about 25 strangers", n)
	}
	east.write("t", 10, 10)
	for _, s := range []*siteProcess{east, west} {
		s.green()
		s.does(0, "verify", "equal: ")
	}
}

// TestSiteListenerWithoutACertificate does not start, and says which settings are missing.
func TestSiteListenerWithoutACertificate(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	key, chain := s.sign(time.Now().Add(time.Hour))
	pem := func(store string, set ...string) []string {
		all := []string{siteSSL + store + ".type=PEM"}
		for _, text := range set {
			all = append(all, siteSSL+store+"."+text)
		}
		return all
	}
	own, trust := pem("keystore", "key="+key, "certificate.chain="+chain), pem("truststore", "certificates="+s.trust())
	for name, c := range map[string]struct {
		set  []string
		code int
		says string
	}{
		"nothing":        {nil, exitUsage, siteSSL + "keystore.location: SITE is protected by TLS and has no key"},
		"no trust":       {own, exitUsage, siteSSL + "truststore.location: SITE is protected by TLS and trusts nobody"},
		"no key":         {trust, exitUsage, siteSSL + "keystore.location: SITE is protected by TLS and has no key"},
		"a missing file": {append(pem("keystore", "location=/nowhere"), trust...), exitFailed, "/nowhere: no such file"},
	} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), self, "serve", "--set", "log.dirs="+t.TempDir(), "--set", "admin.listener=", "--set", "site.name=east", "--set", "site.role=active",
			"--set", "site.peers=west@127.0.0.1:1", "--set", "listeners=PLAINTEXT://127.0.0.1:0,SITE://127.0.0.1:0")
		for _, set := range c.set {
			command.Args = append(command.Args, "--set", set)
		}
		command.Env = append(os.Environ(), beTandem+"=1")
		late := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
		out, err := command.CombinedOutput()
		late.Stop()
		if code := command.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: %v, exit code %d, want %d and %q\n%s", name, err, code, c.code, c.says, out)
		}
	}
}

// inline gives a site its certificates in its settings.
func (s *signer) inline(site *siteProcess) {
	s.t.Helper()
	key, chain := s.sign(time.Now().Add(time.Hour))
	site.change("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:SSL", siteSSL+"keystore.type=PEM", siteSSL+"truststore.type=PEM")
	site.set[siteSSL+"keystore.key"], site.set[siteSSL+"keystore.certificate.chain"], site.set[siteSSL+"truststore.certificates"] = key, chain, s.trust()
}
