package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	verifiableConsumer = "org.apache.kafka.tools.VerifiableConsumer"
	verifiableProducer = "org.apache.kafka.tools.VerifiableProducer"
)

// toolPlayers are Kafka's tools that can be members of a group. They read one topic, of text.
func (s *suite) toolPlayers() []player {
	return []player{
		{&family{name: "kafka-console-consumer"}, consoleMember{s}},
		{&family{name: "kafka-verifiable-consumer", exact: true}, verifiableMember{s}},
	}
}

// consoleMember is kafka-console-consumer.
type consoleMember struct{ s *suite }

func (p consoleMember) member(job memberJob) []string {
	args := append(p.s.javaCommand("", consoleConsumer), "--bootstrap-server", job.address, "--topic", job.topics[0], "--group", job.group,
		"--from-beginning")
	for _, property := range []string{"client.id=" + job.clientID, "session.timeout.ms=6000", "heartbeat.interval.ms=500", "fetch.max.wait.ms=200",
		"auto.commit.interval.ms=100"} {
		args = append(args, "--command-property", property)
	}
	for _, property := range []string{"print.timestamp=true", "print.partition=true", "print.offset=true", "print.key=true"} {
		args = append(args, "--formatter-property", property)
	}
	return args
}

func (consoleMember) next(out *bufio.Reader) (reading, error) {
	line, err := out.ReadString('\n')
	if err != nil {
		return reading{}, err
	}
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5)
	if len(fields) != 5 {
		return reading{}, fmt.Errorf("kafka-console-consumer printed %q", line)
	}
	var problems []error
	number := func(field, name string) int64 {
		text, ok := strings.CutPrefix(field, name+":")
		n, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil {
			problems = append(problems, fmt.Errorf("kafka-console-consumer printed %q: no %s", line, name))
		}
		return n
	}
	r := reading{timestamp: number(fields[0], "CreateTime"), hashes: content{key: []byte(fields[3]), value: []byte(fields[4])}.hashes()}
	r.position = position{"", int32(number(fields[1], "Partition")), number(fields[2], "Offset")}
	return r, errors.Join(problems...)
}

func (consoleMember) leavesBySignal() bool { return true }

// verifiableMember is kafka-verifiable-consumer.
type verifiableMember struct{ s *suite }

func (p verifiableMember) member(job memberJob) []string {
	return append(p.s.javaCommand("", verifiableConsumer), "--bootstrap-server", job.address, "--topic", job.topics[0], "--group-id", job.group,
		"--verbose", "--reset-policy", "earliest", "--session-timeout", "6000", "--command-config", p.s.verifiableConfig(job.clientID))
}

// verifiableEvent is a line of the verifiable tools.
type verifiableEvent struct {
	Name      string
	Topic     string
	Partition int32
	Offset    int64
	Key       *string
	Value     *string
	Success   *bool
	Error     string
	Sent      int
	Acked     int
}

func (verifiableMember) next(out *bufio.Reader) (reading, error) {
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return reading{}, err
		}
		var e verifiableEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return reading{}, fmt.Errorf("kafka-verifiable-consumer printed %q: %w", line, err)
		}
		if e.Name != "record_data" {
			continue
		}
		if e.Key == nil || e.Value == nil {
			return reading{}, fmt.Errorf("kafka-verifiable-consumer printed %q: no key or no value", line)
		}
		return reading{position{e.Topic, e.Partition, e.Offset}, -1, content{key: []byte(*e.Key), value: []byte(*e.Value)}.hashes()}, nil
	}
}

func (verifiableMember) leavesBySignal() bool { return true }
