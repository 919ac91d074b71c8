package archive

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/vfs"
)

// Transaction is what became of the transaction that a record belongs to, as far as the archive tells.
type Transaction uint8

const (
	NoTransaction Transaction = iota
	Committed
	Aborted
	Undecided // no marker came before the log was cut, or it cannot be known because the archive is damaged
)

func (t Transaction) String() string {
	return [...]string{"none", "committed", "aborted", "undecided"}[t]
}

// Record is one record of an archive. Key, Value and Headers are valid until the callback that got them returns.
type Record struct {
	record.Record
	LeaderEpoch   int32
	ProducerID    int64 // record.NoProducerID = none
	ProducerEpoch int16
	Control       bool // a transaction marker: nothing that a client has written
	Transaction   Transaction
}

// unpackedMax is how much of a compressed batch is unpacked, bytes; it is done as a stream.
const unpackedMax = 256 << 20

// Reader reads one archive. It holds no file open. Safe for concurrent use.
type Reader struct {
	Archive Archive // Damage set: only what the folder's name says
	fs      vfs.FS
	dir     string
	files   []logFile
	survey  survey
}

// Reader checks a sealed archive from end to end, which takes a read of all of it. What is damaged does not fail: Records tells, and
// reads around it. Errors: ErrUnknown, I/O, of ctx.
func (a *Archives) Reader(ctx context.Context, id string) (*Reader, error) {
	a.mu.Lock()
	err := a.loadLocked()
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !a.has(id) {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	r := &Reader{fs: a.fs, dir: path.Join(a.root, id)}
	r.survey.decided = map[int64]*decisions{}
	if err := r.load(ctx, a, id); err != nil {
		if !a.has(id) { // removed meanwhile
			return nil, fmt.Errorf("%w: %q", ErrUnknown, id)
		}
		return nil, err
	}
	return r, nil
}

func (r *Reader) load(ctx context.Context, a *Archives, id string) (err error) {
	if r.Archive, err = a.describe(id); err != nil {
		return err
	}
	if r.files, err = logFiles(a.fs, r.dir); err != nil {
		return fmt.Errorf("archive: list %s: %w", r.dir, err)
	}
	if err := r.survey.note(r.Archive.Damage); err != nil {
		return err
	}
	if r.Archive.Damage == nil {
		r.survey.compare(r.dir, &r.Archive, r.files)
	}
	for _, f := range r.files {
		want := ""
		for _, s := range r.Archive.Segments {
			if s.File == f.name {
				want = s.CRC32C
			}
		}
		if err := r.survey.file(ctx, r, f, want); err != nil {
			return err
		}
	}
	return nil
}

// Records calls fn for each record from offset from on, markers and records of aborted transactions included, and stops at its first
// error, which it returns as it is. Where batches are damaged it goes on behind them, and returns their DamageErrors at the end.
// Memory is one batch and the largest record of a compressed one. Errors: ErrDamaged, I/O, of ctx, fn's.
func (r *Reader) Records(ctx context.Context, from int64, fn func(Record) error) error {
	w := walk{r: r, from: from, fn: fn}
	for i, f := range r.files {
		if i+1 < len(r.files) && r.files[i+1].base <= from {
			continue
		}
		err := r.each(ctx, f, w.batch, func(*scanner) error { return nil })
		if w.stopped != nil {
			return w.stopped
		}
		if err := w.unknown.note(err); err != nil { // the survey has it, unless the archive has changed since
			return err
		}
	}
	damage := &r.survey.damages
	if !damage.any() {
		damage = &w.unknown
	}
	if err := errors.Join(damage.err(), w.unreadable.err()); err != nil {
		return fmt.Errorf("archive: %s: %w", r.Archive.ID, err)
	}
	return nil
}

// walk hands out records.
type walk struct {
	r    *Reader
	from int64
	fn   func(Record) error
	buf  []byte

	stopped    error   // of fn
	unknown    damages // of frames and checksums, which the survey has met too
	unreadable damages // batches that are whole, but whose records cannot be unpacked
}

func (w *walk) batch(s *scanner, h *header) error {
	if h.misfits != "" || h.length > w.r.survey.largest { // longer than any whose checksum is right
		w.unknown.add(s.name, h.pos, "the batch is damaged")
		return s.skip(h)
	}
	if h.batch.LastOffset() < w.from {
		return s.skip(h)
	}
	batch, err := s.read(h, &w.buf)
	if err != nil {
		return err
	}
	if err := batch.CheckCRC(); err != nil {
		w.unknown.add(s.name, h.pos, "%v", err)
		return nil
	}
	out := Record{LeaderEpoch: batch.LeaderEpoch(), ProducerID: batch.ProducerID(), ProducerEpoch: batch.ProducerEpoch(), Control: batch.IsControl()}
	err = batch.Each(unpackedMax, func(rec record.Record) error {
		if rec.Offset < w.from {
			return nil
		}
		out.Record = rec
		if batch.IsTransactional() && !out.Control {
			out.Transaction = w.r.survey.outcome(out.ProducerID, rec.Offset)
		}
		w.stopped = w.fn(out)
		return w.stopped
	})
	if err != nil && w.stopped == nil {
		w.unreadable.add(s.name, h.pos, "%v", err)
	}
	return w.stopped
}
