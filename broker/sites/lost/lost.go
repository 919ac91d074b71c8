// Package lost lets an operator read the archives of lost records that lie on this broker's disk, a page at a time: a page ends where it is
// full, within a record too, so that neither a long archive nor a large record is more than one answer can hold.
package lost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/storage/archive"
)

// Options configures a Shelf. Archives is required.
type Options struct {
	Archives *archive.Archives
	Site     string // of this broker
	Node     int32
	// PageBytes is the size of a page; 0 = 4 MiB.
	PageBytes int
}

const (
	pageBytesDefault = 4 << 20
	readersMax       = 4 // archives that are being read; opening one reads all of it
)

// Shelf is the archives of one broker. Safe for concurrent use.
type Shelf struct {
	opts Options
	mu   struct {
		sync.Mutex
		readers []*archive.Reader // the one used last comes last
	}
}

// New returns a Shelf. It reads nothing yet.
func New(o Options) *Shelf {
	if o.PageBytes <= 0 {
		o.PageBytes = pageBytesDefault
	}
	return &Shelf{opts: o}
}

// List describes the archives.
func (s *Shelf) List(ctx context.Context) ([]operator.LostArchive, error) {
	all, err := s.opts.Archives.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]operator.LostArchive, 0, len(all))
	for i := range all {
		a := &all[i]
		out := operator.LostArchive{ID: a.ID, Site: s.opts.Site, Node: s.opts.Node, Topic: a.Partition.Topic, Partition: a.Partition.Index, SiteEpoch: a.OldSiteEpoch,
			FirstOffset: a.FirstOffset, LastOffset: a.LastOffset, Records: a.Records, Bytes: a.Bytes, Archived: a.Archived}
		if a.Damage != nil {
			out.Damage = a.Damage.Error()
		}
		list = append(list, out)
	}
	return list, nil
}

// Figures are for the status.
func (s *Shelf) Figures() (operator.ArchiveCounts, error) {
	n, bytes, err := s.opts.Archives.Figures()
	return operator.ArchiveCounts{Archives: n, Bytes: bytes}, err
}

// Remove deletes an archive for good.
func (s *Shelf) Remove(p operator.LostPlace) error {
	s.forget(p.ID)
	return explain(s.opts.Archives.Remove(p.ID))
}

var errFull = errors.New("page is full")

// Show reads a page from a place on. What is damaged is passed over, and told on the last page.
func (s *Shelf) Show(ctx context.Context, p operator.LostPlace) (operator.LostPage, error) {
	if p.Offset < 0 || p.Byte < 0 {
		return operator.LostPage{}, &operator.Error{Code: operator.CodeUsage, Text: fmt.Sprintf("no archive has offset %d, byte %d", p.Offset, p.Byte)}
	}
	r, err := s.reader(ctx, p.ID)
	if err != nil {
		return operator.LostPage{}, explain(err)
	}
	page := operator.LostPage{Lines: make([]byte, 0, s.opts.PageBytes)}
	err = r.Records(ctx, p.Offset, func(rec archive.Record) error {
		if rec.Control {
			return nil // no client has written it
		}
		next := p
		next.Offset, next.Byte = rec.Offset, 0
		if len(page.Lines) == s.opts.PageBytes {
			page.Next = &next
			return errFull
		}
		line, err := lineOf(&r.Archive, &rec)
		if err != nil {
			return err
		}
		if rec.Offset == p.Offset {
			next.Byte = min(p.Byte, int64(len(line)))
			line = line[next.Byte:]
		}
		n := min(len(line), s.opts.PageBytes-len(page.Lines))
		page.Lines = append(page.Lines, line[:n]...)
		if n < len(line) {
			next.Byte += int64(n)
			page.Next = &next
			return errFull
		}
		return nil
	})
	switch {
	case errors.Is(err, errFull):
		return page, nil
	case errors.Is(err, archive.ErrDamaged):
		page.Damage = err.Error()
		return page, nil
	}
	return page, err
}

// lineOf is a record as a line of JSON.
func lineOf(a *archive.Archive, r *archive.Record) ([]byte, error) {
	out := operator.LostRecord{Topic: a.Partition.Topic, Partition: a.Partition.Index, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value,
		Headers: make([]operator.LostHeader, len(r.Headers)), Transaction: r.Transaction.String()}
	for i, h := range r.Headers {
		out.Headers[i] = operator.LostHeader{Key: string(h.Key), Value: h.Value}
	}
	line, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("record %d of %s: %w", r.Offset, a.ID, err)
	}
	return append(line, '\n'), nil
}

// reader opens an archive, or returns it as it was opened before.
func (s *Shelf) reader(ctx context.Context, id string) (*archive.Reader, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.mu.readers, func(r *archive.Reader) bool { return r.Archive.ID == id })
	if i >= 0 {
		r := s.mu.readers[i]
		s.mu.readers = append(slices.Delete(s.mu.readers, i, i+1), r)
		s.mu.Unlock()
		return r, nil
	}
	s.mu.Unlock()
	r, err := s.opts.Archives.Reader(ctx, id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.readers = append(s.mu.readers, r)
	if over := len(s.mu.readers) - readersMax; over > 0 {
		s.mu.readers = slices.Delete(s.mu.readers, 0, over)
	}
	return r, nil
}

func (s *Shelf) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.readers = slices.DeleteFunc(s.mu.readers, func(r *archive.Reader) bool { return r.Archive.ID == id })
}

// explain says what to do about an error of archives.
func explain(err error) error {
	switch {
	case errors.Is(err, archive.ErrUnknown):
		return &operator.Error{Code: operator.CodeFailed, Text: err.Error(), Next: "tandem dr lost list"}
	case errors.Is(err, archive.ErrBusy):
		return &operator.Error{Code: operator.CodeRefused, Text: err.Error(), Next: "try again in a second"}
	}
	return err
}
