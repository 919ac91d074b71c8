package archive

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// copier writes the batches of one tail into files, and counts them.
type copier struct {
	a    *Archives
	t    *Tail
	dir  string
	out  Archive // of what is written so far: figures, leader epochs, segments
	next int64   // offset behind the last batch

	file vfs.File // the last segment; nil = none is open
	base int64
	pos  int64
	sum  uint32
}

func newCopier(a *Archives, t *Tail, dir string) *copier {
	return &copier{a: a, t: t, dir: dir, next: t.from(), out: Archive{FirstOffset: -1, LastOffset: -1}}
}

// run copies all; what it has written is synced, the names of the files are not.
func (c *copier) run(ctx context.Context) error {
	for c.next < c.t.End {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("archive: copy of %s stopped at offset %d: %w", c.t.Partition, c.next, err)
		}
		piece, err := c.t.Read(ctx, c.next)
		if err != nil {
			return fmt.Errorf("archive: read %s at offset %d: %w", c.t.Partition, c.next, err)
		}
		if len(piece) == 0 {
			return c.invalid("no batch at or above it, but the log ends at %d", c.t.End)
		}
		if err := c.a.spaceFor(int64(len(piece))); err != nil {
			return err
		}
		if err := c.piece(piece); err != nil {
			return err
		}
	}
	if c.next != c.t.End {
		return c.invalid("the log ends at %d", c.t.End)
	}
	return c.finish()
}

func (c *copier) invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrInvalid, c.t.Partition, c.next, fmt.Sprintf(format, args...))
}

// piece writes whole batches; those that go into one file at once.
func (c *copier) piece(b []byte) error {
	run := b // batches that are not written yet, up to rest
	for rest := b; len(rest) > 0; {
		batch, behind, err := record.Next(rest)
		if err != nil {
			return c.invalid("%v", err)
		}
		if err := c.check(batch); err != nil {
			return err
		}
		pending := int64(len(run) - len(rest))
		full := c.pos+pending > 0 && (c.pos+pending+int64(len(batch)) > c.a.opts.SegmentBytes || batch.LastOffset()-c.base > math.MaxInt32)
		if c.file == nil || full {
			if err := c.write(run[:pending]); err != nil {
				return err
			}
			run = rest
			if err := c.roll(batch.BaseOffset()); err != nil {
				return err
			}
		}
		c.count(batch)
		rest = behind
	}
	return c.write(run)
}

// check refuses a batch that does not belong here: an archive that counts can be read, and holds what was cut and nothing else.
func (c *copier) check(b record.Batch) error {
	epochs := c.out.LeaderEpochs
	switch origin := entry.SiteEpochOf(b.LeaderEpoch()); {
	case b.LastOffsetDelta() < 0 || b.BaseOffset() < 0 || b.LastOffset() < c.next || c.out.Batches > 0 && b.BaseOffset() < c.next:
		return c.invalid("a batch of the offsets %d to %d", b.BaseOffset(), b.LastOffset())
	case b.LastOffset() >= c.t.End:
		return c.invalid("a batch ends at %d, the log at %d", b.LastOffset(), c.t.End)
	case len(epochs) > 0 && b.LeaderEpoch() < epochs[len(epochs)-1].Epoch:
		return c.invalid("leader epoch %d behind %d", b.LeaderEpoch(), epochs[len(epochs)-1].Epoch)
	case origin > c.t.Cut.SiteEpoch || origin == c.t.Cut.SiteEpoch && !isWhole(c.t.Cut):
		return c.invalid("a batch of site epoch %d, which is not below the one that is followed, %d", origin, c.t.Cut.SiteEpoch)
	case b.RecordCount() < 0:
		return c.invalid("a batch of %d records", b.RecordCount())
	}
	if err := b.CheckCRC(); err != nil {
		return c.invalid("%v", err)
	}
	return nil
}

func (c *copier) count(b record.Batch) {
	out := &c.out
	if out.Batches == 0 {
		out.FirstOffset = b.BaseOffset()
	}
	if n := len(out.LeaderEpochs); n == 0 || out.LeaderEpochs[n-1].Epoch != b.LeaderEpoch() {
		out.LeaderEpochs = append(out.LeaderEpochs, LeaderEpoch{b.LeaderEpoch(), b.BaseOffset()})
	}
	if b.IsControl() {
		out.Markers++
	} else {
		out.Records += int64(b.RecordCount())
	}
	out.Batches++
	out.Bytes += int64(len(b))
	out.LastOffset, out.OldSiteEpoch = b.LastOffset(), entry.SiteEpochOf(b.LeaderEpoch())
	c.next = b.LastOffset() + 1
}

func (c *copier) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := c.file.WriteAt(b, c.pos); err != nil {
		return fmt.Errorf("archive: write %s: %w", c.file.Name(), err)
	}
	c.pos += int64(len(b))
	c.sum = crc32.Update(c.sum, entry.Castagnoli, b)
	return nil
}

// roll ends the file that is open and begins the one of base.
func (c *copier) roll(base int64) error {
	if err := c.finish(); err != nil {
		return err
	}
	name := path.Join(c.dir, logName(base))
	f, err := c.a.fs.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, filePerm)
	if err != nil {
		return fmt.Errorf("archive: create: %w", err)
	}
	c.file, c.base, c.pos, c.sum = f, base, 0, 0
	return nil
}

// finish syncs the file that is open.
func (c *copier) finish() error {
	if c.file == nil {
		return nil
	}
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("archive: sync %s: %w", c.file.Name(), err)
	}
	c.out.Segments = append(c.out.Segments, Segment{logName(c.base), c.pos, crcText(c.sum)})
	return c.close()
}

// close closes the file that is open.
func (c *copier) close() error {
	if c.file == nil {
		return nil
	}
	f := c.file
	c.file = nil
	if err := f.Close(); err != nil {
		return errors.Join(fmt.Errorf("archive: close %s", f.Name()), err)
	}
	return nil
}
