package handler_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestNoLoginDemanded: who tries to log in is told that there is no login, at once, and can go on without.
func TestNoLoginDemanded(t *testing.T) {
	b := brokertest.Start(t)
	c := b.Dial()
	for version := int16(0); version <= 1; version++ {
		req := kmsg.NewPtrSASLHandshakeRequest()
		req.SetVersion(version)
		req.Mechanism = "PLAIN"
		got := c.Do(req).(*kmsg.SASLHandshakeResponse)
		if got.ErrorCode != kerr.IllegalSaslState.Code || len(got.SupportedMechanisms) != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	if got := c.Do(kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse); len(got.Brokers) != 1 {
		t.Errorf("metadata afterwards: %+v", got)
	}

	client := b.Client(kgo.SASL(saslplain.Auth{User: "u", Pass: "p"}.AsMechanism()))
	if err := client.Ping(b.Context()); !errors.Is(err, kerr.IllegalSaslState) {
		t.Errorf("a client with a login: %v", err)
	}
}
