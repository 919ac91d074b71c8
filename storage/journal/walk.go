package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tandembroker/tandem/storage/vfs"
)

// fileBytesMax bounds a journal file: the largest segment size that can be configured, and one batch.
const fileBytesMax = 2 << 30

// walker walks all files of a journal in order. The same files always give the same walk.
type walker struct {
	fs    vfs.FS
	dir   string
	files []file
	start uint64 // the first sequence that should be there
}

// walkVisitor is a visitor that is also told where it is.
type walkVisitor interface {
	visitor
	// begin is called for each file, before its records.
	begin(i int)
	// missing is called when file i begins above the end of the file before: from to to are in neither.
	missing(i int, from, to uint64)
}

// walk calls v for everything in the journal and returns where it ends.
func (w *walker) walk(v walkVisitor) (position, error) {
	p := position{next: w.start, crcKnown: w.start == 1}
	var buf []byte
	for i := range w.files {
		f := &w.files[i]
		name := filepath.Join(w.dir, fileName(f.first))
		b, err := readFile(w.fs, name, buf)
		if err != nil {
			return p, fmt.Errorf("journal: read %s: %w", name, err)
		}
		buf, f.bytes = b, int64(len(b))
		v.begin(i)
		if f.first > p.next {
			v.missing(i, p.next, f.first-1)
			p = position{next: f.first}
		}
		if err := scan(b, &p, v); err != nil {
			var at *atError
			if errors.As(err, &at) {
				return p, fmt.Errorf("journal: %s, byte %d: %w", name, at.pos, at.err)
			}
			return p, err
		}
	}
	return p, nil
}

// readFile reads all of name, into buf where it fits.
func readFile(fsys vfs.FS, name string, buf []byte) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > fileBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, a journal file has at most %d", ErrCorrupt, size, int64(fileBytesMax))
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	n, err := f.ReadAt(buf, 0)
	if err == io.EOF && int64(n) == size {
		err = nil
	}
	return buf, err
}

// listFiles lists the journal's files. Names that the library ignores are ignored, names that would make it delete others
// (left by truncations, which this package never asks for) are refused.
func listFiles(fsys vfs.FS, dir string) ([]file, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var files []file
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".START") || strings.HasSuffix(name, ".END") {
			return nil, fmt.Errorf("%w: %s was not written by Tandem: move it away", ErrCorrupt, filepath.Join(dir, name))
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil || first == 0 || name != fileName(first) || e.Type()&fs.ModeDir != 0 {
			continue
		}
		files = append(files, file{first: first}) // ReadDir sorts, and so do names of one length
	}
	return files, nil
}
