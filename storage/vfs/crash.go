package vfs

import (
	"math/rand/v2"
	"slices"
)

// CrashClone returns the disk as a power loss would leave it now: what was synced, and of the rest any subset. Writes are kept,
// lost or torn at sectors of 512 bytes or pages of 4 KiB; a file's size may have grown without its bytes (they read as zeros);
// creates, renames and removes not covered by SyncDir happen or not, independently of the files' content. m lives on unharmed;
// its open files and locks do not exist in the clone, nor do hooks. rng nil = nothing that was not synced.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	c := NewMem()
	c.Now = m.Now
	m.mu.Lock()
	defer m.mu.Unlock()
	k := newKeeper(rng)
	c.mu.root = k.dir(m.mu.root, map[*node]*node{})
	c.mu.capacity = m.mu.capacity
	c.mu.used = sizeOf(c.mu.root)
	return c
}

func sizeOf(n *node) int64 {
	size := int64(len(n.data))
	for _, e := range n.entries {
		size += sizeOf(e)
	}
	return size
}

// keeper draws what survives. The odds are drawn once for each clone, so that all-or-nothing states come up as well as mixtures.
type keeper struct {
	rng    *rand.Rand
	odds   float64 // that an unsynced change survives whole
	torn   float64 // that one that does not survive whole leaves parts
	sector int
}

func newKeeper(rng *rand.Rand) *keeper {
	k := &keeper{rng: rng, sector: 512}
	if rng == nil {
		return k
	}
	k.odds = []float64{0, 1, 0.5, 0.9}[rng.IntN(4)]
	k.torn = []float64{0, 0.5, 1}[rng.IntN(3)]
	if rng.IntN(2) == 0 {
		k.sector = 4096
	}
	return k
}

func (k *keeper) chance(p float64) bool { return k.rng != nil && k.rng.Float64() < p }

// dir copies a folder; done keeps hard identity, since a lost rename half may leave a file under two names.
func (k *keeper) dir(n *node, done map[*node]*node) *node {
	entries := map[string]*node{}
	for name, e := range n.kept {
		entries[name] = e
	}
	for i := range n.changes {
		if k.chance(k.odds) {
			n.changes[i].apply(entries)
		}
	}
	c := newDir()
	for _, name := range sortedNames(entries) {
		e := entries[name]
		if done[e] == nil {
			if e.dir {
				done[e] = k.dir(e, done)
			} else {
				done[e] = k.file(e)
			}
		}
		c.entries[name], c.kept[name] = done[e], done[e]
	}
	return c
}

func (k *keeper) file(n *node) *node {
	data := slices.Clone(n.synced)
	for i := range n.writes {
		w := &n.writes[i]
		switch {
		case k.chance(k.odds):
			data = w.apply(data)
		case w.data != nil && k.chance(k.torn):
			data = k.tear(data, w)
		}
	}
	return &node{modTime: n.modTime, data: data, synced: slices.Clone(data)}
}

// tear keeps some sectors of a write, and perhaps the size that it gave the file.
func (k *keeper) tear(data []byte, w *write) []byte {
	end := w.pos + int64(len(w.data))
	if end > int64(len(data)) && k.chance(0.5) {
		data = resize(data, end)
	}
	for pos := w.pos; pos < end; {
		next := min((pos/int64(k.sector)+1)*int64(k.sector), end)
		if k.chance(0.5) {
			data = overlay(data, pos, w.data[pos-w.pos:next-w.pos])
		}
		pos = next
	}
	return data
}
