package sites

import (
	"fmt"
	"time"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/log"
)

// faultFresh is how long a fault counts: while it lasts it shows again with each try, about once a second.
const faultFresh = 10 * time.Second

// fault is why records of a partition do not come over; immutable.
type fault struct {
	text string
	at   time.Duration
}

// fail notes what was wrong with something that was shipped. Any goroutine.
func (r *runner) fail(format string, args ...any) {
	r.fault.Store(&fault{brief(fmt.Errorf(format, args...)), r.d.now()})
}

// faulty is why records of the partition do not come over, as far as it is known here; "" = nothing is.
func (r *runner) faulty(now time.Duration) string {
	if f := r.fault.Load(); f != nil && now-f.at < faultFresh {
		return f.text
	}
	return ""
}

// Damaged notes that an Append of a partition came in batches that are not what it says.
func (d *Driver) Damaged(id site.PartitionID, err error) {
	d.mu.Lock()
	r := d.links[id]
	d.mu.Unlock()
	if r != nil {
		r.fail("what the active has of it came damaged: %w", err)
	}
}

// shippedExtent is where the payload of an Append is (transport.Range).
type shippedExtent struct {
	*log.Extent
	r *runner
}

// Failed implements transport.Range.
func (e shippedExtent) Failed(err error) { e.r.fail("its segment cannot be read: %w", err) }
