package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// reading is one case of the fetch figure.
type reading struct {
	bytes     int32 // of one fetch
	consumers int   // connections, each with one fetch in flight, each reading everything
}

func (f reading) String() string {
	return fmt.Sprintf("%d MiB fetches, %d consumers", f.bytes>>20, f.consumers)
}

// runFetch is figure (d): data that is in the page cache, read from the start to the end.
func runFetch(ctx context.Context, o options, r *report) error {
	const batchBytes = 1 << 20
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	lanes, err := b.topicProducers(ctx, "bench", nil, load{batchBytes, 4})
	if err != nil {
		return err
	}
	batch := makeBatch(batchBytes, 1)
	_, err = drive(lanes, times(o.bytes/int64(len(batch))))
	closeLanes(lanes)
	if err != nil {
		return err
	}
	total := o.bytes / int64(len(batch)) * int64(len(batch))
	file := filepath.Join(o.dir, "sendfile")
	if err := fillFile(file, batch, total); err != nil {
		return err
	}
	defer os.Remove(file)
	cases := []reading{{1 << 20, 1}, {8 << 20, 1}, {1 << 20, 4}, {8 << 20, 4}}
	if o.quick {
		cases = cases[:1]
	}
	for _, f := range chosen(o, cases) {
		if err := fetchCase(ctx, o, r, b, f, file, total); err != nil {
			return fmt.Errorf("%v: %w", f, err)
		}
	}
	return nil
}

func fetchCase(ctx context.Context, o options, r *report, b *broker, f reading, file string, total int64) error {
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		got, err := together(f.consumers, func() error { return consume(b.addr, "bench", f.bytes, total) })
		if err != nil {
			return err
		}
		base, err := sendfileRound(file, f, total)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // warm-up
		}
		mb := float64(total) * float64(f.consumers) / 1e6
		r.add(sample{Figure: "fetch", Case: f.String(), Round: round, Broker: mb / got.Seconds(), Baseline: mb / base.Seconds(),
			Unit: "MB/s"}, target{atLeast: 0.7})
	}
	return ctx.Err()
}

// together runs n of fn at once and returns the time until the last has ended.
func together(n int, fn func() error) (time.Duration, error) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range n {
		wg.Go(func() { errs[i] = fn() })
	}
	wg.Wait()
	return time.Since(start), errors.Join(errs...)
}

// consume reads a partition from offset 0 until it has seen total bytes of whole batches.
func consume(addr, topic string, bytes int32, total int64) error {
	c, err := dialConn(addr)
	if err != nil {
		return err
	}
	defer c.close()
	for offset, seen := int64(0), int64(0); seen < total; {
		req := fetchRequest(topic, offset, bytes)
		if err := c.send(c.frame(req)); err != nil {
			return err
		}
		body, err := c.receive(c.correlation)
		if err != nil {
			return err
		}
		records, err := fetched(body, req)
		if err != nil {
			return err
		}
		next, n, err := endOffset(records)
		if err != nil {
			return fmt.Errorf("at offset %d: %w", offset, err)
		}
		offset, seen = next, seen+int64(n)
	}
	return nil
}

// sendfileRound is the baseline of fetches: a child process sends the file by sendfile, in pieces as large as a fetch, to
// readers that have buffers as large as a consumer's.
func sendfileRound(file string, f reading, total int64) (time.Duration, error) {
	child, addr, err := startChild("_sendfile", file, strconv.Itoa(int(f.bytes)))
	if err != nil {
		return 0, err
	}
	defer child.stop()
	return together(f.consumers, func() error {
		c, err := dialConn(addr)
		if err != nil {
			return err
		}
		defer c.close()
		buf := make([]byte, f.bytes)
		for seen := int64(0); seen < total; {
			n := min(total-seen, int64(len(buf)))
			if _, err := io.ReadFull(c.r, buf[:n]); err != nil {
				return err
			}
			seen += n
		}
		return nil
	})
}

// sendFile is the child: arguments are the file and the bytes of a piece.
func sendFile(args []string) {
	piece, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		childFailed(err)
	}
	serveChild(func(c *net.TCPConn) error {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			// ReadFrom of a TCP connection uses sendfile for a limited file.
			n, err := c.ReadFrom(io.LimitReader(f, piece))
			if err != nil || n == 0 {
				return err
			}
		}
	})
}

// fillFile writes total bytes of the batch, stamped with rising offsets as a segment has them.
func fillFile(path string, batch []byte, total int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	own := append([]byte(nil), batch...)
	count := int64(binary.BigEndian.Uint32(own[57:]))
	for i := range total / int64(len(own)) {
		binary.BigEndian.PutUint64(own, uint64(i*count))
		if _, err := f.Write(own); err != nil {
			return err
		}
	}
	return nil
}
