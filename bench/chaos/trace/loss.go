//go:build linux

package main

import (
	"bytes"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// loss is a way to lose power.
type loss int

const (
	syncedOnly loss = iota // nothing that was not synced survives
	all                    // everything survives: a killed process
	ordered                // names as a metadata journal keeps them: all up to some instant; file contents by chance
	zeroes                 // all names and sizes survive, and of what was not synced zeroes
	anything               // any subset
	lossCount
)

func (l loss) String() string {
	return [...]string{"synced only", "all", "ordered", "zeroes", "anything"}[l]
}

// file is a file or a folder that was found after a power loss. Its content must not be changed.
type file struct {
	path    string
	dir     bool
	content []byte
}

// lose says what is on the disk after a power loss now.
func (d *disk) lose(l loss, r *rand.Rand) []file {
	overlay := map[*node]map[string]*node{}
	cut := r.IntN(len(d.namings) + 1)
	for i, m := range d.namings {
		survives := l == all || l == zeroes || l == ordered && i < cut || l == anything && r.IntN(2) == 0
		if !survives {
			continue
		}
		entries := overlay[m.dir]
		if entries == nil {
			entries = maps.Clone(m.dir.durable.entries)
			overlay[m.dir] = entries
		}
		for _, s := range m.set {
			if s.node == nil {
				delete(entries, s.name)
			} else {
				entries[s.name] = s.node
			}
		}
	}
	var files []file
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		if !n.dir {
			files = append(files, file{path: path, content: n.lose(l, r)})
			return
		}
		files = append(files, file{path: path, dir: true})
		entries := overlay[n]
		if entries == nil {
			entries = n.durable.entries
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			walk(entries[name], filepath.Join(path, name))
		}
	}
	walk(d.root, "")
	return files
}

// lose is what is left of a file. A piece of 512 bytes or 4 KiB holds one of the versions that the page cache held since the
// last sync: the durable one, or the one behind any of the changes since. The size is one of the sizes since.
func (n *node) lose(l loss, r *rand.Rand) []byte {
	if len(n.pending) == 0 || l == syncedOnly {
		return n.durable.content
	}
	count := len(n.pending)
	sizeCut, pieceCut, piece := count, func() int { return count }, int64(512)<<(3*r.IntN(2))
	switch {
	case l == all:
		return bytes.Clone(n.content)
	case l == zeroes:
		pieceCut = func() int { return 0 }
	default:
		switch common := r.IntN(count + 1); r.IntN(6) {
		case 0: // nothing
			return n.durable.content
		case 1: // a prefix, with a clean edge
			sizeCut, pieceCut = common, func() int { return common }
		case 2: // a prefix, with a torn edge
			sizeCut, pieceCut = min(common+1, count), func() int { return min(common+r.IntN(2), count) }
		case 3: // each piece on its own, most of them newest; the whole size
			pieceCut = func() int {
				if r.IntN(8) == 0 {
					return r.IntN(count + 1)
				}
				return count
			}
		case 4: // each piece on its own; any size
			sizeCut, pieceCut = common, func() int { return r.IntN(count + 1) }
		case 5: // each piece whole or not at all; the whole size
			pieceCut = func() int { return count * r.IntN(2) }
		}
	}
	return n.replay(sizeCut, piece, pieceCut)
}

// replay applies to each piece the changes below its cut.
func (n *node) replay(sizeCut int, piece int64, pieceCut func() int) []byte {
	content := bytes.Clone(n.durable.content)
	size := int64(len(content))
	cuts := map[int64]int{}
	for i, c := range n.pending {
		end := c.pos + int64(len(c.data))
		if grow := end - int64(len(content)); grow > 0 {
			content = append(content, make([]byte, grow)...)
		}
		if i < sizeCut {
			if size = max(size, end); c.truncate {
				size = c.pos
				clear(content[size:])
			}
		}
		for at := c.pos; at < end; {
			key := at / piece
			next := min((key+1)*piece, end)
			if _, ok := cuts[key]; !ok {
				cuts[key] = pieceCut()
			}
			if cuts[key] > i {
				copy(content[at:next], c.data[at-c.pos:])
			}
			at = next
		}
	}
	return content[:size]
}

var fingerprintSeed = maphash.MakeSeed()

// fingerprint tells states apart.
func fingerprint(files []file) uint64 {
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	for _, f := range files {
		h.WriteString(f.path)
		h.WriteByte(0)
		var size [8]byte
		for i := range size {
			size[i] = byte(len(f.content) >> (8 * i))
		}
		h.Write(size[:])
		h.Write(f.content)
	}
	return h.Sum64()
}

// materialise writes a state below dir, which must not exist.
func materialise(files []file, dir string) error {
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		var err error
		if f.dir {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, f.content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
