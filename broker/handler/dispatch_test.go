package handler

import (
	"testing"

	"github.com/tandembroker/tandem/protocol/wire"
)

// TestDispatch: every API that clients are told of has a handler, and no other has.
func TestDispatch(t *testing.T) {
	for _, api := range wire.APIs() {
		if dispatch[api.Key] == nil {
			t.Errorf("%s (key %d) is advertised and has no handler", api.Name, api.Key)
		}
	}
	for key := range dispatch {
		if _, ok := wire.Lookup(key); !ok {
			t.Errorf("key %d has a handler and is not advertised", key)
		}
	}
}
