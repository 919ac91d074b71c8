package handler

import (
	"testing"

	"github.com/tandembroker/tandem/protocol/wire"
)

// TestDispatch: every API that is served has a handler, and no other has.
func TestDispatch(t *testing.T) {
	for _, api := range append(wire.APIs(), wire.OwnAPIs()...) {
		if dispatch[api.Key] == nil {
			t.Errorf("%s (key %d) is served and has no handler", api.Name, api.Key)
		}
	}
	for key := range dispatch {
		if _, ok := wire.Lookup(key); !ok {
			t.Errorf("key %d has a handler and is not served", key)
		}
	}
}
