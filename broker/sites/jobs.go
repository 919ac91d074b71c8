package sites

import (
	"context"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// job is work on a partition's archives. There is one at a time, also where links follow each other: one that was begun for an older state of
// the log would take away what was archived for the newer one.
type job struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// job runs fn beside everything else, once what was begun before for the partition has ended, which it is told to. Close waits for it.
func (d *Driver) job(id site.PartitionID, fn func(context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	before := d.jobs[id]
	ctx, cancel := context.WithCancel(d.ctx)
	j := &job{cancel: cancel, done: make(chan struct{})}
	d.jobs[id] = j
	if before != nil {
		before.cancel()
	}
	d.tasks.Add(1)
	go func() {
		defer d.tasks.Done()
		defer d.jobDone(id, j)
		if before != nil {
			<-before.done
		}
		if ctx.Err() == nil {
			fn(ctx)
		}
	}()
}

func (d *Driver) jobDone(id site.PartitionID, j *job) {
	j.cancel()
	close(j.done)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.jobs[id] == j {
		delete(d.jobs, id)
	}
}

// endJob tells the partition's job that nobody waits for it any more.
func (d *Driver) endJob(id site.PartitionID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endJobLocked(id)
}

func (d *Driver) endJobLocked(id site.PartitionID) {
	if j := d.jobs[id]; j != nil {
		j.cancel()
	}
}

// archive makes the archive of a tail, however long that takes, unless the site goes over to another epoch: the log is compared anew then.
func (r *runner) archive(ctx context.Context, e site.ArchiveTail, term uint64) {
	for {
		if v := r.d.View(); v.Role != site.Standby || v.Epoch != e.Cut.SiteEpoch {
			return
		}
		epoch, err := r.replica().ArchiveTail(ctx, e.Cut, e.LogCut)
		if err == nil {
			r.put(input{in: site.Archived{Cut: e.Cut, Epoch: epoch}, term: term})
			return
		}
		if !r.again(ctx, "archive of lost records is not made yet", err) {
			return
		}
	}
}

func (r *runner) seal(ctx context.Context, e site.SealArchive, term uint64) {
	for {
		err := r.replica().SealArchive(ctx, e.LogCut)
		if err == nil {
			r.put(input{in: site.Sealed{}, term: term})
			return
		}
		if !r.again(ctx, "archive of lost records is not sealed yet", err) {
			return
		}
	}
}

// again logs err and waits; false = the job ends.
func (r *runner) again(ctx context.Context, what string, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	r.d.logger.Error(what, "topic", r.replica().Topic(), "partition", r.replica().ID().Partition, "error", err)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(archiveRetry):
		return true
	}
}

// archiveRetry is how long an archive that could not be written waits: the disk may be full.
const archiveRetry = 5 * time.Second
