package transport

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/vfs"
)

// Stored is an Append whose payload lies in a file. It goes from there to the connection inside the kernel where that is possible: without TLS,
// without compression, to a peer that takes the batches' own checksums for that of the frame. Its Payload is nil.
type Stored struct {
	site.Append
	From Range
}

// Damaged is received in the place of an Append whose payload is not what its rows say, or does not fit the checksums of its batches: the other
// site's disk may have damaged it.
type Damaged struct {
	Partition site.PartitionID
	Err       error
}

// Range is where a payload lies.
type Range interface {
	// File is where the bytes are: n bytes of f from pos on. They do not change.
	File() (f vfs.File, pos, n int64)
	// ReadInto copies the first bytes to b, as many as it holds.
	ReadInto(b []byte) error
	// Failed is told why bytes could not be read; what was to be sent is then not taken by the peer. It must not block.
	Failed(err error)
}

func (m *Stored) size() int {
	_, _, n := m.From.File()
	return int(n)
}

// encodeStored is encode for a Stored.
func (c *conn) encodeStored(m Stored) (f frame, err error) {
	size := m.size()
	if c.files == nil || c.version < versionBatches || c.t.options.Compress {
		f.buffer = c.t.pool.Get(size)
		m.Payload = f.buffer.Bytes()
		if err := m.From.ReadInto(m.Payload); err != nil {
			m.From.Failed(err)
			f.buffer.Release()
			return frame{}, fmt.Errorf("read what is to be sent: %w", err)
		}
		f.head, f.tail, err = c.encodeAppend(&m.Append)
		return f, err
	}
	c.head = m.EncodeHead(append(c.head[:0], make([]byte, headerLen)...), size)
	body := c.head[headerLen:]
	putHeader(c.head, header{kind: kind(site.KindAppend), flags: flagBatches, size: len(body) + size, crc: checksum(body)})
	return frame{head: c.head, from: m.From}, nil
}

// pushFile writes head and what from has behind it, in pieces as push does.
func (c *conn) pushFile(head []byte, from Range) error {
	defer c.files.Forget()
	if err := c.renew(); err != nil {
		return err
	}
	written, err := c.files.WriteMore(head)
	c.s.traffic.out.Add(uint64(written))
	if err != nil {
		return notWritten(c, len(head), err)
	}
	file, pos, n := from.File()
	for n > 0 {
		if err := c.renew(); err != nil {
			return err
		}
		moved, ok, err := c.files.Send(file, pos, n)
		if err == nil && !ok {
			moved, err = c.copyFile(file, pos, n) // a file that the kernel does not know
		}
		c.s.traffic.out.Add(uint64(moved))
		pos, n = pos+moved, n-moved
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return notWritten(c, int(n), err)
		case err != nil:
			return c.pad(from, n, err)
		}
	}
	return nil
}

// pad writes zeros for the last n bytes of a payload that the file does not give, as the frame has promised them: a batch then does not fit its
// checksum, the peer passes the append over, and only that partition suffers from the disk. Where it is the connection that has failed, cause
// is returned.
func (c *conn) pad(from Range, n int64, cause error) error {
	b := c.t.pool.Get(int(min(n, writeBytesMax)))
	defer b.Release()
	clear(b.Bytes())
	for n > 0 {
		if err := c.renew(); err != nil {
			return err
		}
		written, err := c.net.Write(b.Bytes()[:min(n, int64(len(b.Bytes())))])
		c.s.traffic.out.Add(uint64(written))
		if err != nil {
			return notWritten(c, int(n), cause)
		}
		n -= int64(written)
	}
	file, _, _ := from.File()
	c.t.log.Error("segment cannot be read, and what it has for the other site is not sent", "file", file.Name(), "error", cause)
	from.Failed(cause)
	return nil
}

// copyFile writes the first of n bytes from pos on.
func (c *conn) copyFile(file io.ReaderAt, pos, n int64) (written int64, err error) {
	b := c.t.pool.Get(int(min(n, writeBytesMax)))
	defer b.Release()
	if got, err := file.ReadAt(b.Bytes(), pos); got < len(b.Bytes()) {
		return 0, fmt.Errorf("read: %w", err)
	}
	done, err := c.net.Write(b.Bytes())
	return int64(done), err
}
