package sites

// firstCopy follows whether the standby has had, under the site epoch that this site is active in, all that was here when it began to follow.
// What was written since is the lag: over a long way, under load, there is no moment at which nothing lacks. For one goroutine.
type firstCopy struct {
	done  bool
	epoch uint32
	acked int64 // newest: who comes back with less begins anew
	goal  int64 // end of the log here when the standby first said where its own ends; means something once aimed
	aimed bool
}

// note takes the offsets at which the logs here and at the standby end; known is false where the standby has not said it.
func (c *firstCopy) note(epoch uint32, end, acked int64, known bool) {
	if c.epoch != epoch || known && acked < c.acked {
		*c = firstCopy{epoch: epoch}
	}
	if !known {
		return
	}
	if !c.aimed {
		c.goal, c.aimed = end, true
	}
	c.acked = acked
	c.done = c.done || acked >= c.goal
}
