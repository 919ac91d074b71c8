package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// kcatProgram makes kcat keep to what is asked of a client program.
type kcatProgram struct{}

func (s *suite) kcatProgram(context.Context) (program, error) {
	_, err := exec.LookPath("kcat")
	return kcatProgram{}, notHere(err)
}

func (kcatProgram) versions(ctx context.Context) ([]string, error) {
	out, err := command(ctx, nil, "kcat", "-V")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "Version "); ok {
			version, _, _ := strings.Cut(rest, " ")
			_, librdkafka, _ := strings.Cut(rest, "librdkafka ")
			librdkafka, _, _ = strings.Cut(librdkafka, " ")
			return []string{"kcat " + version, "librdkafka " + librdkafka}, nil
		}
	}
	return nil, fmt.Errorf("kcat -V prints no version: %s", out)
}

// producer: a line is a key, a tab and a value; -Z makes null of what is empty.
func (kcatProgram) producer(job producerJob) (args []string, input []byte) {
	for _, r := range job.records {
		input = fmt.Appendf(input, "%s\t%s\n", r.key, r.value)
	}
	return []string{"kcat", "-P", "-b", job.address, "-t", job.topic, "-z", job.codec, "-K", "\\t", "-Z", "-H", "client=" + job.client,
		"-X", "acks=all", "-X", fmt.Sprintf("enable.idempotence=%v", job.idempotent), "-X", "linger.ms=20"}, input
}

// kcatFormat has the lengths of key and value in a line of its own, because both may hold anything.
const kcatFormat = `%t %p %o %T %K %S %h\n%k%s\n`

func (kcatProgram) member(job memberJob) []string {
	args := []string{"kcat", "-b", job.address, "-G", job.group, "-q", "-u", "-f", kcatFormat}
	options := []string{"client.id=" + job.clientID, "auto.offset.reset=earliest", "session.timeout.ms=6000", "heartbeat.interval.ms=500",
		"fetch.wait.max.ms=200", "auto.commit.interval.ms=100"}
	if job.rangeOnly {
		options = append(options, "partition.assignment.strategy=range")
	}
	for _, option := range options {
		args = append(args, "-X", option)
	}
	return slices.Concat(args, job.topics)
}

func (kcatProgram) next(out *bufio.Reader) (reading, error) {
	line, err := out.ReadString('\n')
	if err != nil {
		return reading{}, err
	}
	var r reading
	var keyBytes, valueBytes int
	if _, err := fmt.Sscanf(line, "%s %d %d %d %d %d", &r.topic, &r.partition, &r.offset, &r.timestamp, &keyBytes, &valueBytes); err != nil {
		return reading{}, fmt.Errorf("kcat printed %q: %w", line, err)
	}
	data := make([]byte, max(keyBytes, 0)+max(valueBytes, 0)+1)
	if _, err := io.ReadFull(out, data); err != nil {
		return reading{}, io.EOF
	}
	c := content{}
	if keyBytes >= 0 {
		c.key = data[:keyBytes:keyBytes]
	}
	if valueBytes >= 0 {
		c.value = data[max(keyBytes, 0) : len(data)-1]
	}
	if fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 7); len(fields) == 7 && fields[6] != "" {
		for item := range strings.SplitSeq(fields[6], ",") {
			name, value, _ := strings.Cut(item, "=")
			c.headers = append(c.headers, nameValue{name, []byte(value)})
		}
	}
	r.hashes = c.hashes()
	return r, nil
}

func (kcatProgram) leavesBySignal() bool { return true }
