//go:build linux && (amd64 || arm64)

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
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

// inline gives a site its certificates in its settings.
func (s *signer) inline(site *siteProcess) {
	s.t.Helper()
	key, chain := s.sign(time.Now().Add(time.Hour))
	site.change("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:SSL", siteSSL+"keystore.type=PEM", siteSSL+"truststore.type=PEM")
	site.set[siteSSL+"keystore.key"], site.set[siteSSL+"keystore.certificate.chain"], site.set[siteSSL+"truststore.certificates"] = key, chain, s.trust()
}
