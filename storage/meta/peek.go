package meta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"

	bolt "go.etcd.io/bbolt"
)

// bbolt's file format, as far as Peek needs it (little-endian on every machine we build for):
//
//	page     id u64, flags u16, count u16, overflow u32, then elements
//	meta     magic u32, version u32, page size u32, flags u32, root page u64, sequence u64, freelist u64, pages u64,
//	         transaction u64, FNV-1a 64 of all before
//	branch   element: pos u32, key length u32, page u64
//	leaf     element: flags u32, pos u32, key length u32, value length u32; pos counts from the element
//	bucket   value of a leaf with flag 1: root page u64 (0 = a page follows inside the value), sequence u64
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	pageHeader  = 16
	flagBranch  = 1
	flagLeaf    = 2
	pagesMax    = 64 // depth of a walk, and pages of overflow believed
)

// Peek reads the journal checkpoint without bbolt, so that damaged pages cost an error and not the process.
func Peek(path string) (JournalCheckpoint, error) {
	var jc JournalCheckpoint
	f, err := os.Open(path)
	if err != nil {
		return jc, err
	}
	defer f.Close()
	p := peeker{f: f}
	if err := p.readMeta(); err != nil {
		return jc, fmt.Errorf("meta: %s: %w", path, err)
	}
	page, err := p.page(p.root)
	if err != nil {
		return jc, fmt.Errorf("meta: %s: %w", path, err)
	}
	sub, err := p.find(page, []byte(bucketCheckpoint), true)
	if err != nil {
		return jc, fmt.Errorf("meta: %s: %w", path, err)
	}
	v, err := p.find(sub, []byte(keyJournal), false)
	if err != nil {
		return jc, fmt.Errorf("meta: %s: %w", path, err)
	}
	value, err := open(v)
	if err != nil {
		return jc, fmt.Errorf("meta: %s: %w", path, err)
	}
	return jc, jc.Decode(value)
}

type peeker struct {
	f        *os.File
	pageSize int64
	root     uint64
	pages    int // read so far
}

// readMeta takes the newer of the two valid meta pages.
func (p *peeker) readMeta() error {
	var newest uint64
	buf := make([]byte, pageHeader+64)
	for _, size := range []int64{4096, 8192, 16384, 65536, 1024, 2048, 32768} {
		for _, at := range []int64{0, size} {
			if _, err := p.f.ReadAt(buf, at); err != nil {
				continue
			}
			m := buf[pageHeader:]
			sum := fnv.New64a()
			sum.Write(m[:56])
			if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint32(m[4:]) != boltVersion ||
				int64(binary.LittleEndian.Uint32(m[8:])) != size || sum.Sum64() != binary.LittleEndian.Uint64(m[56:]) {
				continue
			}
			if tx := binary.LittleEndian.Uint64(m[48:]); p.pageSize == 0 || tx > newest {
				newest, p.pageSize, p.root = tx, size, binary.LittleEndian.Uint64(m[16:])
			}
		}
		if p.pageSize != 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: no valid meta page", ErrCorrupt)
}

func (p *peeker) page(id uint64) ([]byte, error) {
	if p.pages++; p.pages > pagesMax || id > 1<<40 {
		return nil, fmt.Errorf("%w: page %d", ErrCorrupt, id)
	}
	b := make([]byte, p.pageSize)
	if _, err := p.f.ReadAt(b, int64(id)*p.pageSize); err != nil {
		return nil, err
	}
	overflow := int64(binary.LittleEndian.Uint32(b[12:]))
	if binary.LittleEndian.Uint64(b) != id || overflow > pagesMax {
		return nil, fmt.Errorf("%w: page %d", ErrCorrupt, id)
	}
	if overflow == 0 {
		return b, nil
	}
	b = make([]byte, p.pageSize*(1+overflow))
	_, err := p.f.ReadAt(b, int64(id)*p.pageSize)
	return b, err
}

// find walks from page down to key. With bucket, the value is a bucket and its first page is returned.
func (p *peeker) find(page, key []byte, bucket bool) ([]byte, error) {
	corrupt := fmt.Errorf("%w: no %s", ErrCorrupt, key)
	for {
		if len(page) < pageHeader {
			return nil, corrupt
		}
		flags, count := binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))
		if len(page) < pageHeader+count*pageHeader {
			return nil, corrupt
		}
		switch flags {
		case flagBranch:
			next, found := uint64(0), false
			for i := range count {
				e := page[pageHeader*(1+i):]
				k, ok := slice(e, uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:])))
				if !ok {
					return nil, corrupt
				}
				if found && bytes.Compare(k, key) > 0 {
					break
				}
				next, found = binary.LittleEndian.Uint64(e[8:]), true
			}
			if !found {
				return nil, corrupt
			}
			var err error
			if page, err = p.page(next); err != nil {
				return nil, err
			}
		case flagLeaf:
			return p.findLeaf(page, count, key, bucket)
		default:
			return nil, corrupt
		}
	}
}

func (p *peeker) findLeaf(page []byte, count int, key []byte, bucket bool) ([]byte, error) {
	for i := range count {
		e := page[pageHeader*(1+i):]
		pos, klen := uint64(binary.LittleEndian.Uint32(e[4:])), uint64(binary.LittleEndian.Uint32(e[8:]))
		vlen := uint64(binary.LittleEndian.Uint32(e[12:]))
		k, ok := slice(e, pos, klen)
		if !ok {
			break
		}
		if !bytes.Equal(k, key) {
			continue
		}
		v, ok := slice(e, pos+klen, vlen)
		if isBucket := binary.LittleEndian.Uint32(e)&1 != 0; !ok || isBucket != bucket {
			break
		}
		if !bucket {
			return v, nil
		}
		if len(v) < 16 {
			break
		}
		if root := binary.LittleEndian.Uint64(v); root != 0 {
			return p.page(root)
		}
		return v[16:], nil
	}
	return nil, fmt.Errorf("%w: no %s", ErrCorrupt, key)
}

func slice(b []byte, pos, n uint64) ([]byte, bool) {
	if pos+n > uint64(len(b)) {
		return nil, false
	}
	return b[pos : pos+n], true
}

// CheckFile walks every page of the bbolt file at path and the CRC of every value, without changing it. On damaged pages bbolt
// may panic or be killed by a signal: run it in a child process where that must not happen.
func CheckFile(path string) error {
	b, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, NoStatistics: true, PreLoadFreelist: false})
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }() // opened read-only
	return b.View(func(tx *bolt.Tx) error {
		var first error
		for err := range tx.Check() { // drained: its goroutine ends only then
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return first
		}
		return tx.ForEach(func(name []byte, bucket *bolt.Bucket) error { return checkValues(string(name), bucket) })
	})
}

// checkValues opens every value. One bad Raft group checkpoint hurts only its own group, so LoadGroups reports it.
func checkValues(path string, b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return checkValues(path+"/"+string(k), b.Bucket(k))
		}
		if path == bucketRaft {
			return nil
		}
		if _, err := open(v); err != nil {
			return fmt.Errorf("%s/%q: %w", path, k, err)
		}
		return nil
	})
}
