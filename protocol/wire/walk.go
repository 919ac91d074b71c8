package wire

import (
	"errors"
	"fmt"
	"math"
)

const (
	// When it is decoded, a request may take decodeFactor times its body in bytes of memory, but no more than decodeMax, plus
	// decodeSlack. Only a Produce can be large enough for decodeMax to count, and its records take nothing.
	decodeFactor = 8
	decodeMax    = 64 << 20
	decodeSlack  = 1 << 20

	stringOverhead = 16  // rounding of a small allocation
	tagMapMemory   = 400 // kmsg keeps unknown tags in a map: its first group of slots,
	tagEntryMemory = 160 // and its growth, what was thrown away on the way included

	stringLengthMax = math.MaxInt16
)

// Check walks a request body by its message definition and reports whether every count, length, null and tag section in it is
// true, and whether its decoded form stays within 8 times the body, at most 64 MiB, plus 1 MiB. Time is linear in the body,
// which is borrowed until return. Versions are those of the definition; which of them are served is the API table's business
// (ParseHeader).
//
// Bytes behind the last field are ignored, as Kafka does (AbstractRequest.parseRequest leaves them unread).
// Errors: ErrMalformed, ErrUnsupportedVersion.
func Check(key, version int16, body []byte) error {
	_, err := measure(key, version, body)
	return err
}

// measure is Check, and returns how many bytes of memory decoding is expected to take at most, and how many bytes of the body
// are the request.
func measure(key, version int16, body []byte) (walked, error) {
	s := schemaFor(key)
	if s == nil || version < s.min || version > s.max {
		return walked{}, fmt.Errorf("%w: key %d version %d has no message definition", ErrUnsupportedVersion, key, version)
	}
	w := walker{
		reader:   reader{src: body},
		version:  version,
		flexible: version >= s.flexible,
		budget:   decodeBudget(len(body)),
	}
	if err := w.walk(s.fields); err != nil {
		return walked{}, fmt.Errorf("%w: %s version %d: %w", ErrMalformed, s.name, version, err)
	}
	if w.bad { // every step above reports it; a step that forgets to must not let the request through
		return walked{}, fmt.Errorf("%w: %s version %d: ends early", ErrMalformed, s.name, version)
	}
	return walked{memory: w.memory, bytes: len(body) - len(w.src), elements: w.elements}, nil
}

type walked struct {
	memory   int64
	bytes    int
	elements int
}

// decodeBudget is the most memory, in bytes, that a body of n bytes may take when it is decoded.
func decodeBudget(n int) int64 { return min(decodeFactor*int64(n), decodeMax) + decodeSlack }

// walker checks one request body.
type walker struct {
	reader
	version  int16
	flexible bool
	memory   int64 // bytes that decoding what was passed takes
	budget   int64 // the most that memory may be
	elements int   // of all arrays that were passed
}

// charge adds n bytes of decoded memory, and makes the walker bad when that is over the budget.
func (w *walker) charge(n int64) {
	w.memory += n
	if w.memory > w.budget {
		w.fail()
	}
}

// walk passes over the fields of one struct and its tag section.
func (w *walker) walk(fields []field) error {
	for i := range fields {
		f := &fields[i]
		if !f.versions.has(w.version) || f.tagged.has(w.version) {
			continue
		}
		if err := w.field(f); err != nil {
			return err
		}
	}
	if w.flexible {
		return w.tags(fields)
	}
	return nil
}

// field passes over one field, an array with all its elements.
func (w *walker) field(f *field) error {
	if !f.array {
		return w.value(f, f.nullable.has(w.version))
	}
	count := w.length(false)
	if w.bad || count < 0 && !f.nullable.has(w.version) {
		return wrong(f, "array length missing, malformed or null")
	}
	w.charge(int64(max(count, 0)) * int64(f.memory))
	w.elements += max(count, 0)
	for ; count > 0 && !w.bad; count-- {
		if err := w.value(f, false); err != nil {
			return err
		}
	}
	if w.bad {
		return wrong(f, "array does not end, or takes too much memory")
	}
	return nil
}

// value passes over one value, or one element of an array.
func (w *walker) value(f *field, nullable bool) error {
	switch f.kind {
	case kindFixed:
		w.span(int(f.width))
	case kindString, kindBytes:
		length := w.length(f.kind == kindString)
		switch {
		case length < 0 && !nullable:
			return wrong(f, "length missing, malformed or null")
		case f.kind == kindString && length > stringLengthMax:
			return wrong(f, "string too long")
		case length > 0 && f.kind == kindString:
			w.charge(int64(length) + stringOverhead)
		}
		w.span(max(length, 0))
	case kindStruct:
		if nullable {
			switch mark := int8(w.uint8()); {
			case mark == -1:
				return nil
			case mark < -1:
				return wrong(f, "neither present nor null")
			}
			w.charge(int64(f.memory))
		}
		return w.walk(f.fields)
	}
	if w.bad {
		return wrong(f, "ends early, or takes too much memory")
	}
	return nil
}

// length reads the length of a string (short) or of bytes or an array; -1 is null. Lengths below that make the walker bad.
func (w *walker) length(short bool) int {
	var n int
	switch {
	case w.flexible:
		n = int(w.uvarint()) - 1
	case short:
		n = int(w.int16())
	default:
		n = int(w.int32())
	}
	if n < -1 || n > math.MaxInt32 {
		w.fail()
	}
	if w.bad {
		return -1
	}
	return n
}

// tags passes over a tag section: the tagged fields of this version, and unknown ones in whatever order.
func (w *walker) tags(fields []field) error {
	count := w.uvarint()
	unknown := false
	for ; count > 0 && !w.bad; count-- {
		tag := w.uvarint()
		content := w.span(int(w.uvarint()))
		if w.bad {
			break
		}
		if f := findTag(fields, tag); f != nil {
			if err := w.tagged(f, content); err != nil {
				return err
			}
			continue
		}
		if !unknown {
			unknown = true
			w.charge(tagMapMemory)
		}
		w.charge(tagEntryMemory)
	}
	if w.bad {
		return errors.New("tag section does not end, or takes too much memory")
	}
	return nil
}

// tagged checks the content of a known tag. Kafka reads the field and does not look at the size; kmsg reads within the size,
// and in all versions, older ones than the tag's too. Only what both read alike is let through.
func (w *walker) tagged(f *field, content []byte) error {
	inner := *w
	inner.src = content
	inner.version = max(w.version, f.tagged.from)
	inner.charge(int64(f.memory)) // a tag may come more than once, and each time it is decoded anew
	if err := inner.field(f); err != nil {
		return err
	}
	if len(inner.src) > 0 {
		return wrong(f, "tag longer than its field")
	}
	w.memory, w.elements = inner.memory, inner.elements
	return nil
}

func findTag(fields []field, tag uint32) *field {
	for i := range fields {
		if f := &fields[i]; f.tag == tag && f.tagged != none {
			return f
		}
	}
	return nil
}

// wrong says which field is wrong, and why.
func wrong(f *field, reason string) error { return fmt.Errorf("%s: %s", f.name, reason) }
