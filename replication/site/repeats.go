package site

import "time"

// repeats is when a question that is not answered is asked again: less and less often. With thousands of partitions nothing else would get through
// a narrow line.
type repeats struct {
	times int
	next  time.Duration
}

// due says that it is time to ask, and takes note that it is done: first apart at first, longest in the end.
func (r *repeats) due(now, first, longest time.Duration) bool {
	if r.times > 0 && now < r.next {
		return false
	}
	r.next = now + min(first<<min(r.times, 16), longest)
	r.times++
	return true
}
