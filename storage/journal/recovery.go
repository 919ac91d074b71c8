package journal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Recovery is what Open found in the journal. It stays readable until TruncateFront or Close.
type Recovery struct {
	Mark   uint64   // newest; at least what Options gave
	Damage []Damage // at or below the mark, in order
	Cut    *Cut     // nil = nothing was cut

	journal *Journal
	walker  walker
	first   uint64 // FirstKept
	held    uint64 // what holds the mark until Close; 0 = nothing
	open    struct {
		sync.Mutex
		files map[int]vfs.File
	}
}

// Records are all whole records from FirstKept on, in sequence order, without inline payloads. Kinds with the may-skip bit that
// this binary does not know are passed over. A record is valid until the next one; its Data and Body are the receiver's.
// It may be called repeatedly, not concurrently.
func (r *Recovery) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if _, err := r.walker.walk(&reader{first: r.first, yield: yield}); err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

var errStop = errors.New("stop")

// reader is the walkVisitor behind Records.
type reader struct {
	first uint64
	at    int
	rec   Record
	yield func(*Record, error) bool
}

func (v *reader) begin(i int)                 { v.at = i }
func (v *reader) missing(int, uint64, uint64) {}
func (v *reader) gap(gap) error               { return nil }

func (v *reader) record(r *found) error {
	if r.sequence < v.first || !r.kind.known() {
		return nil
	}
	if err := v.rec.decode(&r.header, r.raw[HeaderLen:]); err != nil {
		return err
	}
	v.rec.Data, v.rec.Body = bytes.Clone(v.rec.Data), bytes.Clone(v.rec.Body)
	v.rec.at = location{file: v.at, pos: int64(r.pos), size: r.length}
	if !v.yield(&v.rec, nil) {
		return errStop
	}
	return nil
}

// Inline reads the inline payload of a record that Records returned (or a copy of it) from its file again, and checks its CRC.
// The result is the caller's. Safe for concurrent use. Errors: ErrCorrupt, I/O.
func (r *Recovery) Inline(rec *Record) ([]byte, error) {
	if rec.Placement != Inline || rec.at.size == 0 {
		return nil, fmt.Errorf("journal: record %d has no inline payload", rec.Sequence)
	}
	f, err := r.file(rec.at.file)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	b := make([]byte, rec.at.size)
	if n, err := f.ReadAt(b, rec.at.pos); n < len(b) {
		return nil, fmt.Errorf("journal: read %s, byte %d: %w", f.Name(), rec.at.pos, err)
	}
	var h header
	var again Record
	ok := h.parse(b) && h.sequence == rec.Sequence && h.length == rec.at.size && crc32.Checksum(b[HeaderLen:], castagnoli) == h.bodyCRC
	if !ok || again.decode(&h, b[HeaderLen:]) != nil || again.Placement != Inline {
		return nil, fmt.Errorf("%w: %s, byte %d: record %d changed since the journal was opened", ErrCorrupt, f.Name(), rec.at.pos, rec.Sequence)
	}
	return b[HeaderLen+int(h.inline):], nil
}

// file opens the i-th file, once.
func (r *Recovery) file(i int) (vfs.File, error) {
	r.open.Lock()
	defer r.open.Unlock()
	if f := r.open.files[i]; f != nil {
		return f, nil
	}
	f, err := r.walker.fs.OpenFile(filepath.Join(r.walker.dir, fileName(r.walker.files[i].first)), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if r.open.files == nil {
		r.open.files = map[int]vfs.File{}
	}
	r.open.files[i] = f
	return f, nil
}

// Close says that every payload the recovered records refer to is on disk, or its entry dropped: the mark may pass them. It
// lets go of the files. The second Close returns nil.
func (r *Recovery) Close() error {
	r.open.Lock()
	defer r.open.Unlock()
	if r.held != 0 {
		r.journal.PayloadSynced(r.held)
		r.held = 0
	}
	var errs []error
	for _, f := range r.open.files {
		errs = append(errs, f.Close())
	}
	r.open.files = nil
	return errors.Join(errs...)
}
