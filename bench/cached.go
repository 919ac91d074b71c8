package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// runCached is figure (b): write.caching=true, acks=all.
func runCached(ctx context.Context, o options, r *report) error {
	for _, l := range loads(o) {
		if err := cachedCase(ctx, o, r, l); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
	}
	return nil
}

func cachedCase(ctx context.Context, o options, r *report, l load) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	batch := makeBatch(l.batch, 1)
	count := max(o.bytes/int64(len(batch)), int64(l.inFlight))
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		got, err := cachedRound(ctx, b, fmt.Sprintf("cached-%d", round), l, count)
		if err != nil {
			return err
		}
		unix.Sync() // the dirty pages of one side must not be written back at the other's expense
		base, err := receiveRound(o.dir, batch, l, count)
		if err != nil {
			return err
		}
		unix.Sync()
		if round == 0 {
			continue // warm-up
		}
		mb := float64(len(batch)) / 1e6
		r.add(sample{Figure: "cached", Case: l.String(), Round: round, Broker: got.perSecond() * mb, Baseline: base.perSecond() * mb,
			Unit: "MB/s", Extra: got.extra()}, target{atLeast: 0.8})
	}
	return ctx.Err()
}

// cachedRound produces count batches to a new topic, whose data is deleted behind it.
func cachedRound(ctx context.Context, b *broker, topic string, l load, count int64) (outcome, error) {
	lanes, err := b.topicProducers(ctx, topic, map[string]string{"write.caching": "true"}, l)
	if err != nil {
		return outcome{}, err
	}
	defer closeLanes(lanes)
	if _, err := drive(lanes, times(int64(4*l.inFlight))); err != nil { // connections and the first segment are not the measure
		return outcome{}, err
	}
	got, err := drive(lanes, times(count))
	if err != nil {
		return got, err
	}
	return got, lanes[0].conn.delete(topic)
}

// receiveRound is the baseline of cached produces, sent by the same lanes: a child process that receives the frames, checks
// each batch's CRC32C, writes it to a file and answers 8 bytes.
func receiveRound(dir string, batch []byte, l load, count int64) (outcome, error) {
	child, addr, err := startChild("_receive", filepath.Join(dir, "baseline"))
	if err != nil {
		return outcome{}, err
	}
	defer child.stop()
	defer os.Remove(filepath.Join(dir, "baseline"))
	lanes := make([]*lane, l.inFlight)
	defer closeLanes(lanes)
	for i := range lanes {
		c, err := dialConn(addr)
		if err != nil {
			return outcome{}, err
		}
		frame := make([]byte, 4+8, 4+8+len(batch)) // size, then as much of a header as send patches
		binary.BigEndian.PutUint32(frame, uint32(8+len(batch)))
		lanes[i] = &lane{conn: c, window: 1, frames: [][]byte{append(frame, batch...)}, check: func([]byte) error { return nil }}
	}
	if _, err := drive(lanes, times(int64(4*l.inFlight))); err != nil {
		return outcome{}, err
	}
	return drive(lanes, times(count))
}

// receive is the child: arguments are the file to write.
func receive(args []string) {
	f, err := os.Create(args[0])
	if err != nil {
		childFailed(err)
	}
	var end atomic.Int64 // of the file
	serveChild(func(c *net.TCPConn) error { return receiveFrames(c, f, &end) })
}

func receiveFrames(c *net.TCPConn, f *os.File, end *atomic.Int64) error {
	var buf []byte
	head := make([]byte, 12)
	ack := make([]byte, 8)
	binary.BigEndian.PutUint32(ack, 4)
	in := bufio.NewReaderSize(c, 64<<10) // the body is larger and goes around it
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(head)) - 8
		if n < batchHeaderLen || n > responseMax {
			return errors.New("frame size")
		}
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return err
		}
		if crc32.Checksum(buf[21:n], castagnoli) != binary.BigEndian.Uint32(buf[17:]) {
			return errors.New("wrong CRC")
		}
		if _, err := f.WriteAt(buf[:n], end.Add(int64(n))-int64(n)); err != nil {
			return err
		}
		copy(ack[4:], head[posCorrelation:])
		if _, err := c.Write(ack); err != nil {
			return err
		}
	}
}
