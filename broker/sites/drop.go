package sites

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// drops has logs of this standby dropped, one at a time: who begins to archive a log takes away what another one has staged of it, and were that one's
// commit on its way, the records would be nowhere. Safe for concurrent use.
type drops struct {
	metadata dropMetadata
	warn     func(id site.PartitionID, err error)

	mu     sync.Mutex // held from the decision on until it is known what became of the commit
	unsure bool       // that was not known the last time
}

// dropMetadata is the part of controller.Controller that drops need.
type dropMetadata interface {
	Recopy(ctx context.Context, topic uuid.UUID, partition int32, incarnation, dropped, epoch uint32) error
	Settle(ctx context.Context) error
}

// drop is a log that goes.
type drop struct {
	log interface {
		StageAnew(ctx context.Context, offset int64, siteEpoch uint32) error
		ConfirmAnew(siteEpoch uint32) error
	}
	id          site.PartitionID
	incarnation uint32 // as the metadata has it
	dropped     uint32 // that of the log
	epoch       uint32 // the site epoch that is followed
	from        int64  // first offset of what is archived
}

// run drops the log that decide names. ctx bounds the archive; whether the log goes is then awaited as long as run lasts, of the whole broker. Errors:
// of decide; controller.ErrRecopy; others, behind which the log may go all the same.
func (d *drops) run(ctx, run context.Context, decide func() (*drop, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsure {
		if err := d.metadata.Settle(ctx); err != nil {
			return fmt.Errorf("whether an earlier log goes is not known yet: %w", err)
		}
		d.unsure = false
	}
	g, err := decide()
	if err != nil {
		return err
	}
	if err := g.log.StageAnew(ctx, g.from, g.epoch); err != nil {
		return fmt.Errorf("archive what the other site does not have: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.metadata.Recopy(run, g.id.Topic, g.id.Partition, g.incarnation, g.dropped, g.epoch); err != nil {
		d.unsure = !errors.Is(err, controller.ErrRecopy)
		return err
	}
	if err := g.log.ConfirmAnew(g.epoch); err != nil { // the new log's link does it, or purge
		d.warn(g.id, err)
	}
	return nil
}

// undroppable is why a log cannot be dropped now; nil = it can. While it is compared with the active's, what it holds beyond that is being archived
// and cut already.
func undroppable(view site.View, log *site.LogView, leads bool) *operator.Error {
	s := &log.Tip
	if !leads || view.Role != site.Standby || s.Role != entry.Following || s.SiteEpoch != view.Epoch || s.Shared == entry.UnknownOffset ||
		log.Durable.Shared != s.Shared || log.Durable.SiteEpoch != s.SiteEpoch {
		return &operator.Error{Code: operator.CodeRefused, Text: "the partition is not led here at this moment, or is being compared with the active's", Next: "try again in a second"}
	}
	return nil
}

// epochTable has the leader epochs of a log.
type epochTable interface {
	// EndOffsetForEpoch is the largest leader epoch at or below epoch and the offset where it ends, which for the newest is end; (-1, -1) = unknown.
	EndOffsetForEpoch(epoch int32, end int64) (int32, int64)
	LastEpoch() int32
}

// lacking is the first offset of what a standby's log, which follows, holds and the active's does not; the end of the durable log where there is
// nothing. What is written meanwhile came from the active. ask is answered from the active's durable log, later than log was seen. Errors: of ask.
func lacking(log *site.LogView, own epochTable, ask func(epoch int32) (operator.LineageAnswer, error)) (int64, error) {
	end := log.Durable.NextOffset
	epoch := own.LastEpoch()
	theirs, err := ask(epoch)
	if err != nil {
		return 0, err
	}
	from := end
	// Also under the site epoch that is followed: a link that has halted says that one of the logs is not what it was.
	if keep, divergent := log.Lineage.Divergence(&theirs.Lineage, entry.SiteEpochOf(log.Durable.LastEpoch)+1); divergent {
		from = keep
	}
	common, err := commonEnd(own, epoch, end, theirs, ask)
	if err != nil {
		return 0, err
	}
	if from = min(from, common); from < end && log.Tip.NextOffset != end {
		return 0, &operator.Error{Code: operator.CodeRefused, Text: "the partition is being written", Next: "try again in a second"}
	}
	return from, nil
}

// epochsAskedMax bounds how many leader epochs are asked for; a log with more changes of leaders than that behind the last record that both have is
// archived whole.
const epochsAskedMax = 64

// commonEnd is where the records that both logs have end, by leader epochs: under one site epoch an active that has lost the end of its log writes
// others at the same offsets. answer is that to epoch, the newest of the log. Source: KIP-101.
func commonEnd(own epochTable, epoch int32, end int64, answer operator.LineageAnswer, ask func(epoch int32) (operator.LineageAnswer, error)) (int64, error) {
	ours := end
	for range epochsAskedMax {
		f := answer.Found
		if f == nil || epoch < 0 {
			return end, nil // one of the logs has no record, or the active is of an earlier release
		}
		if f.Epoch != epoch {
			epoch, ours = own.EndOffsetForEpoch(f.Epoch, end)
		}
		if f.Epoch == epoch {
			return min(ours, f.End), nil
		}
		var err error
		if answer, err = ask(epoch); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
