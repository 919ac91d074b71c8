package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/storage/archive"
)

// ArchiveWhole copies all that the partition holds to an archive of lost records, which counts on return; the partition, which only this site
// has, is deleted later. Nothing writes to it. Where that was done, or there is nothing, nothing happens. topic is the name of its topic.
// Errors: ErrNotLeader where the log is not known to its end yet, those of archive.Archives.Stage and Seal.
func (p *Partition) ArchiveWhole(ctx context.Context, topic string, siteEpoch uint32) error {
	archives := p.manager.options.Archives
	if err := p.usable(); err != nil {
		return err
	}
	view, leads := Shipped{p: p}.LogView()
	if !leads { // an archive that was staged for a cut behind what is applied would be thrown away
		return ErrNotLeader
	}
	start, end := p.log.LogStart(), p.log.LogEnd()
	of := p.archivedAs(topic)
	held, err := p.wholes(of)
	if err != nil || start >= end {
		return err
	}
	for i := range held {
		if held[i].LastOffset == end-1 {
			return nil
		}
	}
	cut := archive.Whole(siteEpoch, p.id.Incarnation)
	_, err = archives.Stage(ctx, archive.Tail{
		Partition: of, Cut: cut, From: start, LogCut: view.Durable.Cut, End: end,
		Reason: fmt.Sprintf("the other site, active under site epoch %d, does not have the partition", siteEpoch),
		Read: func(_ context.Context, offset int64) ([]byte, error) {
			_, payload, err := Shipped{p: p}.ReadShipped(offset, end, archiveReadBytes, fresh)
			return payload, err
		},
	})
	if err != nil {
		return err
	}
	return archives.Seal(of, cut)
}

// Withdraw removes the archive that ArchiveWhole has made: the topic comes back. Errors: of archive.Archives.Remove, of the log.
func (p *Partition) Withdraw(topic string) error {
	held, err := p.wholes(p.archivedAs(topic))
	if err != nil {
		return err
	}
	for i := range held {
		if err := p.manager.options.Archives.Remove(held[i].ID); err != nil && !errors.Is(err, archive.ErrUnknown) {
			return err
		}
	}
	return nil
}

// wholes are the archives of this very log as a whole. Of an earlier log of the partition, whose data has gone, there may be others: these stay
// whatever becomes of this one.
func (p *Partition) wholes(of archive.Partition) (held []archive.Archive, err error) {
	all, err := p.manager.options.Archives.Wholes(of, p.id.Incarnation)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Damage != nil {
			continue // what it is of cannot be told
		}
		holds, err := p.holds(a.LastOffset, a.LeaderEpochs[len(a.LeaderEpochs)-1].Epoch)
		if err != nil {
			return nil, err
		}
		if holds {
			held = append(held, a)
		}
	}
	return held, nil
}

// holds says that a batch of that leader epoch ends at offset in the log, and so all that was in front of it where it was written: an offset never
// denotes two records.
func (p *Partition) holds(offset int64, epoch int32) (bool, error) {
	if err := p.usable(); err != nil {
		return false, err
	}
	end := p.log.LogEnd()
	if offset < p.log.LogStart() || offset >= end {
		return false, nil
	}
	rows, _, err := Shipped{p: p}.ReadShipped(offset, end, 1, fresh)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	return rows[0].LastOffset == offset && rows[0].LeaderEpoch == epoch, nil
}

func (p *Partition) archivedAs(topic string) archive.Partition {
	return archive.Partition{Topic: topic, TopicID: p.id.Topic, Index: p.id.Partition}
}
