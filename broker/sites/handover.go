package sites

import (
	"sync"

	"github.com/tandembroker/tandem/replication/site"
)

// handover remembers which partitions this site has handed over by a switchover in this run. It had all of them, so its copy is no first copy,
// also where the other site goes before it has said that this one follows. Safe for concurrent use.
type handover struct {
	mu    sync.Mutex
	view  site.View // newest that was noted
	epoch uint32    // of the other site's promotion; 0 = nothing was handed over
	ids   map[site.PartitionID]bool
}

// note takes the role as it is now; ids lists the partitions that ship.
func (h *handover) note(now site.View, ids func() []site.PartitionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.view
	h.view = now
	switch {
	case now.Role == site.Standby && was.Role == site.Active && was.Fencing != 0 && now.Epoch == was.Fencing:
		h.epoch, h.ids = now.Epoch, map[site.PartitionID]bool{}
		for _, id := range ids() {
			h.ids[id] = true
		}
	case now.Role == site.Active || now.Epoch != h.epoch:
		h.epoch, h.ids = 0, nil
	}
}

// has says that this site handed the partition over to the site epoch that it follows. told is the newest report of the other site: it may have
// taken the same epoch by a failover, before it knew of the switchover, and then has written for nobody knows how long.
func (h *handover) has(id site.PartitionID, told *report) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ids[id] && (!told.Active || told.Epoch < h.epoch || told.Epoch == h.epoch && told.Planned)
}
