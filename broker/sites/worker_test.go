package sites

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// The first that a link is told behind a pause has its turn at once; what comes close behind it shares one, at the next interval.
func TestTurnsAreSharedUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{Network: &fakeSite{}})
		defer d.Close()
		replica := &countedReplica{fakeReplica: newReplica(t, site.PartitionID{})}
		r := newRunner(d, replica, d.workers[0])
		go d.workers[0].run() // ended by Close
		time.Sleep(time.Second + turnInterval/3)
		r.wake()
		synctest.Wait()
		if replica.views.Load() != 1 {
			t.Fatalf("%d turns at once, 1 is expected", replica.views.Load())
		}
		for range 5 {
			r.wake()
			synctest.Wait()
		}
		if replica.views.Load() != 1 {
			t.Errorf("%d turns within an interval, 1 is expected", replica.views.Load())
		}
		time.Sleep(turnInterval)
		synctest.Wait()
		if replica.views.Load() != 2 {
			t.Errorf("%d turns behind the interval, 2 are expected", replica.views.Load())
		}
		r.wake()
		synctest.Wait()
		time.Sleep(turnInterval)
		synctest.Wait()
		if replica.views.Load() != 3 {
			t.Errorf("%d turns, 3 are expected", replica.views.Load())
		}
	})
}

// countedReplica counts turns, each of which looks at the log once.
type countedReplica struct {
	*fakeReplica
	views atomic.Int32
}

func (c *countedReplica) LogView() (site.LogView, bool) {
	c.views.Add(1)
	return c.fakeReplica.LogView()
}
