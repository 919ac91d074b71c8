package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// foundLogs is what both logs have.
type foundLogs struct{ records, bytes int64 }

// compareLogs reads the segments of the topic in two data directories whose brokers have stopped. They must have the same batches, byte for byte,
// whatever segments these are in, and offsets that rise; without a gap unless promoted says that one of the sites has been.
func compareLogs(one, other string, promoted bool) (sum foundLogs, err error) {
	for i := range sitesPartitions {
		folder := fmt.Sprintf("%s-%d", sitesTopic, i)
		found, err := comparePartition(filepath.Join(one, folder), filepath.Join(other, folder), promoted)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", folder, err)
		}
		sum.records, sum.bytes = sum.records+found.records, sum.bytes+found.bytes
	}
	return sum, nil
}

func comparePartition(one, other string, promoted bool) (found foundLogs, err error) {
	a, err := openBatches(one)
	if err != nil {
		return found, err
	}
	defer a.close()
	b, err := openBatches(other)
	if err != nil {
		return found, err
	}
	defer b.close()
	for next := int64(0); ; {
		x, errX := a.next()
		y, errY := b.next()
		switch {
		case errX == io.EOF && errY == io.EOF:
			return found, nil
		case errX != nil || errY != nil:
			return found, fmt.Errorf("behind offset %d: one log %w, the other %w", next-1, orMore(errX), orMore(errY))
		case !bytes.Equal(x, y):
			return found, fmt.Errorf("the batches at offset %d differ", next)
		}
		base := int64(binary.BigEndian.Uint64(x))
		if base < next || base > next && !promoted {
			return found, fmt.Errorf("offset %d follows %d", base, next-1)
		}
		next = base + int64(int32(binary.BigEndian.Uint32(x[23:]))) + 1
		found.records, found.bytes = found.records+next-base, found.bytes+int64(len(x))
	}
}

var errMore = errors.New("goes on")

func orMore(err error) error {
	if err == nil {
		return errMore
	}
	return err
}

// batches reads the batches of a partition's folder in order.
type batches struct {
	files []string // to come
	file  *os.File // nil = none is open
	in    *bufio.Reader
	buf   []byte
}

func openBatches(folder string) (*batches, error) {
	files, err := segmentFiles(folder) // in order: names are offsets of 20 digits
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no segments in %s", folder)
	}
	return &batches{files: files, in: bufio.NewReaderSize(nil, 1<<20)}, err
}

// next is the next batch, valid until the next call; io.EOF behind the last one.
func (b *batches) next() ([]byte, error) {
	for {
		if b.file == nil {
			if len(b.files) == 0 {
				return nil, io.EOF
			}
			f, err := os.Open(b.files[0])
			if err != nil {
				return nil, err
			}
			b.file, b.files = f, b.files[1:]
			b.in.Reset(f)
		}
		var head [12]byte
		_, err := io.ReadFull(b.in, head[:])
		if err == io.EOF {
			b.close()
			continue
		}
		if err != nil {
			return nil, err
		}
		length := int(int32(binary.BigEndian.Uint32(head[8:])))
		if length < batchHeaderLen-len(head) || length > responseMax {
			return nil, fmt.Errorf("%s has a batch of %d bytes", b.file.Name(), length)
		}
		b.buf = append(append(b.buf[:0], head[:]...), make([]byte, length)...)
		_, err = io.ReadFull(b.in, b.buf[len(head):])
		return b.buf, err
	}
}

func (b *batches) close() {
	if b.file != nil {
		_ = b.file.Close() // it was only read
		b.file = nil
	}
}
