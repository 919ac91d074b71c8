package record

import "fmt"

// Each calls fn for every record in order and stops at its first error, which it returns as it is. Compressed records are
// unpacked as a stream: at most budget bytes (0 = DecompressedMax) and at most the ratio of ErrTooLarge's doc; memory is the
// largest record plus the codec's window. The Record's slices are valid until fn returns. Records that a batch merely claims,
// that do not parse, whose offsets do not rise or leave the batch's range, end the walk with ErrInvalid; fn has then seen the
// records before them. The CRC is not checked.
// Errors: ErrInvalid, ErrTooLarge, ErrCodec, fn's.
func (b Batch) Each(budget int64, fn func(Record) error) error {
	var w walker
	if err := w.open(b, budget); err != nil {
		return err
	}
	defer w.close()
	var r Record
	base, first := b.BaseOffset(), b.FirstTimestamp()
	appendTime, stamped := b.MaxTimestamp(), b.IsLogAppendTime()
	for i := range b.RecordCount() {
		body, err := w.step(i)
		if err != nil {
			return err
		}
		r.parse(body, &w.scanned)
		r.Offset, r.Timestamp = base+int64(w.offsetDelta), first+w.timestampDelta
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

// walker yields the records of a batch from memory or from a decompressing stream.
type walker struct {
	scanned           // of the record that step has returned
	last, most int32  // offset deltas for step: of the record before, and the largest that there may be
	plain      []byte // uncompressed records
	pos        int    // in plain, of the next record
	in         *stream
	raw        []byte // the record that next has returned, with its length prefix
}

// open starts the walk. budget 0 = DecompressedMax.
func (w *walker) open(b Batch, budget int64) (err error) {
	w.last, w.most = -1, b.LastOffsetDelta()
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

// next returns record i without its length prefix, valid until the next call.
func (w *walker) next(i int32) (body []byte, err error) {
	if w.in != nil {
		if w.raw, body, err = w.in.record(); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		return body, nil
	}
	n, pos := varint32(w.plain, w.pos)
	if pos < 0 || n < 0 || int(n) > len(w.plain)-pos {
		return nil, invalid(i, "length outside the batch")
	}
	end := pos + int(n)
	w.raw = w.plain[w.pos:end]
	w.pos = end
	return w.plain[pos:end], nil
}

// short is next and scan in one for an uncompressed record of the usual kind: no number of it takes more than two bytes, and it has no
// headers. nil = it is another one, or none; nothing was changed then.
func (w *walker) short() (body []byte) {
	b := w.plain[w.pos:]
	n, start := short(b, 0)
	end := start + int(n>>1)
	if n&1 != 0 || end > len(b) {
		return nil
	}
	body = b[start:end:end]
	timestamp, pos := short(body, 1) // behind the attributes
	offset, pos := short(body, pos)
	key, pos := short(body, pos)
	keyPos, keyEnd := pos, pos
	if key&1 == 0 {
		keyEnd += int(key >> 1)
	}
	value, pos := short(body, keyEnd)
	if value&1 == 0 {
		pos += int(value >> 1)
	}
	if (pos != len(body)-1 || body[pos] != 0) && !scanHeaders(body, pos) {
		return nil
	}
	w.timestampDelta, w.offsetDelta = int64(timestamp>>1)^-int64(timestamp&1), int32(offset>>1)^-int32(offset&1)
	w.keyNull, w.valueNull = key&1 != 0, value&1 != 0
	w.keyPos, w.keyEnd = keyPos, keyEnd
	w.raw = b[:end]
	w.pos += end
	return body
}

// step is next that fills w.scanned, and refuses records that do not parse, whose offsets do not rise, or leave the batch's range.
func (w *walker) step(i int32) (body []byte, err error) {
	if w.in == nil {
		body = w.short()
	}
	if body == nil {
		if body, err = w.next(i); err != nil {
			return nil, err
		}
		var ok bool
		if w.scanned, ok = scan(body); !ok {
			return nil, invalid(i, "malformed")
		}
	}
	if w.offsetDelta <= w.last || w.offsetDelta > w.most {
		return nil, invalid(i, "offset delta out of order")
	}
	w.last = w.offsetDelta
	return body, nil
}

// end checks that nothing follows the last record.
func (w *walker) end() error {
	if w.in != nil {
		return w.in.end()
	}
	if rest := len(w.plain) - w.pos; rest > 0 {
		return fmt.Errorf("%w: %d bytes behind the last record", ErrInvalid, rest)
	}
	return nil
}
