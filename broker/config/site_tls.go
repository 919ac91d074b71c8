package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// TLSOptions is what SiteSecurity.TLS needs of the world around it.
type TLSOptions struct {
	ReadFile func(path string) ([]byte, error) // os.ReadFile; required where there are files
	Now      func() time.Time                  // what certificates are valid at; nil = time.Now
	Logger   *slog.Logger                      // is told of changed files; nil = nobody
}

// TLS makes the one configuration that serves both ends of a connection between sites. As a server it asks for a certificate of
// who dials, and refuses without one that the trust store vouches for, whatever the name in it. As a client it needs
// ServerName, the host that was dialled, set in a clone (tls.Dial does that). The peer's certificate must be for it, unless
// CheckHost is off. Files are read again for each connection; while what they have cannot be used, what they had before is. A client
// that checks the host finds whom to trust now in what GetConfigForClient returns (ClientCAs). Errors: the files cannot be read or used now.
func (s *SiteSecurity) TLS(o TLSOptions) (*tls.Config, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &siteCertificates{security: s, options: o}
	if err := k.refresh(); err != nil {
		return nil, fmt.Errorf("TLS of the site listener: %w", err)
	}
	c := &tls.Config{
		MinVersion: s.VersionMin, Time: o.Now, RootCAs: k.mu.trusted,
		ClientAuth:         tls.RequireAndVerifyClientCert, // as server says for each connection; here for who looks before there is one
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.server(), nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, _ := k.current()
			return &certificate, nil
		},
	}
	if !s.CheckHost {
		c.InsecureSkipVerify, c.VerifyConnection = true, k.checkServer // crypto/tls checks no chain without a name
	}
	return c, nil
}

// siteCertificates are the certificates of the sites as the files have them now.
type siteCertificates struct {
	security *SiteSecurity
	options  TLSOptions
	mu       struct {
		sync.Mutex
		store, trust []byte // what the two below were made of
		certificate  tls.Certificate
		trusted      *x509.CertPool
		failed       string // the last error that was logged; "" = the files are in use
	}
}

// current is what the files have, or had when they last could be used.
func (k *siteCertificates) current() (tls.Certificate, *x509.CertPool) {
	err := k.refresh()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil && err.Error() != k.mu.failed:
		k.mu.failed = err.Error()
		k.options.Logger.Error("changed certificates of the site listener cannot be used, those of before stay", "error", err)
	case err == nil:
		k.mu.failed = ""
	}
	return k.mu.certificate, k.mu.trusted
}

// refresh reads the files, and takes over what they have if all of it can be used.
func (k *siteCertificates) refresh() error {
	s := k.security
	store, trust := []byte(s.Key+"\n"+s.Chain), []byte(s.Trusted)
	for _, f := range []struct {
		path string
		text *[]byte
	}{{s.KeyStore, &store}, {s.TrustStore, &trust}} {
		if f.path == "" {
			continue
		}
		var err error
		if *f.text, err = k.options.ReadFile(f.path); err != nil {
			return err // names the file
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.trusted != nil && bytes.Equal(store, k.mu.store) && bytes.Equal(trust, k.mu.trust) {
		return nil
	}
	certificate, err := readKeyStore(store)
	if err != nil {
		return fmt.Errorf("key store %s: %w", orElse(s.KeyStore, "in ssl.keystore.key and .certificate.chain"), err)
	}
	trusted, err := readTrustStore(trust)
	if err != nil {
		return fmt.Errorf("trust store %s: %w", orElse(s.TrustStore, "in ssl.truststore.certificates"), err)
	}
	if k.mu.trusted != nil {
		k.options.Logger.Info("certificates of the site listener have changed", "subject", certificate.Leaf.Subject.String(), "until", certificate.Leaf.NotAfter)
	}
	k.mu.store, k.mu.trust, k.mu.certificate, k.mu.trusted = store, trust, certificate, trusted
	return nil
}

// server is the configuration for one connection of somebody who dials.
func (k *siteCertificates) server() *tls.Config {
	certificate, trusted := k.current()
	return &tls.Config{
		MinVersion: k.security.VersionMin, Time: k.options.Now, Certificates: []tls.Certificate{certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted,
		SessionTicketsDisabled: true, // each connection is checked by what the files have then
	}
}

// checkServer decides on the certificate of who was dialled, by its chain alone. Source: crypto/tls.Conn.verifyServerCertificate.
func (k *siteCertificates) checkServer(c tls.ConnectionState) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("the other site has no certificate")
	}
	_, trusted := k.current()
	o := x509.VerifyOptions{Roots: trusted, CurrentTime: k.options.Now(), Intermediates: x509.NewCertPool()}
	for _, c := range c.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := c.PeerCertificates[0].Verify(o); err != nil {
		return fmt.Errorf("certificate of the other site: %w", err)
	}
	return nil
}

// pemBlock is one block of PEM, which in a properties file may stand on one line.
var pemBlock = regexp.MustCompile(`-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END ([A-Z0-9 ]+)-----`)

// pemBlocks returns the blocks of a text, in order, with line ends where PEM wants them. Whatever stands between blocks is
// passed over, as in Kafka (DefaultSslEngineFactory).
func pemBlocks(text []byte) (blocks []*pem.Block) {
	for _, m := range pemBlock.FindAllSubmatch(text, -1) {
		name := strings.TrimSpace(string(m[1]))
		lines := "-----BEGIN " + name + "-----\n" + strings.Join(strings.Fields(string(m[2])), "\n") + "\n-----END " + strings.TrimSpace(string(m[3])) + "-----\n"
		if b, _ := pem.Decode([]byte(lines)); b != nil {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// readKeyStore finds a private key and the certificate chain that begins with the key's.
func readKeyStore(text []byte) (tls.Certificate, error) {
	var key, chain []byte
	for _, b := range pemBlocks(text) {
		switch {
		case b.Type == "CERTIFICATE":
			chain = append(chain, pem.EncodeToMemory(b)...)
		case b.Type == "ENCRYPTED PRIVATE KEY":
			return tls.Certificate{}, errors.New("the private key is encrypted; accepted: one that is not")
		case strings.HasSuffix(b.Type, "PRIVATE KEY") && key != nil:
			return tls.Certificate{}, errors.New("there are two private keys; accepted: one")
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			key = pem.EncodeToMemory(b)
		}
	}
	if key == nil || chain == nil {
		return tls.Certificate{}, errors.New("must have a private key and its certificate as PEM")
	}
	return tls.X509KeyPair(chain, key)
}

func readTrustStore(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	count := 0
	for _, b := range pemBlocks(text) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(c)
		count++
	}
	if count == 0 {
		return nil, errors.New("must have at least one certificate as PEM")
	}
	return pool, nil
}
