package compact

// Hashed are keys whose hash is known, each with an offset, on their way to a Map. The zero Hashed are ready; they keep their
// memory when they are taken.
type Hashed struct {
	list   []probe
	latest int64 // plus 1
}

// probe is a key whose place is about to be looked at.
type probe struct {
	lo, hi uint64
	offset int64
}

// togetherMax is how many keys are looked for together. A large table lies in memory, not in the processor's caches, and a wait for
// one place is as long as one for several that were asked for at once.
const togetherMax = 64

// Len is the number of keys.
func (h *Hashed) Len() int { return len(h.list) }

// SetLatest is what Map.SetLatest is told once all of these keys are put.
func (h *Hashed) SetLatest(offset int64) { h.latest = max(h.latest, offset+1) }

// Hash adds key to h. It may be called beside PutAll of other Hashed, because it takes nothing of m but what Reset has drawn. key
// is borrowed until return.
func (m *Map) Hash(h *Hashed, key []byte, offset int64) {
	lo, hi := m.secret.sum(key)
	h.list = append(h.list, probe{lo, hi, offset})
}

// HashTwo is a Hash of each of two keys, in order, which takes less time where they are of one length.
func (m *Map) HashTwo(h *Hashed, first []byte, firstOffset int64, second []byte, secondOffset int64) {
	if len(first) != len(second) {
		m.Hash(h, first, firstOffset)
		m.Hash(h, second, secondOffset)
		return
	}
	lo, hi, lo2, hi2 := m.secret.sums(first, second)
	h.list = append(h.list, probe{lo, hi, firstOffset}, probe{lo2, hi2, secondOffset})
}

// warm has the processor fetch the places of all keys of the list at once, the beginning and the end of each: one in four lies in
// two of its cache's lines.
func (m *Map) warm(list []probe) {
	var sum uint64
	for i := range list {
		s := &m.slots[m.begin(list[i].lo)]
		sum += s.lo + uint64(s.stored)
	}
	m.warmed = sum // so that the compiler leaves the loads in
}

// PutAll is a Put of each key, in order, and empties h. False: the map is full, and the key that did not fit and those behind it
// were not put.
func (m *Map) PutAll(h *Hashed) bool {
	list, latest := h.list, h.latest-1
	h.list, h.latest = h.list[:0], 0
	if len(m.slots) == 0 {
		return len(list) == 0
	}
	for len(list) > 0 {
		some := list[:min(len(list), togetherMax)]
		list = list[len(some):]
		m.warm(some)
		for i := range some {
			if !m.put(&some[i]) {
				return false
			}
		}
	}
	m.SetLatest(latest)
	return true
}

// GetAll appends what Get says of each key to dst, in order, and empties h.
func (m *Map) GetAll(dst []int64, h *Hashed) []int64 {
	list := h.list
	h.list, h.latest = h.list[:0], 0
	for len(list) > 0 {
		some := list[:min(len(list), togetherMax)]
		list = list[len(some):]
		if len(m.slots) > 0 {
			m.warm(some)
		}
		for i := range some {
			found := int64(-1)
			if len(m.slots) > 0 {
				found = m.find(some[i].lo, some[i].hi).stored - 1
			}
			dst = append(dst, found)
		}
	}
	return dst
}
