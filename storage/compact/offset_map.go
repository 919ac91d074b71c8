package compact

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// EntryLen is what a key takes, bytes: 16 of hash and 8 of offset, as in Kafka.
const EntryLen = 24

// slot is one place of the table. stored is the offset plus 1, so that zero memory is an empty table.
type slot struct {
	lo, hi uint64
	stored int64
}

// Map knows the last offset of each key that was put, up to a number of keys that is fixed by Reset. The zero Map holds none.
// Who has called Reset calls Release at the end: a large table is no part of Go's heap.
type Map struct {
	memory table
	slots  []slot // of memory
	secret secret
	_      [64]byte // what PutAll writes is in no line of the processor's caches with what Hash reads beside it
	keys   int      // that are in it
	limit  int      // that may be
	latest int64
	warmed uint64

	marks      marks // offsets that are the last ones of their keys
	marksBytes int64 // that they may take
}

// marksShare is the part of the memory that is kept for Mark: 4 MiB of the default 128 MiB, for 33 million offsets. The rest
// has room for 4.9 million keys.
const marksShare = 32

// Reset empties m and gives it room for the keys of up to records records, but for no more than fit into bytes of memory, of
// which the share load is used (Kafka's log.cleaner.io.buffer.load.factor; a full table would be slow). It says how many keys fit:
// at least one. The memory of an earlier Reset is used again where it is neither too small nor much too large. Errors: the system
// has no memory; m is empty and takes no key then.
func (m *Map) Reset(bytes, records int64, load float64) (keys int, err error) {
	load = min(max(load, 0.01), 0.95)
	marksBytes := bytes / marksShare
	most := max((bytes-marksBytes)/EntryLen, 2)
	slots := most
	if need := float64(max(records, 1))/load + 1; need < float64(most) {
		slots = max(int64(need), 2)
	}
	if have := int64(len(m.memory.slots)); have >= slots && have/4 <= slots {
		clear(m.memory.slots[:slots])
	} else {
		m.Release() // let go of the old one first
		if m.memory, err = newTable(slots); err != nil {
			return 0, err
		}
	}
	m.slots = m.memory.slots[:slots]
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails; its documentation
	m.secret = secret{binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])}
	m.keys, m.latest = 0, -1
	m.marksBytes, m.marks.bits = marksBytes, m.marks.bits[:0]
	m.limit = min(max(int(float64(slots)*load), 1), int(slots)-1)
	return m.limit, nil
}

// Release lets go of the memory, and of all keys. Reset makes m usable again.
func (m *Map) Release() {
	m.memory.release()
	*m = Map{}
}

// Full says that no further key fits.
func (m *Map) Full() bool { return m.keys >= m.limit }

// Len is the number of keys.
func (m *Map) Len() int { return m.keys }

// Latest is the offset up to which all records are taken in, -1 = none.
func (m *Map) Latest() int64 { return m.latest }

// SetLatest moves Latest up.
func (m *Map) SetLatest(offset int64) { m.latest = max(m.latest, offset) }

// begin is where the search for a hash begins.
func (m *Map) begin(lo uint64) uint64 {
	i, _ := bits.Mul64(lo, uint64(len(m.slots)))
	return i
}

// find is the place of the hash, or the empty one where it belongs. There always is one, because limit is below the number of
// slots.
func (m *Map) find(lo, hi uint64) *slot {
	i := m.begin(lo)
	for {
		s := &m.slots[i]
		if s.stored == 0 || s.lo == lo && s.hi == hi {
			return s
		}
		if i++; i == uint64(len(m.slots)) {
			i = 0
		}
	}
}

// Put makes offset the last one of key. It returns false, with nothing changed, where the key is new and the map is full.
func (m *Map) Put(key []byte, offset int64) bool {
	if len(m.slots) == 0 {
		return false
	}
	lo, hi := m.secret.sum(key)
	return m.put(&probe{lo, hi, offset})
}

func (m *Map) put(p *probe) bool {
	s := m.find(p.lo, p.hi)
	if s.stored == 0 {
		if m.Full() {
			return false
		}
		m.keys++
	} else if last := s.stored - 1; m.marks.has(last) {
		m.marks.unset(last)
	}
	if m.marks.has(p.offset) {
		m.marks.set(p.offset)
	}
	*s = slot{p.lo, p.hi, p.offset + 1}
	m.SetLatest(p.offset)
	return true
}

// Get is the last offset of key, -1 where it was never put.
func (m *Map) Get(key []byte) int64 {
	if len(m.slots) == 0 {
		return -1
	}
	return m.find(m.secret.sum(key)).stored - 1
}

// Mark has each Put from here on note of its offset, from first on and below end, whether it is the last one of its key, as far as
// the memory goes, so that IsLast says it without looking for a key: in the order of the log that touches little memory, where Get
// touches all of it. It is called between Reset and the first Put.
func (m *Map) Mark(first, end int64) { m.marks.reset(first, end, m.marksBytes) }

// IsLast says whether the record at offset, which was put, is the last one of its key. known is false where Mark has not noted it.
func (m *Map) IsLast(offset int64) (last, known bool) {
	if offset > m.latest || !m.marks.has(offset) {
		return false, false
	}
	return m.marks.get(offset), true
}

// CountLast says how many of the offsets from first to last are the last ones of their keys, where Mark has noted all of them.
func (m *Map) CountLast(first, last int64) (n int, known bool) {
	if first > last || last > m.latest || !m.marks.has(first) || !m.marks.has(last) {
		return 0, false
	}
	return m.marks.count(first, last), true
}

// LastOf appends to dst a bit for each offset from first to last, the lowest of the first word for first, that says whether it is the
// last one of its key. known as for CountLast; dst is as it was where it is false.
func (m *Map) LastOf(dst []uint64, first, last int64) (bits []uint64, known bool) {
	if first > last || last > m.latest || !m.marks.has(first) || !m.marks.has(last) {
		return dst, false
	}
	return m.marks.words(dst, first, last), true
}
