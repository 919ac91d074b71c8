package handler_test

import (
	"strings"
	"testing"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/protocol/wire"
)

// TestOperatorRequestWithoutSites: a broker that is none of a pair says so, and the connection goes on.
func TestOperatorRequestWithoutSites(t *testing.T) {
	c := brokertest.Start(t).Dial()
	for _, r := range []struct {
		req  wire.OperatorRequest
		code operator.Code
		text string
	}{
		{wire.OperatorRequest{Operation: int16(operator.OpStatus), Document: []byte("{}")}, operator.CodeRefused, "site.name is not set"},
		{wire.OperatorRequest{Format: 1, Operation: 1, Document: []byte("{}")}, operator.CodeUnsupported, "format"},
		{wire.OperatorRequest{Operation: 99, Document: []byte("{}")}, operator.CodeUnsupported, "operation 99"},
	} {
		got := c.Do(&r.req).(*wire.OperatorResponse)
		if operator.Code(got.Code) != r.code || !strings.Contains(got.Message, r.text) {
			t.Errorf("%+v: %d %q", r.req, got.Code, got.Message)
		}
	}
}
