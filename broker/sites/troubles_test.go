package sites

import (
	"errors"
	"testing"
	"time"

	"github.com/tandembroker/tandem/replication/transport"
)

// TestObstacleIsOfNow: why nobody could connect before there was a session is not why nothing comes now.
func TestObstacleIsOfNow(t *testing.T) {
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	refused := func(at time.Time) []transport.DialStatus {
		return []transport.DialStatus{{Address: "east:9192", LastAt: at, Err: errors.New("connection refused")}}
	}
	stands := []transport.PeerStatus{{Connected: true, Since: noon.Add(-time.Minute)}}
	ended := []transport.PeerStatus{{LastAt: noon.Add(-time.Minute)}}
	for name, c := range map[string]struct {
		status transport.Status
		told   bool
	}{
		"never connected":                        {transport.Status{Dials: refused(noon.Add(-time.Hour))}, true},
		"before the session that has ended":      {transport.Status{Peers: ended, Dials: refused(noon.Add(-2 * time.Minute))}, false},
		"behind it":                              {transport.Status{Peers: ended, Dials: refused(noon)}, true},
		"before the session that is silent":      {transport.Status{Peers: stands, Dials: refused(noon.Add(-2 * time.Minute))}, false},
		"of another address, beside the session": {transport.Status{Peers: stands, Dials: refused(noon)}, true},
	} {
		if o := obstacleOf(c.status, noon); (o != nil) != c.told {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
