package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	compactedKeys  = 500
	compactionWait = 90 * time.Second // a look by the cleaner every 15 s, and a round
)

// kafkaCompaction writes every key many times, with every codec and with tombstones, lets the broker compact it, and has
// kafka-dump-log read what is left: no complaint but that offsets have gaps; and a client finds the last value of each key.
func (s *suite) kafkaCompaction(ctx context.Context) error {
	topic, err := s.compactedTopic(ctx)
	if err != nil {
		return err
	}
	last, err := s.writeKeys(ctx, topic)
	if err != nil {
		return err
	}
	folder := filepath.Join(s.broker.dataDir, topic+"-0")
	before, err := logSize(folder)
	if err != nil {
		return err
	}
	// Only what a checkpoint covers is compacted; a stop makes one.
	if err := errors.Join(s.broker.stop(), s.broker.start(ctx)); err != nil {
		return err
	}
	for end := time.Now().Add(compactionWait); ; time.Sleep(100 * time.Millisecond) {
		size, err := logSize(folder)
		if err == nil && size < before/2 {
			fmt.Printf("    compacted from %d to %d bytes\n", before, size)
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s has %d of %d bytes after %v: %w", folder, size, before, compactionWait, err)
		}
	}
	if err := s.sameLast(ctx, topic, last); err != nil {
		return err
	}
	if err := s.broker.stop(); err != nil {
		return err
	}
	err = s.dumpCompacted(ctx, folder)
	return errors.Join(err, s.broker.start(ctx), s.sameLast(ctx, topic, last))
}

func (s *suite) compactedTopic(ctx context.Context) (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	configs := map[string]*string{}
	for key, value := range map[string]string{"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.3",
		"index.interval.bytes": "4096"} {
		configs[key] = &value
	}
	topic := s.prefix + "compacted"
	_, err = kadm.NewClient(client).CreateTopic(ctx, 1, 1, configs, topic)
	return topic, err
}

// writeKeys returns the last value of each key, "" = a tombstone.
func (s *suite) writeKeys(ctx context.Context, topic string) (map[string]string, error) {
	last := map[string]string{}
	number := 0
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(),
		kgo.ZstdCompression(), kgo.NoCompression()} {
		client, err := s.client(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return nil, err
		}
		var failed firstError
		for line, err := range lines(number, s.lines) {
			if err != nil {
				client.Close()
				return nil, err
			}
			number++
			r := &kgo.Record{Key: fmt.Appendf(nil, "key-%d", number*7919%compactedKeys), Value: fmt.Appendf(nil, "%d %s", number, line)}
			if number%53 == 0 {
				r.Value = nil
			}
			last[string(r.Key)] = string(r.Value)
			client.Produce(ctx, r, func(_ *kgo.Record, err error) { failed.add(err) })
		}
		failed.add(client.Flush(ctx))
		client.Close()
		if err := failed.get(); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// sameLast reads the topic to its end and compares the last value of each key.
func (s *suite) sameLast(ctx context.Context, topic string, want map[string]string) error {
	client, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	end, _ := ends.Lookup(topic, 0)
	got, at := map[string]string{}, int64(-1)
	for at < end.Offset-1 { // the last record is in the active segment: it stays
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s behind offset %d of %d: %w", topic, at, end.Offset, err)
		}
		for _, r := range fetches.Records() {
			if r.Offset <= at {
				return fmt.Errorf("read %s: offset %d behind %d", topic, r.Offset, at)
			}
			at = r.Offset
			got[string(r.Key)] = string(r.Value)
		}
	}
	maps.DeleteFunc(want, func(_, value string) bool { return value == "" })
	maps.DeleteFunc(got, func(_, value string) bool { return value == "" })
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s: the last values of %d keys are not those that were written to %d", topic, len(got), len(want))
	}
	return nil
}

// dumpCompacted has Kafka read every file of the folder.
func (s *suite) dumpCompacted(ctx context.Context, folder string) error {
	for pattern, args := range map[string][]string{"*.log": {"--deep-iteration"}, "*.index": nil, "*.timeindex": nil, "*.txnindex": nil} {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s has no %s", folder, pattern)
		}
		out, err := s.kafkaTool(ctx, nil, dumpLog, append(args, "--files", strings.Join(files, ","))...)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if complaint := complains(line); complaint != "" && complaint != "Non-consecutive offsets" {
				return fmt.Errorf("kafka-dump-log %s: %s", pattern, strings.TrimSpace(line))
			}
			if strings.Contains(line, " count: 0 ") {
				return fmt.Errorf("an empty batch: %s", strings.TrimSpace(line))
			}
		}
	}
	return nil
}

func logSize(folder string) (size int64, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.log"))
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err // it was replaced just now
		}
		size += info.Size()
	}
	return size, err
}
