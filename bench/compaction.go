package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// compactionCase is what the compacted log looks like.
type compactionCase struct {
	record int    // bytes of a record
	loaded bool   // measures a producer of another topic meanwhile, not the speed
	codec  string // lz4 or zstd: what the batches are packed with; empty = nothing
}

func (c compactionCase) String() string {
	if c.loaded {
		return fmt.Sprintf("p99 of a producer meanwhile, %d-byte records", c.record)
	}
	if c.codec != "" {
		return fmt.Sprintf("%d-byte records in %s, half stay", c.record, c.codec)
	}
	return fmt.Sprintf("%d-byte records, half stay", c.record)
}

const (
	compactionBatch    = 64 << 10
	compactionSettle   = 1500 * time.Millisecond // three checkpoint intervals
	compactionSegments = "33554432"
	incrementalVersion = 1
)

// runCompaction is the figure of compaction: a log in which every second record has a younger one of its key, against a plain
// sequential copy of the same segment files, cold both; and the latency of a producer that writes to another topic meanwhile,
// against the same producer alone. Batches that are packed are unpacked twice and packed anew, which no copy of fewer bytes
// does: for those there is no target.
func runCompaction(ctx context.Context, o options, r *report) error {
	o.sets = append(slices.Clone(o.sets), "log.cleaner.backoff.ms=10", "checkpoint.interval.ms=500")
	cases := []compactionCase{{record: 1024}, {record: 1024, loaded: true}, {record: 128}, {record: 128, codec: "lz4"}, {record: 128, codec: "zstd"}}
	if o.quick {
		cases = cases[:1]
	}
	for _, c := range chosen(o, cases) {
		if err := runCompactionCase(ctx, o, r, c); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}

func runCompactionCase(ctx context.Context, o options, r *report, cs compactionCase) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	c, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	producer, err := b.topicProducers(ctx, "beside", nil, load{16 << 10, 1})
	if err != nil {
		return err
	}
	defer closeLanes(producer)
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		topic := fmt.Sprintf("compacted-%d", round)
		folder := filepath.Join(b.dir, topic+"-0")
		size, err := fillCompacted(ctx, c, topic, o.bytes, cs)
		if err != nil {
			return err
		}
		time.Sleep(compactionSettle) // what no checkpoint covers is not compacted; nothing tells a client of one
		var s sample
		if cs.loaded {
			s, err = besideCompaction(ctx, b, c, topic, producer, o.round)
		} else {
			s, err = speedOfCompaction(ctx, b, c, topic, folder, o.dir, size)
		}
		if err != nil {
			return err
		}
		left, err := logBytes(folder)
		if err != nil {
			return err
		}
		if left > size*75/100 { // packed records are not all of a size
			return fmt.Errorf("%d of %d bytes are left where about half should be", left, size)
		}
		if err := c.delete(topic); err != nil {
			return err
		}
		unix.Sync()
		if round == 0 {
			continue // warm-up
		}
		s.Figure, s.Case, s.Round = "compaction", cs.String(), round
		t := target{atLeast: 0.6}
		switch {
		case cs.loaded:
			t = target{below: 2}
		case cs.codec != "":
			t = target{}
		}
		r.add(s, t)
	}
	return ctx.Err()
}

// speedOfCompaction compares with a copy of the folder's segments.
func speedOfCompaction(ctx context.Context, b *broker, c *conn, topic, folder, scratch string, size int64) (sample, error) {
	copied, err := copySegments(folder, scratch)
	if err != nil {
		return sample{}, err
	}
	if err := evict(folder); err != nil {
		return sample{}, err
	}
	before, err := b.scrape(ctx)
	if err != nil {
		return sample{}, err
	}
	took, err := compactNow(ctx, b, c, topic, pollAlone)
	if err != nil {
		return sample{}, err
	}
	after, err := b.scrape(ctx)
	if err != nil {
		return sample{}, err
	}
	rss, err := b.residentBytes()
	if err != nil {
		return sample{}, err
	}
	mb := float64(size) / 1e6
	moved := after["tandem_compaction_bytes_total"] - before["tandem_compaction_bytes_total"]
	return sample{Broker: mb / took.Seconds(), Baseline: mb / copied.Seconds(), Unit: "MB/s",
		Extra: map[string]float64{"moved_bytes": moved / float64(size), "rss_mb": rss / 1e6}}, nil
}

// pollBeside is how often the broker is asked whether it is done while latencies are taken. Each answer costs both processes
// processor time: asked every 2 ms, a producer has about twice its p99 with no compaction at all.
const pollBeside = 50 * time.Millisecond

// pollAlone is the same while the round is timed, and how much too long a round may seem. Asked every 2 ms, broker and bench took a good
// part of a processor for the answers alone.
const pollAlone = 20 * time.Millisecond

// besideCompaction compares a producer's p99 with the same one's alone.
func besideCompaction(ctx context.Context, b *broker, c *conn, topic string, producer []*lane, d time.Duration) (sample, error) {
	alone, err := drive(producer, during(d))
	if err != nil {
		return sample{}, err
	}
	var done atomic.Bool
	failed := make(chan error, 1)
	go func() { // awaited below
		_, err := compactNow(ctx, b, c, topic, pollBeside)
		done.Store(true)
		failed <- err
	}()
	beside, err := drive(producer, func() bool { return !done.Load() })
	if first := <-failed; first != nil {
		return sample{}, first
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	return sample{Broker: ms(beside.p99), Baseline: ms(alone.p99), Unit: "ms", Extra: map[string]float64{
		"p50_ms": ms(beside.p50), "p50_alone_ms": ms(alone.p50), "requests": float64(beside.requests), "seconds": beside.elapsed.Seconds()}}, err
}

// fillCompacted makes a topic that is not compacted yet and writes about total bytes to it, before they are packed, of which half
// of each batch has younger records of its keys. It returns the size in segments.
func fillCompacted(ctx context.Context, c *conn, topic string, total int64, cs compactionCase) (size int64, err error) {
	err = c.create(ctx, topic, 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1", // never
		"segment.bytes": compactionSegments, "write.caching": "true"})
	if err != nil {
		return 0, err
	}
	rng := rand.NewChaCha8([32]byte{7})
	each := (compactionBatch - batchHeaderLen) / cs.record
	batches := int(total / compactionBatch)
	for i := range batches {
		batch, err := makeKeyedBatch(cs, each, i*each, rng)
		if err != nil {
			return 0, err
		}
		req := produceRequest(topic, batch, 0)
		if err := c.send(c.frame(req)); err != nil {
			return 0, err
		}
		body, err := c.receive(c.correlation)
		if err != nil {
			return 0, err
		}
		if err := produced(body, req); err != nil {
			return 0, err
		}
		size += int64(len(batch))
	}
	return size, ctx.Err()
}

// makeKeyedBatch builds a batch of count records with random values. Every second record has a key of its own, counted from first
// on; the others have those that every batch has.
func makeKeyedBatch(cs compactionCase, count, first int, rng *rand.ChaCha8) ([]byte, error) {
	var records []byte
	for i := range count {
		key := first + i
		if i%2 == 1 {
			key = -i
		}
		body := binary.AppendVarint([]byte{0, 0}, int64(i))
		body = append(binary.AppendVarint(body, 16), fmt.Sprintf("%016d", key)...)
		value := make([]byte, cs.record-len(body)-6)
		_, _ = rng.Read(value) // never fails
		if cs.codec != "" {
			spell(value)
		}
		body = append(binary.AppendVarint(body, int64(len(value))), value...)
		body = append(body, 0)
		records = append(binary.AppendVarint(records, int64(len(body))), body...)
	}
	codec, packed, err := pack(cs.codec, records)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, batchHeaderLen, batchHeaderLen+len(packed)), packed...)
	b[22] = codec // in the attributes
	return sealBatch(b, count), nil
}

// spell replaces random bytes by words of a vocabulary of 64.
func spell(random []byte) {
	const wordLen = 8
	for i := 0; i < len(random); i += wordLen {
		letters := rand.NewChaCha8([32]byte{random[i] % 64})
		var word [wordLen]byte
		_, _ = letters.Read(word[:]) // never fails
		copy(random[i:], word[:])
	}
}

// pack compresses records as a producer does, and says which codec a batch names for it.
func pack(codec string, records []byte) (attribute byte, packed []byte, err error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch codec {
	case "lz4":
		z := lz4.NewWriter(&out)
		err = z.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false))
		attribute, w = 3, z
	case "zstd":
		attribute = 4
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		return 0, records, nil
	}
	if err != nil {
		return 0, nil, err
	}
	_, err = w.Write(records)
	err = errors.Join(err, w.Close())
	return attribute, out.Bytes(), err
}

// compactNow lets the broker compact the topic, and returns how long the round took. It asks for the broker's metrics every poll.
func compactNow(ctx context.Context, b *broker, c *conn, topic string, poll time.Duration) (time.Duration, error) {
	before, err := b.scrape(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := c.alter(topic, "min.cleanable.dirty.ratio", "0.3"); err != nil {
		return 0, err
	}
	for deadline := start.Add(readyMax); ; time.Sleep(poll) { // polling is all that a client can do
		after, err := b.scrape(ctx)
		took := time.Since(start)
		switch {
		case err != nil:
			return 0, err
		case after["tandem_compaction_rounds_total"] > before["tandem_compaction_rounds_total"]:
			return took, nil
		case time.Now().After(deadline):
			return 0, fmt.Errorf("not compacted after %v; the broker's output: %s", readyMax, b.process.LogTail())
		}
	}
}

// alter sets one key of a topic.
func (c *conn) alter(topic, key, value string) error {
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = key, &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version, req.Resources = incrementalVersion, append(req.Resources, resource)
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	if err := c.request(req, resp); err != nil {
		return err
	}
	if len(resp.Resources) != 1 {
		return fmt.Errorf("%s=%s was not answered", key, value)
	}
	return kerr.ErrorForCode(resp.Resources[0].ErrorCode)
}

// segmentFiles lists the .log files of a partition.
func segmentFiles(folder string) ([]string, error) {
	return filepath.Glob(filepath.Join(folder, "*.log"))
}

func logBytes(folder string) (size int64, err error) {
	files, err := segmentFiles(folder)
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, err
}

// evict drops the segments from the page cache, once they are on the disk.
func evict(folder string) error {
	unix.Sync()
	files, err := segmentFiles(folder)
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// copySegments is the baseline: the files are read from the disk and written to one new file, which is synced.
func copySegments(folder, scratch string) (time.Duration, error) {
	if err := evict(folder); err != nil {
		return 0, err
	}
	files, err := segmentFiles(folder)
	if err != nil {
		return 0, err
	}
	out, err := os.Create(filepath.Join(scratch, "baseline"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	buf := make([]byte, 1<<20)
	start := time.Now()
	for _, name := range files {
		in, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf) // no copy inside the kernel
		in.Close()
		if err != nil {
			return 0, err
		}
	}
	if err := unix.Fdatasync(int(out.Fd())); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}
