package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The main classes behind Kafka's scripts.
const (
	topicCommand    = "org.apache.kafka.tools.TopicCommand"
	consoleProducer = "org.apache.kafka.tools.ConsoleProducer"
	consoleConsumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	getOffsets      = "org.apache.kafka.tools.GetOffsetShell"
	producerPerf    = "org.apache.kafka.tools.ProducerPerformance"
	dumpLog         = "org.apache.kafka.tools.DumpLogSegments"
)

// kafkaTopics creates, describes, widens and deletes a topic with kafka-topics.
func (s *suite) kafkaTopics(ctx context.Context) error {
	name := s.prefix + "topics"
	topics := func(args ...string) (string, error) {
		return s.kafkaTool(ctx, nil, topicCommand, append([]string{"--bootstrap-server", s.address}, args...)...)
	}
	steps := []struct {
		args   []string
		want   []string
		refuse string
	}{
		{[]string{"--create", "--topic", name, "--partitions", "3", "--replication-factor", "1", "--config", "retention.ms=86400000"}, []string{"Created topic " + name}, ""},
		{[]string{"--list"}, []string{name}, ""},
		{[]string{"--describe", "--topic", name}, []string{"PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=86400000", "Partition: 2"}, ""},
		{[]string{"--alter", "--topic", name, "--partitions", "5"}, nil, ""},
		{[]string{"--describe", "--topic", name}, []string{"PartitionCount: 5", "Partition: 4"}, ""},
		{[]string{"--delete", "--topic", name}, nil, ""},
		{[]string{"--list"}, nil, name},
	}
	for _, step := range steps {
		out, err := topics(step.args...)
		if err != nil {
			return err
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				return fmt.Errorf("kafka-topics %s: no %q in\n%s", strings.Join(step.args, " "), want, out)
			}
		}
		if step.refuse != "" && strings.Contains(out, step.refuse) {
			return fmt.Errorf("kafka-topics %s: %q is still in\n%s", strings.Join(step.args, " "), step.refuse, out)
		}
	}
	if _, err := topics("--create", "--topic", "bad name!"); err == nil {
		return errors.New("kafka-topics created a topic whose name Kafka refuses")
	}
	return nil
}

// kafkaConsole writes with kafka-console-producer and every codec, reads with all three clients, and compares the end offset
// that kafka-get-offsets prints.
func (s *suite) kafkaConsole(ctx context.Context) error {
	topic, err := s.topic(ctx, "console", 1)
	if err != nil {
		return err
	}
	want := newDigest()
	for _, codec := range kcatCodecs {
		if err := s.consoleWrite(ctx, topic, codec, want); err != nil {
			return fmt.Errorf("codec %s: %w", codec, err)
		}
	}
	out, err := s.kafkaTool(ctx, nil, consoleConsumer, "--bootstrap-server", s.address, "--topic", topic, "--partition", "0",
		"--offset", "earliest", "--max-messages", strconv.Itoa(want.count), "--timeout-ms", "30000")
	if err != nil {
		return err
	}
	if err := digestOf(out).same("read by kafka-console-consumer", want); err != nil {
		return err
	}
	if err := s.readBack(ctx, topic, want); err != nil {
		return err
	}
	return s.endOffset(ctx, topic, want.count)
}

func (s *suite) consoleWrite(ctx context.Context, topic, codec string, want *digest) error {
	path := filepath.Join(s.dir, "console.txt")
	if err := writeLines(path, want.count, s.lines, want); err != nil {
		return err
	}
	input, err := os.Open(path)
	if err != nil {
		return err
	}
	defer input.Close()
	_, err = s.kafkaTool(ctx, input, consoleProducer, "--bootstrap-server", s.address, "--topic", topic,
		"--compression-codec", codec, "--request-required-acks", "all")
	return err
}

// endOffset compares kafka-get-offsets with want, and with 0 for the start.
func (s *suite) endOffset(ctx context.Context, topic string, want int) error {
	for time, offset := range map[string]int{"-1": want, "-2": 0} {
		out, err := s.kafkaTool(ctx, nil, getOffsets, "--bootstrap-server", s.address, "--topic", topic, "--time", time)
		if err != nil {
			return err
		}
		if got, line := strings.TrimSpace(out), fmt.Sprintf("%s:0:%d", topic, offset); got != line {
			return fmt.Errorf("kafka-get-offsets --time %s: got %q, want %q", time, got, line)
		}
	}
	return nil
}

// kafkaPerf runs kafka-producer-perf-test, and counts what arrived.
func (s *suite) kafkaPerf(ctx context.Context) error {
	topic, err := s.topic(ctx, "perf", 1)
	if err != nil {
		return err
	}
	count := 10 * s.lines
	out, err := s.kafkaTool(ctx, nil, producerPerf, "--bootstrap-server", s.address, "--topic", topic, "--num-records", strconv.Itoa(count),
		"--record-size", "1024", "--throughput", "-1", "--command-property", "acks=all")
	if err != nil {
		return err
	}
	if !strings.Contains(out, fmt.Sprintf("%d records sent", count)) {
		return fmt.Errorf("kafka-producer-perf-test did not send %d records:\n%s", count, tail(out))
	}
	last := strings.TrimSpace(out)
	fmt.Printf("    %s\n", last[strings.LastIndexByte(last, '\n')+1:])
	return s.endOffset(ctx, topic, count)
}

// kafkaDumpLog writes a topic of several segments, stops the broker, and has kafka-dump-log read every file of the partition:
// no complaint, and the payloads are what was written.
func (s *suite) kafkaDumpLog(ctx context.Context) error {
	name := s.prefix + "dump"
	if _, err := s.kafkaTool(ctx, nil, topicCommand, "--bootstrap-server", s.address, "--create", "--topic", name,
		"--config", "segment.bytes=1048576", "--config", "index.interval.bytes=4096"); err != nil {
		return err
	}
	want := newDigest()
	for _, codec := range kcatCodecs {
		path := filepath.Join(s.dir, "dump.txt")
		if err := writeLines(path, want.count, 5*s.lines, want); err != nil {
			return err
		}
		if _, err := command(ctx, nil, "kcat", "-P", "-b", s.address, "-t", name, "-p", "0", "-z", codec, "-X", "acks=all",
			"-X", "enable.idempotence=true", "-l", path); err != nil {
			return err
		}
	}
	if err := s.broker.stop(); err != nil {
		return err
	}
	err := s.dumpFiles(ctx, filepath.Join(s.broker.dataDir, name+"-0"), want)
	return errors.Join(err, s.broker.start(ctx))
}

// dumpComplaints are what kafka-dump-log prints about a file that is not in order.
var dumpComplaints = []string{"isvalid: false", "Mismatches in", "Non-consecutive offsets", "Found timestamp mismatch", "Found out of order",
	"Found index", "Indexed offset", "Could not", "Exception"}

func (s *suite) dumpFiles(ctx context.Context, folder string, want *digest) error {
	logs, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil {
		return err
	}
	if len(logs) < 2 {
		return fmt.Errorf("%s has %d segments, this test needs several", folder, len(logs))
	}
	out, err := s.dump(ctx, logs, "--deep-iteration", "--print-data-log")
	if err != nil {
		return err
	}
	got := newDigest()
	for line := range strings.Lines(out) {
		if _, payload, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " payload: "); ok {
			got.add([]byte(payload))
		}
	}
	if err := got.same(fmt.Sprintf("payloads of %d segments in kafka-dump-log", len(logs)), want); err != nil {
		return err
	}
	for pattern, args := range map[string][]string{"*.index": nil, "*.timeindex": nil, "*.snapshot": nil, "*.txnindex": nil} {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			fmt.Printf("    no %s\n", pattern)
			continue
		}
		if _, err := s.dump(ctx, files, args...); err != nil {
			return err
		}
		fmt.Printf("    %d %s: no complaint\n", len(files), pattern)
	}
	return nil
}

func (s *suite) dump(ctx context.Context, files []string, args ...string) (string, error) {
	out, err := s.kafkaTool(ctx, nil, dumpLog, append(args, "--files", strings.Join(files, ","))...)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if complains(line) != "" {
			return "", fmt.Errorf("kafka-dump-log %s: %s", files[0], strings.TrimSpace(line))
		}
	}
	return out, nil
}

// complains is the complaint that a line of kafka-dump-log makes, "" = none.
func complains(line string) string {
	head, _, _ := strings.Cut(line, " payload: ") // a payload may say anything
	for _, complaint := range dumpComplaints {
		if strings.Contains(head, complaint) {
			return complaint
		}
	}
	return ""
}
