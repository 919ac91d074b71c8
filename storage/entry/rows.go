package entry

import (
	"fmt"

	"github.com/tandembroker/tandem/protocol/record"
)

// RowOf describes a batch, but for its position in a payload: with the offsets and the leader epoch that it carries. Its CRC is not
// checked. Errors: a control batch that does not decode.
func RowOf(b record.Batch) (Row, error) {
	r := Row{
		Length: uint32(b.Length()), BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), LeaderEpoch: b.LeaderEpoch(),
		CoordinatorEpoch: unassigned, ProducerID: unassigned, MaxTimestamp: b.MaxTimestamp(), BaseSequence: unassigned,
		ProducerEpoch: unassigned, Attributes: b.Attributes(), ControlType: unassigned, LastOffsetDelta: b.LastOffsetDelta(),
	}
	if b.HasProducerID() {
		r.ProducerID, r.ProducerEpoch, r.BaseSequence = b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()
	}
	if b.IsControl() {
		c, err := b.ReadControl()
		if err != nil {
			return Row{}, err
		}
		r.ControlType, r.CoordinatorEpoch = int8(c.Type), c.CoordinatorEpoch
	}
	return r, nil
}

// RowOfHeader is RowOf for a batch of which only the first record.HeaderLen bytes are at hand; ok is false for a control batch, whose row needs its
// record, and for what is no header of a batch.
func RowOfHeader(header []byte) (row Row, ok bool) {
	if len(header) < record.HeaderLen {
		return Row{}, false
	}
	b := record.Batch(header[:record.HeaderLen])
	length := b.DeclaredLength()
	if b.Magic() != 2 || length < record.HeaderLen || b.IsControl() {
		return Row{}, false
	}
	row, err := RowOf(b)
	row.Length = uint32(length)
	return row, err == nil
}

// RowsOf rebuilds the rows of whole batches that stand back to back, as they are in a segment: what shipping needs, since the entries
// that stored them go with the snapshots. It stops at RowsMax batches; bytes is how much of payload the rows cover.
// Errors: ErrCorrupt, naming the position.
func RowsOf(payload []byte) (rows []Row, bytes int, err error) {
	for rest := payload; len(rest) > 0 && len(rows) < RowsMax; {
		var b record.Batch
		if b, rest, err = record.Next(rest); err != nil {
			return nil, 0, fmt.Errorf("%w: batch at byte %d: %w", ErrCorrupt, bytes, err)
		}
		r, err := RowOf(b)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: batch at byte %d: %w", ErrCorrupt, bytes, err)
		}
		r.Pos = uint32(bytes)
		rows, bytes = append(rows, r), bytes+len(b)
	}
	return rows, bytes, nil
}

// CheckLinked compares the payload of a link append with its rows, and the batches with their CRCs, and takes the payload's checksum: the
// offsets and epochs are the other site's and stay as they are. Errors: ErrCorrupt.
func (h *Header) CheckLinked(payload []byte) error {
	rows, n, err := RowsOf(payload)
	if err != nil {
		return err
	}
	if n != len(payload) || n != int(h.PayloadLength) || len(rows) != len(h.Rows) {
		return fmt.Errorf("%w: %d batches in %d bytes, the header says %d in %d", ErrCorrupt, len(rows), len(payload), len(h.Rows), h.PayloadLength)
	}
	h.PayloadCRC = 0
	for i := range rows {
		if rows[i] != h.Rows[i] {
			return fmt.Errorf("%w: batch %d is %+v, its row says %+v", ErrCorrupt, i, rows[i], h.Rows[i])
		}
		b := record.Batch(payload[rows[i].Pos : rows[i].Pos+rows[i].Length])
		if err := b.CheckCRC(); err != nil {
			return fmt.Errorf("%w: batch %d: %w", ErrCorrupt, i, err)
		}
		h.PayloadCRC = record.JoinChecksums(h.PayloadCRC, b.Checksum(), len(b))
	}
	return h.checkRows()
}
