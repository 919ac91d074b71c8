package sites

import "github.com/tandembroker/tandem/replication/site"

// admits says whether records of the other site may come into the log. What finds no room is as good as lost on the way: the other site
// sends it again. A write that fails on a full disk would end the process.
func (d *Driver) admits(in site.LinkInput) bool {
	received, ok := in.(site.Received)
	if !ok {
		return true
	}
	m, ok := received.Message.(site.Append)
	if !ok {
		return true
	}
	n := d.proposed.Load() + int64(len(m.Payload))
	err := d.options.Room(n)
	if err == nil {
		return true
	}
	if d.turnedAway.CompareAndSwap(0, max(n, 1)) {
		d.logger.Warn("records of the other site are not taken before there is room", "error", err)
	}
	return false
}

// Full is why no records are taken here; nil = they are. What was turned away, and what was on its way then, has to find twice the room that
// it lacked: near the end of the disk there would be some once that is stored, and none again a moment later.
func (d *Driver) Full() error {
	n := d.turnedAway.Load()
	err := d.options.Room(d.proposed.Load() + 2*n)
	if err == nil && n > 0 && d.turnedAway.CompareAndSwap(n, 0) {
		d.logger.Info("records of the other site are taken again")
	}
	return err
}
