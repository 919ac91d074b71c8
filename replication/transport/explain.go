package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"unicode"
)

// wayOut stands in the text of a refusal between the reason and what to do about it. It goes to the other side with the rest.
const wayOut = "; way out: "

const (
	wayOutTLS  = "the listener for the other site has to speak the same at both, TLS or PLAINTEXT (listener.security.protocol.map), and site.peers to lead there"
	wayOutCert = "the certificate of each site must be in force, for the host that the other one has in site.peers, and signed by who is in the other one's trust store"
)

// Explain says why a connection with the other site did not come about, and what to do about it; next is "" where err says nothing beyond a
// network that does not reach it.
func Explain(err error) (text, next string) {
	var r *Refusal
	var header tls.RecordHeaderError
	var remote *net.OpError
	text = cause(err)
	switch {
	case errors.As(err, &r):
		reason, out, _ := strings.Cut(r.Text, wayOut)
		if r.Peer {
			return "the other site refuses: " + reason, out
		}
		return "refused: " + reason, out
	case errors.As(err, &header), errors.Is(err, errNoLink):
		return "one side speaks TLS and the other one does not, or another program answers: " + text, wayOutTLS
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert of crypto/tls
		return "the other site does not accept this one's certificate: " + text, wayOutCert
	case certificate(err), strings.Contains(text, "tls: client didn't provide a certificate"):
		return "the certificate of the other site is not accepted: " + text, wayOutCert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the other side closed the connection before it said who it is", "look into the log of the broker there; " + wayOutTLS
	}
	return text, ""
}

// certificate says that err is about the certificate of who is at the other end.
func certificate(err error) bool {
	var verification *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &verification) || errors.As(err, &invalid) || errors.As(err, &authority) || errors.As(err, &host)
}

// saidMax bounds how many kinds of failure are told one by one.
const saidMax = 16

// said remembers what was logged, so that what happens every few seconds is a line, and what alternates is two.
type said map[string]bool

// news says that nothing like err was logged since the last reset. Failures that differ in ports and times alone are alike.
func (s said) news(err error) bool {
	kind := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, cause(err))
	if s[kind] || len(s) >= saidMax {
		return false
	}
	s[kind] = true
	return true
}
