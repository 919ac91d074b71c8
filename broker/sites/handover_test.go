package sites

import (
	"testing"

	"github.com/tandembroker/tandem/replication/site"
)

// Who hands over has all that there was: only what the other site wrote since may lack, and where it was promoted without a switchover nobody
// knows how much that is.
func TestSiteThatHandedOverHasACopy(t *testing.T) {
	a, b := site.PartitionID{Partition: 1}, site.PartitionID{Partition: 2}
	active := func(epoch, fencing uint32) site.View {
		return site.View{Role: site.Active, Epoch: epoch, Fencing: fencing, Serving: true}
	}
	standby := func(epoch uint32) site.View { return site.View{Role: site.Standby, Epoch: epoch} }
	for _, c := range []struct {
		name  string
		views []site.View
		told  report
		want  bool
	}{
		{"handed over, nothing heard since", []site.View{active(0, 0), active(0, 1), standby(1)}, report{}, true},
		{"and again", []site.View{active(0, 1), standby(1), active(4, 0), active(4, 5), standby(5)}, report{Epoch: 4}, true},
		{"the other site was active before", []site.View{active(4, 5), standby(5)}, report{Active: true, Epoch: 1}, true},
		{"the other site took over as planned", []site.View{active(0, 1), standby(1)}, report{Active: true, Epoch: 1, Planned: true}, true},
		{"the other site took the epoch by failover", []site.View{active(0, 1), standby(1)}, report{Active: true, Epoch: 1}, false},
		{"the other site is further on", []site.View{active(0, 1), standby(1)}, report{Active: true, Epoch: 5, Planned: true}, false},
		{"another epoch than that of the switchover", []site.View{active(0, 1), standby(5)}, report{}, false},
		{"overtaken", []site.View{active(0, 0), standby(1)}, report{}, false},
		{"a standby from the start", []site.View{standby(1)}, report{}, false},
		{"follows another epoch by now", []site.View{active(0, 1), standby(1), standby(5)}, report{}, false},
		{"active by now", []site.View{active(0, 1), standby(1), active(4, 0)}, report{}, false},
	} {
		var h handover
		for _, v := range c.views {
			h.note(v, func() []site.PartitionID { return []site.PartitionID{a} })
		}
		if got := h.has(a, &c.told); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if h.has(b, &c.told) {
			t.Errorf("%s: a partition that was made since", c.name)
		}
	}
}
