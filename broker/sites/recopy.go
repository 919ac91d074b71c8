package sites

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/archive"
)

// A standby copies one partition anew: what it holds beyond what the active has is archived and synced, the metadata commits that the log
// goes and another incarnation begins, the archive counts from there on, and the log is deleted and made anew, empty. Until that commit
// nothing has happened; behind it each start goes on with it (controller.Recopy, partition.Shipped.Anew).

// recopy has a partition copied anew. from is the first offset of what the active does not have; at or above the end of the log there is nothing
// of that kind. It returns when that is committed. Errors: controller.ErrRecopy where the partition, or the role, is another by now.
func (p *Pair) recopy(ctx context.Context, id site.PartitionID, epoch uint32, from int64) error {
	return p.drops.run(ctx, p.ctx, func() (*drop, error) {
		image := p.options.Controller.Image()
		of, ok := image.Partition(id.Topic, id.Partition)
		if !ok {
			return nil, fmt.Errorf("%w: it is gone", controller.ErrRecopy)
		}
		part, open := p.options.Partitions.Find(id.Topic, id.Partition)
		if part == nil {
			return nil, fmt.Errorf("%w: its log is not open (on disk: %v), so what it holds cannot be archived", controller.ErrRecopy, open)
		}
		if v := p.driver.View(); v.Role != site.Standby || v.Epoch != epoch {
			return nil, fmt.Errorf("%w: this site does not follow site epoch %d", controller.ErrRecopy, epoch)
		}
		if _, _, anew := of.RecopiedFrom(); anew && of.Incarnation != part.Incarnation() {
			return nil, fmt.Errorf("%w: the log before is not deleted yet", controller.ErrRecopy)
		}
		return &drop{log: p.shippedOf(image, part), id: id, incarnation: of.Incarnation, dropped: part.Incarnation(), epoch: epoch, from: from}, nil
	})
}

// confirmDropped has the archives count of the logs that were dropped, also where a crash came behind that, and of what was set aside since.
func (p *Pair) confirmDropped() error {
	for _, d := range p.options.Controller.DroppedLogs() {
		of := archive.Partition{Topic: d.Topic, TopicID: d.ID, Index: d.Partition}
		if err := p.archives.Confirm(of, archive.Whole(d.Epoch, d.Incarnation)); err != nil {
			return fmt.Errorf("archive of the log before that of %s-%d: %w", d.Topic, d.Partition, err)
		}
	}
	return nil
}

// shippedOf is a partition for its link.
func (p *Pair) shippedOf(image *controller.Image, part *partition.Partition) partition.Shipped {
	of, ok := image.Partition(part.TopicID(), part.ID())
	if !ok {
		return part.Shipped(0)
	}
	s := part.Shipped(of.Born)
	if dropped, epoch, anew := of.RecopiedFrom(); anew && of.Incarnation == part.Incarnation() {
		s = s.Anew(epoch, dropped)
	}
	return s
}

// recopied notes that copies are whole: the active says so of this very log.
func (p *Pair) recopied(image *controller.Image) {
	view := p.driver.View()
	if view.Role != site.Standby {
		return
	}
	for _, t := range image.Topics() {
		for i := range t.Partitions {
			if _, _, anew := t.Partitions[i].RecopiedFrom(); !anew {
				continue
			}
			told, ok := p.remote.link(site.PartitionID{Topic: t.ID, Partition: int32(i)})
			if !ok || !told.Copied || told.Log != t.Partitions[i].Incarnation || told.Halted != "" {
				continue
			}
			ctx, cancel := context.WithTimeout(p.ctx, recordTimeout)
			err := p.options.Controller.Recopied(ctx, t.ID, int32(i), t.Partitions[i].Incarnation, view.Epoch)
			cancel()
			if err != nil && p.ctx.Err() == nil && !errors.Is(err, controller.ErrNotController) {
				p.logger.Warn("end of a copy is not noted yet", "topic", t.Name, "partition", i, "error", err)
			}
		}
	}
}

// isRecopying says that a partition's copy at this standby is not whole.
func isRecopying(image *controller.Image, id site.PartitionID) bool {
	of, ok := image.Partition(id.Topic, id.Partition)
	if !ok {
		return false
	}
	_, _, anew := of.RecopiedFrom()
	return anew
}

// recopying says that the copy of some partition is not whole.
func recopying(image *controller.Image) bool {
	for _, t := range image.Topics() {
		for i := range t.Partitions {
			if _, _, anew := t.Partitions[i].RecopiedFrom(); anew {
				return true
			}
		}
	}
	return false
}

// dropped has the partition of a link copied anew, however long that takes, unless the site goes over to another epoch.
func (r *runner) dropped(ctx context.Context, e site.Recopy) {
	for {
		if v := r.d.View(); v.Role != site.Standby || v.Epoch != e.Epoch {
			return
		}
		err := r.d.options.Recopy(ctx, r.replica().ID(), e.Epoch, e.From)
		if err == nil || !r.again(ctx, "partition is not copied anew yet", err) {
			return
		}
	}
}

// Recopy implements operator.DR. The standby carries it out.
func (d DR) Recopy(ctx context.Context, o operator.RecopyOrder) (operator.Recopied, error) {
	f := d.p.facts()
	if f.Here.Role == site.Active && d.elsewhere(f.There.Name) {
		var out operator.Recopied
		err := d.p.forward(ctx, operator.OpRecopy, o, &out)
		return out, err
	}
	plan, refused := f.DecideRecopy(o)
	if refused != nil {
		return operator.Recopied{}, refused
	}
	image := d.p.options.Controller.Image()
	topic, ok := image.Topic(o.Topic)
	if !ok {
		return operator.Recopied{}, recopyRefused(fmt.Errorf("topic %s is gone", o.Topic))
	}
	id := site.PartitionID{Topic: topic.ID, Partition: o.Partition}
	epoch, from, end, err := d.beyond(ctx, id)
	if err != nil {
		return operator.Recopied{}, err
	}
	plan.From, plan.End = from, end
	if from == end {
		from = math.MaxInt64 // what the active ships meanwhile is not lost
	}
	if o.DryRun {
		return plan, nil
	}
	if err := d.p.recopyOnce(ctx, id, epoch, from); err != nil {
		return operator.Recopied{}, recopyRefused(err)
	}
	plan.Begun = true
	return plan, nil
}

func recopyRefused(err error) error {
	if errors.Is(err, controller.ErrRecopy) {
		return &operator.Error{Code: operator.CodeRefused, Text: err.Error(), Next: "tandem dr status"}
	}
	return fmt.Errorf("the partition is as it was: %w", err)
}

// recopyOnce is recopy, one at a time by order. It goes on where whoever ordered it does not wait any longer.
func (p *Pair) recopyOnce(ctx context.Context, id site.PartitionID, epoch uint32, from int64) error {
	if !p.recopies.TryLock() {
		return &operator.Error{Code: operator.CodeRefused, Text: "another partition is about to be copied anew", Next: "try again in a second"}
	}
	done := make(chan error, 1)
	p.tasks.Go(func() {
		defer p.recopies.Unlock()
		err := p.recopy(p.ctx, id, epoch, from)
		if err != nil {
			p.logger.Error("partition is not copied anew", "topic", id.Topic, "partition", id.Partition, "error", err)
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &operator.Error{Code: operator.CodeFailed, Text: "what the other site does not have is still being archived; then the copy begins", Next: "tandem dr status --watch"}
	}
}

// lineageTimeout bounds the question for the active's lineage.
const lineageTimeout = 10 * time.Second

// beyond finds the first offset of what this standby holds of a partition and the active does not, where the log ends, and the site epoch under
// which that is so: under another one it may be otherwise.
func (d DR) beyond(ctx context.Context, id site.PartitionID) (epoch uint32, from, end int64, err error) {
	replica, ok := d.p.driver.replica(id)
	part, _ := d.p.options.Partitions.Find(id.Topic, id.Partition)
	if !ok || part == nil || part.Log() == nil {
		return 0, 0, 0, &operator.Error{Code: operator.CodeRefused, Text: "the log of the partition is not open here, so what it holds cannot be archived", Next: "tandem dr status"}
	}
	view := d.p.driver.View() // before the log: what it holds by then was written under this epoch, or before
	log, leads := replica.LogView()
	if refused := undroppable(view, &log, leads); refused != nil {
		return 0, 0, 0, refused
	}
	ctx, cancel := context.WithTimeout(ctx, lineageTimeout)
	defer cancel()
	ask := func(epoch int32) (a operator.LineageAnswer, err error) {
		err = d.p.forward(ctx, operator.OpLineage, operator.LineageQuestion{TopicID: id.Topic, Partition: id.Partition, Epoch: &epoch}, &a)
		return a, err
	}
	from, err = lacking(&log, part.Log(), ask)
	return view.Epoch, from, log.Durable.NextOffset, err
}

// Lineage implements operator.DR: of this active site's durable log.
func (d DR) Lineage(_ context.Context, q operator.LineageQuestion) (operator.LineageAnswer, error) {
	replica, ok := d.p.driver.replica(site.PartitionID{Topic: q.TopicID, Partition: q.Partition})
	part, _ := d.p.options.Partitions.Find(q.TopicID, q.Partition)
	if ok && part != nil && part.Log() != nil {
		if log, leads := replica.LogView(); leads && d.p.driver.View().Role == site.Active {
			a := operator.LineageAnswer{Lineage: log.Lineage.Clone()}
			if last := part.Log().LastEpoch(); q.Epoch != nil && last >= 0 {
				found, end := part.Log().EndOffsetForEpoch(min(*q.Epoch, last), log.Durable.NextOffset)
				a.Found = &operator.EpochEnd{Epoch: found, End: end}
			}
			return a, nil
		}
	}
	return operator.LineageAnswer{}, &operator.Error{Code: operator.CodeRefused, Text: fmt.Sprintf("partition %d of topic id %s is not led at the active site", q.Partition, q.TopicID),
		Next: "tandem dr status"}
}

// recopyFunc is Pair.recopy.
type recopyFunc func(ctx context.Context, id site.PartitionID, epoch uint32, from int64) error
