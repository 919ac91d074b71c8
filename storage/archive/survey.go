package archive

import (
	"context"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"sort"

	"github.com/tandembroker/tandem/protocol/record"
)

// markerBytesMax is more than a control batch has; larger ones are not read.
const markerBytesMax = 4 << 10

// survey is what one walk over all batches tells.
type survey struct {
	damages
	largest int64 // bytes of the largest batch whose CRC is right
	decided map[int64]*decisions
}

// decisions are what the markers of one producer say.
type decisions struct {
	last    int64 // offset of the last marker
	aborted []span
}

// span is a range of offsets, from exclusive, to inclusive.
type span struct{ from, to int64 }

func (v *survey) marker(c record.Control, offset int64) {
	if c.Type != record.Abort && c.Type != record.Commit {
		return
	}
	d := v.decided[c.ProducerID]
	if d == nil {
		d = &decisions{last: -1}
		v.decided[c.ProducerID] = d
	}
	if c.Type == record.Abort {
		d.aborted = append(d.aborted, span{d.last, offset})
	}
	d.last = offset
}

// outcome is what became of a transactional record.
func (v *survey) outcome(producerID, offset int64) Transaction {
	d := v.decided[producerID]
	if d == nil || offset > d.last || v.any() { // a marker may be among what is damaged
		return Undecided
	}
	i := sort.Search(len(d.aborted), func(i int) bool { return d.aborted[i].to >= offset })
	if i < len(d.aborted) && offset > d.aborted[i].from {
		return Aborted
	}
	return Committed
}

// compare finds where the files are not those of the document.
func (v *survey) compare(dir string, a *Archive, files []logFile) {
	for _, s := range a.Segments {
		name := path.Join(dir, s.File)
		switch i := slices.IndexFunc(files, func(f logFile) bool { return f.name == s.File }); {
		case i < 0:
			v.add(name, 0, "the file is missing")
		case files[i].size != s.Bytes:
			v.add(name, min(files[i].size, s.Bytes), "%d bytes, the document says %d", files[i].size, s.Bytes)
		}
	}
	for _, f := range files {
		if !slices.ContainsFunc(a.Segments, func(s Segment) bool { return f.name == s.File }) {
			v.add(path.Join(dir, f.name), 0, "the document does not know the file")
		}
	}
}

// file walks one file. want is the CRC of all of it, "" = not known. Errors: I/O, of ctx; damage is noted.
func (v *survey) file(ctx context.Context, r *Reader, f logFile, want string) error {
	before := len(v.list) + v.more
	err := r.each(ctx, f, func(s *scanner, h *header) error { return v.batch(s, h) }, func(s *scanner) error {
		sum, err := s.wholeSum(ctx)
		if err == nil && want != "" && crcText(sum) != want && len(v.list)+v.more == before {
			v.add(s.name, 0, "CRC %s, the document says %s: a base offset or a leader epoch is damaged", crcText(sum), want)
		}
		return err
	})
	return v.note(err)
}

func (v *survey) batch(s *scanner, h *header) error {
	if h.misfits != "" {
		v.add(s.name, h.pos, "%s", h.misfits)
	}
	if h.batch.IsControl() {
		return v.control(s, h)
	}
	sum, err := s.sum(h)
	if err != nil {
		return err
	}
	if sum != h.batch.CRC() {
		v.add(s.name, h.pos, "CRC %08x, the batch says %08x", sum, h.batch.CRC())
	} else {
		v.largest = max(v.largest, h.length)
	}
	return nil
}

func (v *survey) control(s *scanner, h *header) error {
	if h.length > markerBytesMax {
		v.add(s.name, h.pos, "control batch of %d bytes", h.length)
		return s.skipSummed(h)
	}
	batch, err := s.read(h, new([]byte))
	if err != nil {
		return err
	}
	err = batch.CheckCRC()
	if err == nil {
		v.largest = max(v.largest, h.length)
		var c record.Control
		if c, err = batch.ReadControl(); err == nil {
			v.marker(c, batch.BaseOffset())
			return nil
		}
	}
	v.add(s.name, h.pos, "%v", err)
	return nil
}

// each calls fn for each batch of f, which takes it from the scanner, and done at the end of what can be walked.
func (r *Reader) each(ctx context.Context, f logFile, fn func(*scanner, *header) error, done func(*scanner) error) error {
	name := path.Join(r.dir, f.name)
	file, err := r.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer file.Close()
	s := newScanner(file, f.size, r.upper(f))
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("archive: read %s: %w", name, err)
		}
		h, ok, err := s.next()
		if err != nil {
			return err
		}
		if !ok {
			return done(s)
		}
		if err := fn(s, &h); err != nil {
			return err
		}
	}
}

// upper is the last offset that a record of f may have.
func (r *Reader) upper(f logFile) int64 {
	upper := int64(math.MaxInt64)
	if r.Archive.Damage == nil {
		upper = r.Archive.LastOffset
	}
	for _, other := range r.files {
		if other.base > f.base {
			return min(upper, other.base-1)
		}
	}
	return upper
}
