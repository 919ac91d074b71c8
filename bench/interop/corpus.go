package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// corpusFiles are the Go files of Go's own source tree, sorted.
var corpusFiles = sync.OnceValues(func() ([]string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	var files []string
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return err
	})
	slices.Sort(files)
	if err == nil && len(files) == 0 {
		err = errors.New("no Go sources in GOROOT")
	}
	return files, err
})

// lineBytesMax is the longest line that is sent; many of them make batches that do not ride in the journal.
const lineBytesMax = 256 << 10

// lines yields count lines of real text, numbered from first: Go's own source tree line by line, again and again. The slice is
// valid until the next one. Left out are lines that a console reader would change (carriage returns, broken UTF-8), and those that
// no client sends by its defaults: time/tzdata has one of 1.3 MB.
func lines(first, count int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		files, err := corpusFiles()
		if err != nil {
			yield(nil, err)
			return
		}
		n := 0
		var line []byte
		for n < count {
			for _, path := range files {
				data, err := os.ReadFile(path)
				if err != nil {
					yield(nil, err)
					return
				}
				for text := range strings.Lines(string(data)) {
					text = strings.TrimSuffix(text, "\n")
					if len(text) > lineBytesMax || strings.ContainsAny(text, "\r\x00") || !utf8.ValidString(text) {
						continue
					}
					line = append(strconv.AppendInt(line[:0], int64(first+n), 10), '\t')
					line = append(line, text...)
					if !yield(line, nil) {
						return
					}
					if n++; n == count {
						return
					}
				}
			}
		}
	}
}

// digest hashes lines in order.
type digest struct {
	hash  hash.Hash
	count int
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

func (d *digest) add(line []byte) {
	d.hash.Write(line)
	d.hash.Write([]byte{'\n'})
	d.count++
}

func (d *digest) String() string {
	return fmt.Sprintf("%d lines, sha256 %s", d.count, hex.EncodeToString(d.hash.Sum(nil)))
}

// same returns an error when d is not want.
func (d *digest) same(what string, want *digest) error {
	if d.String() != want.String() {
		return fmt.Errorf("%s: got %s, want %s", what, d, want)
	}
	fmt.Printf("    %s: %s\n", what, d)
	return nil
}

// digestOf hashes the lines of a command's output.
func digestOf(output string) *digest {
	d := newDigest()
	for line := range strings.Lines(output) {
		d.add([]byte(strings.TrimSuffix(line, "\n")))
	}
	return d
}

// writeLines writes lines to a file and adds them to each of into.
func writeLines(path string, first, count int, into ...*digest) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for line, err := range lines(first, count) {
		if err != nil {
			file.Close()
			return err
		}
		for _, d := range into {
			d.add(line)
		}
		_, _ = w.Write(line) // Flush returns the error
		_ = w.WriteByte('\n')
	}
	return errors.Join(w.Flush(), file.Close())
}
