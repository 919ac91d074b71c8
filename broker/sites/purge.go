package sites

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// purge deletes the data of topics that were deleted longer than dr.delete.delay.ms ago, until the Pair is closed. What only this site had,
// and an active that it followed had not, goes to archives of lost records first.
func (p *Pair) purge() {
	interval := min(max(p.options.Config.DeleteDelay/10, purgeIntervalMin), purgeIntervalMax)
	wait := purgeIntervalMin
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.aside:
			wait = purgeIntervalMin
		case <-timer.C:
		}
		p.purgeOnce()
		if p.archiving() == 0 {
			wait = interval
		}
		timer.Reset(wait)
		wait = min(2*wait, interval)
	}
}

func (p *Pair) purgeOnce() {
	if err := p.confirmDropped(); err != nil {
		p.logger.Warn("archives of logs that were dropped do not count yet", "error", err)
		return
	}
	p.archiveLost()
	if err := p.withdrawUsed(); err != nil && p.ctx.Err() == nil {
		p.logger.Warn("an archive of lost records is of a log that is in use", "error", err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, recordTimeout)
	n, err := p.options.Controller.PurgeHidden(ctx)
	cancel()
	switch {
	case err != nil && p.ctx.Err() == nil && !errors.Is(err, controller.ErrNotController):
		p.logger.Warn("data of deleted topics is not removed yet", "error", err)
	case n > 0:
		p.logger.Info("data of deleted topics removed", "topics", n)
	}
}

// setAside has purge look at once for topics that only this site had: their records are in no log that clients see, and not in archives yet.
func (p *Pair) setAside() {
	nudge(p.aside)
}

// archiving is of how many topics what only this site had is not in archives yet.
func (p *Pair) archiving() (n int) {
	for _, h := range p.options.Controller.HiddenTopics() {
		if h.Lost && !h.Archived {
			n++
		}
	}
	return n
}

// How often purge looks; while something is to be archived it begins with the shorter one again.
const (
	purgeIntervalMin = 100 * time.Millisecond
	purgeIntervalMax = 5 * time.Second
)

// archiveLost archives what only this site had. What cannot be archived yet stays, and is tried again.
func (p *Pair) archiveLost() {
	for _, h := range p.options.Controller.HiddenTopics() {
		if !h.Lost || h.Archived || p.ctx.Err() != nil {
			continue
		}
		if err := p.archiveTopic(h); err != nil && p.ctx.Err() == nil {
			p.logger.Error("records of a topic that only this site had are not archived yet; it is kept", "topic", h.Name, "id", h.ID, "error", err)
		}
	}
}

// archiveTopic makes an archive of each partition of h that has records, and then notes that. Each counts as soon as it is whole: the topic
// is gone for clients, and may come back by Undelete alone, which withdraws them.
func (p *Pair) archiveTopic(h controller.HiddenTopic) error {
	p.lost.Lock()
	defer p.lost.Unlock()
	if err := p.confirmDropped(); err != nil { // what is archived next would replace what is staged
		return err
	}
	epoch := p.driver.View().Epoch
	err := p.eachLost(h, func(part *partition.Partition) error { return part.ArchiveWhole(p.ctx, h.Name, epoch) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, recordTimeout)
	defer cancel()
	err = p.options.Controller.LostIsArchived(ctx, h)
	if errors.Is(err, controller.ErrUnknownTopicID) { // the active has brought it back meanwhile: withdrawUsed
		return nil
	}
	return err
}

// withdrawUsed removes the archives of logs as a whole that are in use: their partitions came back while they were archived. Of a partition that is
// copied anew the log that is archived is about to be deleted.
func (p *Pair) withdrawUsed() error {
	p.lost.Lock()
	defer p.lost.Unlock()
	logs, err := p.archives.WholeLogs()
	image := p.options.Controller.Image()
	for _, w := range logs {
		t, ok := image.TopicByID(w.TopicID)
		if !ok || !t.Has(w.Index) || t.Partitions[w.Index].Incarnation != w.Incarnation {
			continue
		}
		if part, _ := p.options.Partitions.Find(w.TopicID, w.Index); part != nil && part.Incarnation() == w.Incarnation {
			err = errors.Join(err, part.Withdraw(t.Name))
		}
	}
	return err
}

// eachLost calls fn for each partition of h that is on this broker's disk.
func (p *Pair) eachLost(h controller.HiddenTopic, fn func(*partition.Partition) error) error {
	for i := range int32(h.Partitions) {
		part, stored := p.options.Partitions.Find(h.ID, h.First+i)
		if part == nil && stored {
			return fmt.Errorf("partition %d is on disk and not open", h.First+i)
		}
		if part == nil {
			continue // it was never made
		}
		if err := fn(part); err != nil {
			return fmt.Errorf("partition %d: %w", h.First+i, err)
		}
	}
	return nil
}

// undelete brings back the topic that was deleted last by its name. One that only this site had comes back too, where this site is active by
// now: its archives are withdrawn first, since its records are in a log again. Before that the metadata stops to say that it is archived: should
// this fail behind it, or the broker, they are made anew, and nothing goes meanwhile.
func (p *Pair) undelete(ctx context.Context, topic string) error {
	p.lost.Lock()
	defer p.lost.Unlock()
	var newest *controller.HiddenTopic
	for _, h := range p.options.Controller.HiddenTopics() {
		if h.Name == topic && !h.Extra && (newest == nil || h.At.After(newest.At)) {
			newest = &h
		}
	}
	if _, ok := p.options.Controller.Image().Topic(topic); ok && newest == nil {
		return &operator.Error{Code: operator.CodeRefused, Text: fmt.Sprintf("there is a topic %s: nobody has deleted it", topic), Next: "tandem dr status lists the topics that ship"}
	}
	if newest == nil {
		return &operator.Error{Code: operator.CodeRefused, Text: fmt.Sprintf("no deleted topic %s is kept (dr.delete.delay.ms)", topic),
			Next: "tandem dr history; if the other site had lost it: tandem dr lost list"}
	}
	if newest.Lost {
		if other, ok := p.options.Controller.Image().Topic(topic); ok {
			return &operator.Error{Code: operator.CodeRefused, Text: fmt.Sprintf("there is another topic %s, with id %s", topic, other.ID),
				Next: "tandem dr lost replay --topic OTHER writes what was lost to another one"}
		}
		if err := p.options.Controller.LostIsWithdrawn(ctx, *newest); err != nil {
			return err
		}
		if err := p.eachLost(*newest, func(part *partition.Partition) error { return part.Withdraw(topic) }); err != nil {
			return fmt.Errorf("withdraw the archives of %s: %w", topic, err)
		}
	}
	return p.options.Controller.UndeleteTopic(ctx, newest.ID, newest.Lost)
}
