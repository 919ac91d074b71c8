package journal

import (
	"bytes"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

// FuzzRecord: any bytes decode without a panic, and what decodes encodes to the same bytes again.
func FuzzRecord(f *testing.F) {
	for _, rec := range []Record{inlineEntry(1, 2, 30), VoteRecord(group(1), 2, 1, "1@x"), DeleteRangeRecord(group(2), 3, 4),
		DroppedRecord(group(2), 3), ResetRecord(group(2), 3, 4), CreatedRecord(group(3), "t-0", 1, 5), {Kind: Deleted, Group: group(3)},
		{Kind: Mark}, {Kind: Entry, Placement: ByReference, PayloadLength: 7, Data: []byte("d")}} {
		h := header{sequence: 9, mark: 8, crcBefore: 7}
		f.Add(appendRecord(nil, &rec, &h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderLen { // give the fuzzer the CRCs
			var h header
			h.kind, h.class, h.logType = Kind(b[5]), entry.Class(b[6]), b[7]
			var rec Record
			h.length = uint32(len(b))
			h.inline = uint32(b[28])<<24 | uint32(b[29])<<16 | uint32(b[30])<<8 | uint32(b[31])
			h.index = uint64(b[63])
			if rec.decode(&h, b[HeaderLen:]) != nil || !h.kind.known() {
				return
			}
			if rec.Placement == Inline && rec.Kind == Entry {
				rec.Inline = b[HeaderLen+int(h.inline):]
			}
			if rec.check() != nil {
				t.Fatalf("decoded, but not to be encoded: %+v", rec)
			}
			again := h
			raw := appendRecord(nil, &rec, &again)
			if h.kind == Entry {
				copy(b[HeaderLen+5:HeaderLen+8], []byte{0, 0, 0}) // reserved
			}
			if !bytes.Equal(raw[HeaderLen:], b[HeaderLen:]) {
				t.Fatalf("%+v\n%x\n%x", rec, raw[HeaderLen:], b[HeaderLen:])
			}
			var back header
			if !back.parse(raw) || back != again {
				t.Fatalf("%+v\n%+v", back, again)
			}
		}
		var h header
		h.parse(b)
	})
}

// cover checks that what a scan reports is in order and covers the file.
type cover struct {
	t    *testing.T
	pos  int
	next uint64
	open bool
}

func (c *cover) begin(int)                   {}
func (c *cover) missing(int, uint64, uint64) {}

func (c *cover) record(r *found) error {
	if c.open || r.pos < c.pos || r.pos > c.pos+prefixLenMax || r.sequence != c.next {
		c.t.Fatalf("record %d at %d, expected %d at %d", r.sequence, r.pos, c.next, c.pos)
	}
	var rec Record
	if unknown(r.raw) == nil && r.kind.known() {
		if err := rec.decode(&r.header, r.raw[HeaderLen:]); err != nil {
			c.t.Fatal(err)
		}
	}
	c.pos, c.next = r.end, r.sequence+1
	return nil
}

func (c *cover) gap(g gap) error {
	if c.open || g.pos != c.pos || g.end < g.pos || g.from != c.next || !g.open && g.to+1 < g.from {
		c.t.Fatalf("gap %+v, expected %d at %d", g, c.next, c.pos)
	}
	c.pos, c.open = g.end, g.open
	if !g.open {
		c.next = g.to + 1
	}
	return nil
}

// FuzzScan: any file is scanned without a panic, what is reported covers it without overlap, and a survey of it and its damage
// can be made. The second half of the input is applied to a good file as edits.
func FuzzScan(f *testing.F) {
	s := fewDozen(f)
	good := s.content[0]
	f.Add(good, []byte{})
	f.Add(good, []byte{0, 0, 255, 1, 0, 7})
	f.Add(good[:len(good)/2], []byte{2, 0, 1})
	f.Add([]byte{}, []byte{1, 1, 1})
	f.Fuzz(func(t *testing.T, b, edits []byte) {
		b = bytes.Clone(b)
		for ; len(edits) >= 3 && len(b) > 0; edits = edits[3:] {
			b[(int(edits[0])<<8|int(edits[1]))%len(b)] ^= edits[2]
		}
		for _, start := range []position{{next: 1, crcKnown: true}, {next: 3}, {next: 1 << 63}} {
			p := start
			c := &cover{t: t, next: p.next}
			if err := scan(b, &p, c); err != nil {
				continue // a newer binary's record
			}
			if c.pos != len(b) {
				t.Fatalf("scan ends at %d of %d", c.pos, len(b))
			}
			v := &survey{files: []file{{first: start.next, bytes: int64(len(b))}}, groups: map[entry.GroupID]groupTail{}}
			v.begin(0)
			p = start
			if err := scan(b, &p, v); err != nil {
				t.Fatal(err)
			}
			next := v.finish(p)
			if _, pos, from, ok := v.cutAt(); ok && (pos > len(b) || from <= v.mark || from > next) {
				t.Fatalf("cut at %d from %d, mark %d, next %d", pos, from, v.mark, next)
			}
		}
	})
}
