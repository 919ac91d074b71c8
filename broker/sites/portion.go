package sites

import "time"

// portion is how much a link ships in one Append, by how long the ones before took to be written. On a narrow line a large one would be under way for
// minutes: until it is there as a whole the standby has nothing of it, and an interruption loses all of it. For one goroutine.
type portion struct{ bytes int }

const (
	portionMin   = 64 << 10
	portionSlow  = 2 * time.Second        // what takes longer is halved: a connection that begins on a long line takes half of that
	portionQuick = 500 * time.Millisecond // what takes less is doubled
)

// next is how many bytes the next one may have, most at most; took is how long the last one was being written, 0 = not known.
func (p *portion) next(took time.Duration, most int) int {
	switch {
	case p.bytes == 0 || p.bytes > most:
		p.bytes = most
	case took > portionSlow:
		p.bytes = max(p.bytes/2, min(portionMin, most))
	case took > 0 && took < portionQuick:
		p.bytes = min(2*p.bytes, most)
	}
	return p.bytes
}
