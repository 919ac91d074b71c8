package record

import "fmt"

// Each calls fn for every record in order and stops at its first error, which it returns as it is. Compressed records are
// unpacked as a stream: at most budget bytes (0 = DecompressedMax) and at most the ratio of ErrTooLarge's doc; memory is the
// largest record plus the codec's window. The Record's slices are valid until fn returns. Records that a batch merely claims,
// that do not parse, whose offsets do not rise or leave the batch's range, end the walk with ErrInvalid; fn has then seen the
// records before them. The CRC is not checked.
// Errors: ErrInvalid, ErrTooLarge, ErrCodec, fn's.
func (b Batch) Each(budget int64, fn func(Record) error) error {
	w := walker{last: -1}
	if err := w.open(b, budget); err != nil {
		return err
	}
	defer w.close()
	var r Record
	base, first, lastDelta := b.BaseOffset(), b.FirstTimestamp(), b.LastOffsetDelta()
	appendTime, stamped := b.MaxTimestamp(), b.IsLogAppendTime()
	for i := range b.RecordCount() {
		body, err := w.next(i)
		if err != nil {
			return err
		}
		s, ok := r.parse(body)
		if !ok {
			return invalid(i, "malformed")
		}
		if s.offsetDelta <= w.last || s.offsetDelta > lastDelta {
			return invalid(i, "offset delta out of order")
		}
		w.last = s.offsetDelta
		r.Offset, r.Timestamp = base+int64(s.offsetDelta), first+s.timestampDelta
		if stamped {
			r.Timestamp = appendTime
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return w.end()
}

func invalid(index int32, reason string) error {
	return &RecordError{Index: index, Reason: reason, Err: ErrInvalid}
}

// walker yields the records of a batch, without their length prefix, from memory or from a decompressing stream.
type walker struct {
	plain []byte  // what is left of uncompressed records
	in    *stream // nil = plain
	last  int32   // offset delta of the last record, for Each
}

// open starts the walk. budget 0 = DecompressedMax.
func (w *walker) open(b Batch, budget int64) (err error) {
	if b.Codec() == None {
		w.plain = b.Records()
		return nil
	}
	if b.RecordCount() == 0 && len(b.Records()) == 0 {
		return nil // emptied by compaction, which writes no compressed block
	}
	w.in, err = openStream(b.Codec(), b.Records(), budget)
	return err
}

func (w *walker) close() {
	if w.in != nil {
		w.in.close()
		w.in = nil
	}
}

// next returns record i, valid until the next call.
func (w *walker) next(i int32) ([]byte, error) {
	if w.in != nil {
		body, err := w.in.record()
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		return body, nil
	}
	n, pos := varint32(w.plain, 0)
	if pos < 0 || n < 0 || int(n) > len(w.plain)-pos {
		return nil, invalid(i, "length outside the batch")
	}
	body := w.plain[pos : pos+int(n)]
	w.plain = w.plain[pos+int(n):]
	return body, nil
}

// end checks that nothing follows the last record.
func (w *walker) end() error {
	if w.in != nil {
		return w.in.end()
	}
	if len(w.plain) > 0 {
		return fmt.Errorf("%w: %d bytes behind the last record", ErrInvalid, len(w.plain))
	}
	return nil
}
