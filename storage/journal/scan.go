package journal

import (
	"bytes"
	"hash/crc32"
)

// position is where a chain of records is: what the next record must be.
type position struct {
	next      uint64 // sequence
	crcBefore uint32
	crcKnown  bool // false behind damage, and at the start of a journal whose front is gone
}

// follows says whether h may be the next record.
func (p *position) follows(h *header) bool {
	return h.sequence == p.next && h.plausible() && (!p.crcKnown || h.crcBefore == p.crcBefore)
}

func (p *position) advance(h *header) { *p = position{h.sequence + 1, h.crc, true} }

// found is a record in the bytes of a file whose header is whole.
type found struct {
	header
	pos int    // of the header
	end int    // behind the record
	raw []byte // the record; nil = its body is damaged
}

// gap is a part of a file that is not a record in its place.
type gap struct {
	pos, end int
	from     uint64 // first sequence that should be here
	to       uint64 // last one; from-1 = none is lost, only bytes between records are wrong
	open     bool   // nothing whole follows in this file: to is not known
	own      *found // header of the first lost record, where that much is whole
}

// visitor is told what is in a file, in order. An error ends the scan.
type visitor interface {
	// record is called for each record in its place; r.raw is borrowed until return.
	record(r *found) error
	gap(g gap) error
}

// scan walks the bytes of a journal file from p on. b is never trusted. What it reports covers b without overlap.
func scan(b []byte, p *position, v visitor) error {
	for pos := 0; pos < len(b); {
		r, ok := p.frame(b, pos)
		if ok {
			if err := visit(b, &r, p, v, pos); err != nil {
				return err
			}
			pos = r.end
			continue
		}
		g := p.resync(b, pos)
		if err := v.gap(g); err != nil {
			return err
		}
		if g.open {
			return nil
		}
		if g.to+1 > p.next {
			*p = position{next: g.to + 1}
		}
		pos = g.end
		// What follows was looked at by resync: its length prefix may be wrong, its header is whole.
		r, ok = p.headerAt(b, pos+prefixBefore(b, pos))
		if !ok {
			continue
		}
		if err := visit(b, &r, p, v, pos); err != nil {
			return err
		}
		pos = r.end
	}
	return nil
}

// visit hands over a record whose header is whole, as a record or, where its body is not, as the gap that it leaves.
func visit(b []byte, r *found, p *position, v visitor, pos int) error {
	if err := unknown(b[r.pos:]); err != nil {
		return &atError{r.pos, err}
	}
	p.advance(&r.header)
	if r.raw != nil {
		return v.record(r)
	}
	return v.gap(gap{pos: pos, end: r.end, from: r.sequence, to: r.sequence, own: r})
}

// atError is an error at a byte of the file being scanned.
type atError struct {
	pos int
	err error
}

func (e *atError) Error() string { return e.err.Error() }
func (e *atError) Unwrap() error { return e.err }

// frame reads the frame at pos: length prefix and record, in its place in the chain.
func (p *position) frame(b []byte, pos int) (found, bool) {
	n, size, ok := prefixOf(b[pos:])
	if !ok {
		return found{}, false
	}
	r, ok := p.headerAt(b, pos+size)
	return r, ok && r.length == n
}

// headerAt reads the record at pos, which must be next in the chain and fit into b.
func (p *position) headerAt(b []byte, pos int) (r found, ok bool) {
	if pos < 0 || pos > len(b) || !r.parse(b[pos:]) || !p.follows(&r.header) || uint64(r.length) > uint64(len(b)-pos) {
		return found{}, false
	}
	r.pos, r.end = pos, pos+int(r.length)
	if raw := b[pos:r.end]; crc32.Checksum(raw[HeaderLen:], castagnoli) == r.bodyCRC {
		var rec Record
		if unknown(raw) != nil || rec.decode(&r.header, raw[HeaderLen:]) == nil {
			r.raw = raw
		}
	}
	return r, true
}

// prefixBefore is the size of the length prefix at pos, when a record's header follows it; 0 = the header is at pos itself.
func prefixBefore(b []byte, pos int) int {
	if n, size, ok := prefixOf(b[pos:]); ok {
		var h header
		if h.parse(b[pos+size:]) && h.length == n {
			return size
		}
	}
	return 0
}

// resync says what the damage at pos hides: the frame there is not the next record. The returned gap ends where a record with
// a whole header begins. It tries, in this order,
//
//   - the header that should be here: only the length prefix is wrong;
//   - the place where the length prefix says that the next record begins: one record is lost;
//   - every place with a whole header of a later sequence (search).
func (p *position) resync(b []byte, pos int) gap {
	g := gap{pos: pos, from: p.next}
	for size := 1; size <= prefixLenMax; size++ {
		if r, ok := p.headerAt(b, pos+size); ok && prefixLen(r.length) == size {
			g.end, g.to = r.pos, p.next-1
			return g
		}
	}
	if n, size, ok := prefixOf(b[pos:]); ok {
		after := position{next: p.next + 1}
		if next := pos + size + int(n); next < len(b) {
			if _, ok := after.frame(b, next); ok {
				g.end, g.to, g.own = next, p.next, p.lost(b, pos)
				return g
			}
		}
	}
	if start, first, ok := p.search(b, pos+1); ok {
		g.end, g.to = start, first-1
	} else {
		g.end, g.open = len(b), true
	}
	g.own = p.lost(b, pos)
	return g
}

// lost is the header of the record that should be at pos, where it is whole though the record is not.
func (p *position) lost(b []byte, pos int) *found {
	for size := 1; size <= prefixLenMax; size++ {
		var r found
		if pos+size < len(b) && r.parse(b[pos+size:]) && p.follows(&r.header) {
			r.pos, r.end = pos+size, len(b)
			return &r
		}
	}
	return nil
}

// run is a chain of records that search found.
type run struct {
	start       int // of the first frame; of the first header, where the prefix is wrong
	first, last uint64
}

// search looks for the next records that are to be believed behind pos, and returns where they begin and their first sequence.
// Of all chains with later sequences the one that reaches the end of b is true, else the longest one; an earlier chain is true
// as well when its sequences fit in front of it. (A payload may hold bytes that look like records; they do not fit.)
func (p *position) search(b []byte, pos int) (start int, first uint64, ok bool) {
	runs, sure := p.runs(b, pos)
	if len(runs) == 0 {
		return 0, 0, false
	}
	pick := runs[sure]
	for i := sure - 1; i >= 0; i-- {
		if runs[i].last < pick.first {
			pick = runs[i]
		}
	}
	return pick.start, pick.first, true
}

// runs lists the chains behind pos up to the first one that reaches the end of b; sure is that one, or else the longest.
// Records of one chain are not looked at again as chains of their own.
func (p *position) runs(b []byte, pos int) (runs []run, sure int) {
	best := uint64(0)
	for pos < len(b) {
		i := bytes.Index(b[pos:], []byte(magic))
		if i < 0 {
			break
		}
		at := pos + i
		pos = at + 1
		var h header
		if !h.parse(b[at:]) || !h.plausible() || h.sequence < p.next || h.sequence-p.next > uint64(len(b)/HeaderLen) {
			continue
		}
		c := position{next: h.sequence}
		if h.sequence == p.next {
			c = *p
		}
		r, ok := c.headerAt(b, at)
		if !ok {
			continue
		}
		link := run{start: at, first: h.sequence}
		if n := prefixLen(h.length); at >= n && hasPrefix(b[:at], h.length) {
			link.start = at - n
		}
		for ok {
			pos = r.end
			c.advance(&r.header)
			r, ok = c.frame(b, pos)
		}
		link.last = c.next - 1
		runs = append(runs, link)
		if n := link.last - link.first + 1; n > best || pos == len(b) {
			best, sure = n, len(runs)-1
		}
		if pos == len(b) {
			break
		}
	}
	return runs, sure
}
