package partition

import (
	"context"

	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
)

// Anew is s of a partition that was begun anew under siteEpoch: the archive of the log before it, whose incarnation is dropped, counts, since the
// metadata says that it is gone.
func (s Shipped) Anew(siteEpoch, dropped uint32) Shipped {
	s.dropped = archive.Whole(siteEpoch, dropped)
	return s
}

// Incarnation is that of the partition's log.
func (p *Partition) Incarnation() uint32 { return p.id.Incarnation }

// withdraw settles what does not depend on the newest cut: the archive of the log before this one counts, and that of this one, which was made
// while the partition was set aside, is taken away: it is in use again.
func (s Shipped) withdraw() error {
	if s.dropped.Offset != 0 {
		if err := s.p.manager.options.Archives.Confirm(s.archived(), s.dropped); err != nil {
			return err
		}
	}
	return s.p.Withdraw(s.p.Topic())
}

// StageAnew stages an archive of what the partition holds from offset on: the log is about to be begun anew under siteEpoch, by the metadata,
// and the archive counts once that says so. Nothing writes to the log meanwhile. Where there is nothing, nothing happens. Errors: ErrNotLeader
// where the log is not known to its end yet, those of archive.Archives.Confirm and Stage.
func (s Shipped) StageAnew(ctx context.Context, offset int64, siteEpoch uint32) error {
	p := s.p
	if err := p.usable(); err != nil {
		return err
	}
	view, leads := s.LogView()
	if !leads { // an archive that was staged for a cut behind what is applied would be thrown away
		return ErrNotLeader
	}
	if err := s.withdraw(); err != nil {
		return err
	}
	end := p.log.LogEnd()
	if offset = max(offset, p.log.LogStart()); offset >= end {
		return nil
	}
	_, err := p.manager.options.Archives.Stage(ctx, archive.Tail{
		Partition: s.archived(), Cut: s.whole(siteEpoch), From: offset, LogCut: view.Durable.Cut, End: end,
		Reason: "the partition is copied anew from the other site, which does not have them",
		Read: func(_ context.Context, offset int64) ([]byte, error) {
			_, payload, err := s.ReadShipped(offset, end, archiveReadBytes, fresh)
			return payload, err
		},
	})
	return err
}

// ConfirmAnew has what StageAnew has staged count: the metadata has begun the log anew.
func (s Shipped) ConfirmAnew(siteEpoch uint32) error {
	return s.p.manager.options.Archives.Confirm(s.archived(), s.whole(siteEpoch))
}

func (s Shipped) whole(siteEpoch uint32) entry.Cut {
	return archive.Whole(siteEpoch, s.p.id.Incarnation)
}
