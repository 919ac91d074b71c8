package sites

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/storage/archive"
)

// lostReader keeps the archive that was read last: opening one reads all of it. Safe for concurrent use.
type lostReader struct {
	mu     sync.Mutex
	id     string
	reader *archive.Reader
}

func (l *lostReader) open(ctx context.Context, archives *archive.Archives, id string) (*archive.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader != nil && l.id == id {
		return l.reader, nil
	}
	r, err := archives.Reader(ctx, id)
	if err != nil {
		return nil, err
	}
	l.id, l.reader = id, r
	return r, nil
}

func (l *lostReader) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reader = nil
}

// LostList implements operator.DR.
func (d DR) LostList(ctx context.Context) (operator.LostList, error) {
	archives, err := d.p.archives.List(ctx)
	if err != nil {
		return operator.LostList{}, err
	}
	list := operator.LostList{Archives: []operator.LostArchive{}}
	for i := range archives {
		a := &archives[i]
		out := operator.LostArchive{
			ID: a.ID, Site: d.p.options.Config.Name, Node: d.p.options.Identity.NodeID, Topic: a.Partition.Topic, Partition: a.Partition.Index,
			SiteEpoch: a.OldSiteEpoch, FirstOffset: a.FirstOffset, LastOffset: a.LastOffset, Records: a.Records, Bytes: a.Bytes, Archived: a.Archived,
		}
		if a.Damage != nil {
			out.Damage = a.Damage.Error()
		}
		list.Archives = append(list.Archives, out)
	}
	if d.asked {
		return list, nil
	}
	var there operator.LostList
	if err := d.p.forward(ctx, operator.OpLostList, nil, &there); err != nil {
		list.Missing = fmt.Sprintf("those of the other site: %v", err)
	}
	list.Archives = append(list.Archives, there.Archives...)
	return list, nil
}

// lostPageBytes is how long a page of records is, about.
const lostPageBytes = 1 << 20

var errPageFull = errors.New("page full")

// LostShow implements operator.DR.
func (d DR) LostShow(ctx context.Context, from operator.LostPlace) (operator.LostPage, error) {
	if d.elsewhere(from.Site) {
		var out operator.LostPage
		err := d.p.forward(ctx, operator.OpLostShow, from, &out)
		return out, err
	}
	if from.Site != d.p.options.Config.Name {
		return operator.LostPage{}, &operator.Error{Code: operator.CodeRefused, Text: "the archive is at the other site, which cannot be reached from here",
			Next: "ask a broker of " + from.Site}
	}
	r, err := d.p.lost.open(ctx, d.p.archives, from.ID)
	if err != nil {
		return operator.LostPage{}, lostError(err)
	}
	page := operator.LostPage{}
	err = r.Records(ctx, from.Offset, func(rec archive.Record) error {
		if rec.Control {
			return nil // a transaction's marker: no client wrote it
		}
		line, err := lostLine(&r.Archive, &rec)
		if err != nil {
			return err
		}
		if rec.Offset == from.Offset {
			line = line[min(max(from.Byte, 0), int64(len(line))):]
		}
		room := lostPageBytes - len(page.Lines)
		if room <= 0 || len(line) > room && len(page.Lines) > 0 {
			page.Next = &operator.LostPlace{Site: from.Site, Node: from.Node, ID: from.ID, Offset: rec.Offset}
			return errPageFull
		}
		if len(line) > room { // a part of a long one
			page.Lines = append(page.Lines, line[:room]...)
			at := int64(room)
			if rec.Offset == from.Offset {
				at += from.Byte
			}
			page.Next = &operator.LostPlace{Site: from.Site, Node: from.Node, ID: from.ID, Offset: rec.Offset, Byte: at}
			return errPageFull
		}
		page.Lines = append(page.Lines, line...)
		return nil
	})
	switch {
	case errors.Is(err, errPageFull):
	case errors.Is(err, archive.ErrDamaged):
		page.Damage = err.Error()
	case err != nil:
		return operator.LostPage{}, lostError(err)
	}
	return page, nil
}

func lostLine(a *archive.Archive, rec *archive.Record) ([]byte, error) {
	out := operator.LostRecord{
		Topic: a.Partition.Topic, Partition: a.Partition.Index, Offset: rec.Offset, Timestamp: rec.Timestamp, Key: rec.Key, Value: rec.Value,
		Headers: []operator.LostHeader{}, Transaction: rec.Transaction.String(),
	}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, operator.LostHeader{Key: string(h.Key), Value: h.Value})
	}
	line, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("record at offset %d: %w", rec.Offset, err)
	}
	return append(line, '\n'), nil
}

func lostError(err error) error {
	if errors.Is(err, archive.ErrUnknown) {
		return &operator.Error{Code: operator.CodeRefused, Text: "there is no such archive", Next: "tandem dr lost list"}
	}
	return err
}

// LostRemove implements operator.DR.
func (d DR) LostRemove(ctx context.Context, place operator.LostPlace) error {
	if d.elsewhere(place.Site) {
		return d.p.forward(ctx, operator.OpLostRemove, place, nil)
	}
	if place.Site != d.p.options.Config.Name {
		return &operator.Error{Code: operator.CodeRefused, Text: "the archive is at the other site, which cannot be reached from here", Next: "ask a broker of " + place.Site}
	}
	d.p.lost.forget()
	return lostError(d.p.archives.Remove(place.ID))
}

// Verify implements operator.DR.
func (d DR) Verify(ctx context.Context, o operator.VerifyOrder) (operator.Verification, error) {
	return operator.Verification{}, errors.New("not yet")
}

// VerifyProgress implements operator.DR.
func (d DR) VerifyProgress(ctx context.Context, id string) (operator.Verification, error) {
	return operator.Verification{}, errors.New("not yet")
}
