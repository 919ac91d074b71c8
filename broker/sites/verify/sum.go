package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// Range is a part of a log that is compared.
type Range = operator.VerifyRange

// Sum is what one side has in a Range.
type Sum = operator.VerifySum

// BatchLine is one batch of a Range.
type BatchLine = operator.VerifyBatch

// Log is a partition's log at one site; a sites.Replica is one.
type Log interface {
	LogView() (view site.LogView, leads bool)
	ReadShipped(offset, end int64, bytesMax int, alloc func(n int) []byte) ([]entry.Row, []byte, error)
}

const (
	readBytes  = 1 << 20
	batchesMax = 1000 // that are told one by one
)

// Compute is the Sum of a range of a log; nil = it is not led here. Cost: a read of the range. Errors: of the log, of ctx.
func Compute(ctx context.Context, log Log, r Range) (Sum, error) {
	if log == nil {
		return Sum{Busy: "the partition is not there"}, nil
	}
	view, leads := log.LogView()
	s := Sum{To: r.To}
	switch d := &view.Durable; {
	case !leads:
		s.Busy = "its leader is elsewhere"
		return s, nil
	case d.Role == entry.Following && d.Shared == entry.UnknownOffset:
		s.Busy = "it returns, and its end is not compared yet"
		return s, nil
	default:
		s.Start, s.End = view.Lineage.LogStart, d.NextOffset
	}
	w := walk{sum: &s, all: sha256.New(), each: r.Each}
	end := min(r.To, s.End)
	for at := max(r.From, s.Start); at < end && !w.full(r.BytesMax); {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		rows, payload, err := log.ReadShipped(at, s.End, readBytes, func(n int) []byte { return make([]byte, n) })
		if err != nil {
			return s, fmt.Errorf("read from offset %d: %w", at, err)
		}
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			row := &rows[i]
			if row.BaseOffset >= end || w.full(r.BytesMax) {
				at = end
				break
			}
			if row.LastOffset < at || uint64(row.Pos)+uint64(row.Length) > uint64(len(payload)) {
				return s, fmt.Errorf("read from offset %d: batch %d to %d cannot be", at, row.BaseOffset, row.LastOffset)
			}
			w.add(row, payload[row.Pos:row.Pos+row.Length])
			at = row.LastOffset + 1
		}
	}
	if w.full(r.BytesMax) {
		s.To = min(w.next, r.To)
	}
	s.SHA256 = w.all.Sum(nil)
	return s, nil
}

// walk adds up batches.
type walk struct {
	sum  *Sum
	all  hash.Hash
	each bool
	next int64 // behind the last batch
}

func (w *walk) full(bytesMax int64) bool {
	return bytesMax > 0 && w.sum.Bytes >= bytesMax || w.each && len(w.sum.Each) == batchesMax
}

// add takes a batch as it is stored.
func (w *walk) add(row *entry.Row, batch []byte) {
	var head [24]byte
	binary.BigEndian.PutUint64(head[0:], uint64(row.BaseOffset))
	binary.BigEndian.PutUint64(head[8:], uint64(row.LastOffset))
	binary.BigEndian.PutUint32(head[16:], uint32(row.LeaderEpoch))
	binary.BigEndian.PutUint32(head[20:], row.Length)
	w.all.Write(head[:])
	w.all.Write(batch)
	w.sum.Batches++
	w.sum.Bytes += int64(len(batch))
	w.next = row.LastOffset + 1
	if w.each {
		one := sha256.New()
		one.Write(head[:])
		one.Write(batch)
		w.sum.Each = append(w.sum.Each, BatchLine{Base: row.BaseOffset, Last: row.LastOffset, Epoch: row.LeaderEpoch, Length: row.Length, SHA256: one.Sum(nil)})
	}
}
