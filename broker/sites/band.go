package sites

import (
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// What is left of a site epoch when an active site goes over to its next own one, by itself: more than it can use up until it looks again.
const (
	offsetsSpare      = 1 << 32
	leaderEpochsSpare = 1 << 10
)

// spent says that a partition has used nearly all offsets or leader epochs of the site's epoch. Behind the last one it would take no produces
// (entry.VoidBand, entry.VoidEpochBound). One that was not looked at since the site left an epoch says nothing: it could use up all there are.
func (s *linkState) spent(siteEpoch uint32) bool {
	if !s.leads || s.epoch < 0 || entry.SiteEpochOf(s.epoch) != siteEpoch {
		return false
	}
	low := s.epoch & (1<<entry.LeaderEpochBits - 1)
	return max(s.end, s.next) > entry.BandEnd(entry.SiteEpochOf(s.epoch))-offsetsSpare || low > 1<<entry.LeaderEpochBits-leaderEpochsSpare
}

// renew takes the next own site epoch where a partition needs one.
func (d *Driver) renew(runners []*runner) {
	view := d.View()
	if !view.Serving {
		return
	}
	for _, r := range runners {
		if s := r.state.Load(); s != nil && s.spent(view.Epoch) {
			d.logger.Warn("a partition has used up the offsets or leader epochs of its site epoch: the site goes over to its next one", "topic", r.replica().Topic(),
				"partition", r.replica().ID().Partition, "offset", s.end, "epoch", s.epoch)
			if err := d.role.step(site.SelfPromote{}); err != nil {
				d.logger.Warn("no new site epoch yet", "error", err)
			}
			return
		}
	}
}
