package sites

import "time"

const (
	// turnInterval is how far the rounds of a busy worker are apart. What a link is told in between, the log's end as stored and as durable, an
	// Append sent, an Ack, makes one turn, and the connections write what several links send together.
	turnInterval = time.Millisecond
	// turnIntervalMax is the same where much is written: each Append costs the active, whatever its size, and the producers want the processor.
	turnIntervalMax = 8 * time.Millisecond
	// flowMin is how much a worker ships within flowWindow, in bytes, where that is much: twice what the lag is promised for.
	flowMin    = 10 << 20 * int64(flowWindow) / int64(time.Second)
	flowWindow = 32 * time.Millisecond
)

// pace is how long a worker rests, by what its links ship. For one goroutine.
type pace struct {
	now  time.Duration // beginning of the round
	flow int64         // bytes shipped within the last flowWindow, about: older ones fade
	full bool          // an Append of this round was as large as one may be: there is more to ship
}

// begin begins a round.
func (p *pace) begin(now time.Duration) {
	p.flow -= p.flow * int64(min(now-p.now, flowWindow)) / int64(flowWindow)
	p.now, p.full = now, false
}

// shipped notes an Append of n bytes; full says that bytes were left for the next one.
func (p *pace) shipped(n int, full bool) {
	p.flow += int64(n)
	p.full = p.full || full
}

// interval is how far the next round is from this one. Who has to catch up does not rest: a link ships one Append in a round.
func (p *pace) interval() time.Duration {
	if p.flow >= flowMin && !p.full {
		return turnIntervalMax
	}
	return turnInterval
}
