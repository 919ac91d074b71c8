package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientLimit is how long one client program or one reading of a topic may take.
const clientLimit = 3 * time.Minute

// command runs a program and returns its standard output; input may be nil.
func command(ctx context.Context, input *os.File, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	if input != nil {
		c.Stdin = input
	}
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s\n%s", filepath.Base(name), strings.Join(args, " "), err,
			tail(out.String()), tail(problems.String()))
	}
	return out.String(), nil
}

// tail is the end of a long output.
func tail(text string) string {
	const bytesMax = 4000
	return text[max(0, len(text)-bytesMax):]
}

// firstError keeps the first error that a record was answered with.
type firstError struct {
	mu struct {
		sync.Mutex
		err error
	}
}

func (f *firstError) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.err == nil {
		f.mu.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.err
}

// client makes a franz-go client.
func (s *suite) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.address)}, options...)...)
}

// topic creates a topic of this run and returns its full name.
func (s *suite) topic(ctx context.Context, name string, partitions int32) (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	_, err = kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, s.prefix+name)
	if err != nil {
		return "", fmt.Errorf("create topic %s: %w", s.prefix+name, err)
	}
	return s.prefix + name, nil
}

// read hashes the values of partition 0 from its start with franz-go, and checks that offsets run without a gap.
func (s *suite) read(ctx context.Context, topic string, count int) (*digest, error) {
	client, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	d := newDigest()
	for d.count < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read %s at %d of %d: %w", topic, d.count, count, err)
		}
		for _, fetchErr := range fetches.Errors() {
			return nil, fmt.Errorf("read %s at %d of %d: %w", topic, d.count, count, fetchErr.Err)
		}
		for _, record := range fetches.Records() {
			if record.Offset != int64(d.count) {
				return nil, fmt.Errorf("read %s: offset %d after %d", topic, record.Offset, d.count-1)
			}
			d.add(record.Value)
		}
	}
	return d, nil
}

// versions prints what is tested with what.
func (s *suite) versions(ctx context.Context) error {
	if s.broker != nil {
		out, err := command(ctx, nil, s.tandem, "version")
		if err != nil {
			return err
		}
		fmt.Printf("    %s", out)
	}
	if err := s.resolveJava(ctx); err != nil {
		return err
	}
	fmt.Printf("    tools of Apache Kafka %s on %s\n", s.java.kafka, s.java.version)
	_, err := s.clients(ctx)
	return err
}

// kcatCodecs are kcat's names of the codecs.
var kcatCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// kcat writes with librdkafka and every codec, plain and idempotent, into one partition; kcat and franz-go must read the same.
func (s *suite) kcat(ctx context.Context) error {
	topic, err := s.topic(ctx, "kcat", 1)
	if err != nil {
		return err
	}
	want := newDigest()
	for _, idempotent := range []string{"false", "true"} {
		for _, codec := range kcatCodecs {
			file := filepath.Join(s.dir, "kcat.txt")
			if err := writeLines(file, want.count, s.lines, want); err != nil {
				return err
			}
			if _, err := command(ctx, nil, "kcat", "-P", "-b", s.address, "-t", topic, "-p", "0", "-z", codec,
				"-X", "acks=all", "-X", "enable.idempotence="+idempotent, "-l", file); err != nil {
				return fmt.Errorf("codec %s, idempotence %s: %w", codec, idempotent, err)
			}
		}
	}
	return s.readBack(ctx, topic, want)
}

// readBack reads partition 0 of a topic with kcat and with franz-go.
func (s *suite) readBack(ctx context.Context, topic string, want *digest) error {
	out, err := command(ctx, nil, "kcat", "-C", "-b", s.address, "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-u")
	if err != nil {
		return err
	}
	if err := digestOf(out).same("read by kcat", want); err != nil {
		return err
	}
	got, err := s.read(ctx, topic, want.count)
	if err != nil {
		return err
	}
	return got.same("read by franz-go", want)
}

// franz writes with franz-go and every codec; kcat and franz-go must read the same. Keys, headers, nulls and timestamps are
// compared as well.
func (s *suite) franz(ctx context.Context) error {
	topic, err := s.topic(ctx, "franz", 1)
	if err != nil {
		return err
	}
	want := newDigest()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for i, codec := range codecs {
		if err := s.franzWrite(ctx, topic, want, kgo.ProducerBatchCompression(codec)); err != nil {
			return fmt.Errorf("codec %d: %w", i, err)
		}
	}
	for name, acks := range map[string]kgo.Acks{"1": kgo.LeaderAck(), "0": kgo.NoAck()} {
		if err := s.franzWrite(ctx, topic, want, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(),
			kgo.MaxProduceRequestsInflightPerBroker(1)); err != nil {
			return fmt.Errorf("acks=%s: %w", name, err)
		}
		// A connection of acks=0 gets no answer; wait until the log has it, before another client's records follow.
		if got, err := s.read(ctx, topic, want.count); err != nil {
			return err
		} else if err := got.same("acks="+name, want); err != nil {
			return err
		}
	}
	if err := s.readBack(ctx, topic, want); err != nil {
		return err
	}
	return s.franzFields(ctx)
}

func (s *suite) franzWrite(ctx context.Context, topic string, want *digest, options ...kgo.Opt) error {
	client, err := s.client(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	var failed kgo.FirstErrPromise
	for line, err := range lines(want.count, s.lines) {
		if err != nil {
			return err
		}
		want.add(line)
		client.Produce(ctx, &kgo.Record{Topic: topic, Value: slices.Clone(line)}, failed.Promise())
	}
	return failed.Err()
}

// franzFields sends what lines do not have: keys, headers, empty and null values, a given timestamp.
func (s *suite) franzFields(ctx context.Context) error {
	topic, err := s.topic(ctx, "fields", 1)
	if err != nil {
		return err
	}
	client, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	sent := []*kgo.Record{
		{Key: []byte("k"), Value: nil, Timestamp: at},
		{Key: nil, Value: []byte{}, Timestamp: at.Add(time.Millisecond)},
		{Key: []byte{}, Value: []byte{0, 255}, Timestamp: at, Headers: []kgo.RecordHeader{{Key: "h", Value: nil}, {Key: "", Value: []byte("v")}}},
	}
	for _, record := range sent {
		record.Topic = topic
	}
	if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return err
	}
	var got []*kgo.Record
	for len(got) < len(sent) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		got = append(got, fetches.Records()...)
	}
	for i := range sent {
		if err := sameRecord(got[i], sent[i]); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	return nil
}

func sameRecord(got, sent *kgo.Record) error {
	sameBytes := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	switch {
	case !sameBytes(got.Key, sent.Key), !sameBytes(got.Value, sent.Value):
		return fmt.Errorf("got %q=%q, sent %q=%q", got.Key, got.Value, sent.Key, sent.Value)
	case !got.Timestamp.Equal(sent.Timestamp):
		return fmt.Errorf("got time %s, sent %s", got.Timestamp, sent.Timestamp)
	case !slices.EqualFunc(got.Headers, sent.Headers, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && sameBytes(a.Value, b.Value) }):
		return errors.New("headers differ")
	}
	return nil
}
