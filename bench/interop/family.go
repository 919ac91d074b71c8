package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// family is one client library under test.
type family struct {
	name       string
	codecs     []string
	idempotent bool // its producer can be
	textual    bool // it can send neither binary nor empty values
	ranged     bool // its members can be told to use the range assignor, as the mixed group does
	// exact: its members commit what they have read before they give a partition away, so that nothing but what a killed member
	// had read is read again. The others commit now and then, by their design.
	exact bool
	// setsBack: its members can set a committed offset back, as kafka-go v0.4.51 does (segmentio/kafka-go issues 1308 and 1398).
	// Reader.CommitMessages (reader.go) puts offsets into Reader.commits, a queue that outlives generations, and Reader.unsubscribe
	// leaves what was fetched in Reader.msgs, which FetchMessage gives out until the next subscribe. What is committed between two
	// generations is taken by commitLoopInterval of the next one, and Generation.CommitOffsets (consumergroup.go) sends it in that
	// one's name, whoever owns the partition by now: offsetStash.merge keeps the larger of this member's offsets, but knows nothing
	// of the new owner's. A coordinator looks at member and generation alone, Kafka's too. In 48 rebalances under load it happened
	// four times, each commit sent a millisecond after the larger one was acknowledged, in the same generation; what the broker had
	// in the end was always what was acknowledged last.
	setsBack bool
	// stays: its producer does not leave a connection on which nothing is answered any more, but times its requests out there, one after the
	// other, until the system gives the connection up (kafkajs 2.2.4 neither closes it nor asks for metadata after a timeout). Its consumer
	// does when its retries are over, after minutes by its own timeouts.
	stays bool
	// emptyIsNull: its consumer shows null where a key or a value is empty.
	emptyIsNull bool
	make        func(*suite, context.Context) (program, error)
}

var allCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

var families = []*family{
	{name: "kcat", codecs: allCodecs, idempotent: true, textual: true, ranged: true, make: (*suite).kcatProgram},
	{name: "confluent-kafka-python", codecs: allCodecs, idempotent: true, ranged: true, exact: true, make: pythonProgram("confluent-kafka-python")},
	{name: "franz-go", codecs: allCodecs, idempotent: true, ranged: true, exact: true, make: goProgram("franz-go")},
	{name: "java", codecs: allCodecs, idempotent: true, ranged: true, exact: true, make: (*suite).javaProgram},
	{name: "kafka-python", codecs: allCodecs, idempotent: true, ranged: true, exact: true, make: pythonProgram("kafka-python")},
	{name: "kafkajs", codecs: allCodecs, idempotent: true, stays: true, make: (*suite).nodeProgram},
	{name: "sarama", codecs: allCodecs, idempotent: true, ranged: true, make: goProgram("sarama")},
	{name: "kafka-go", codecs: allCodecs, ranged: true, setsBack: true, emptyIsNull: true, make: goProgram("kafka-go")},
}

// program runs a family's producers and consumers as processes.
type program interface {
	memberProgram
	// versions are lines "NAME VERSION" of the libraries in it.
	versions(context.Context) ([]string, error)
	// producer is the command line that sends records, and its standard input.
	producer(job producerJob) (args []string, input []byte)
}

// flowProgram has a producer that goes on until its input ends, and tells of every record what became of it.
type flowProgram interface {
	program
	// flow is the command line of a producer that takes records from its standard input as they come.
	flow(addresses, topic string, idempotent bool) []string
}

type memberProgram interface {
	// member is the command line of a member of a group. It prints what it reads until it is told to leave.
	member(job memberJob) []string
	// next takes a record from a member's output. Error: io.EOF at its end, with or without half a record before it.
	next(*bufio.Reader) (reading, error)
	// leavesBySignal: a member is told to leave by SIGTERM, not by the end of its standard input.
	leavesBySignal() bool
}

type producerJob struct {
	address, topic, codec string
	idempotent            bool
	client                string // value of the header "client" of each record
	records               []content
}

type memberJob struct {
	address, group, clientID string
	rangeOnly                bool
	topics                   []string
	env                      []string // besides that of this process
}

// content is what is sent of a record; nil is null.
type content struct {
	key, value []byte
	headers    []nameValue
}

type nameValue struct {
	name  string
	value []byte
}

// position is where a record lies.
type position struct {
	topic     string // "" from a member that does not show it = the only one that it subscribes to
	partition int32
	offset    int64
}

// reading is a record as a consumer saw it.
type reading struct {
	position
	timestamp int64 // ms; -1 = not shown
	hashes
}

// hashes are those of a content, and of the same with null for what is empty.
type hashes struct{ hash, bare [sha256.Size]byte }

// hashText takes a content in the words of the clients' contract.
func hashText(text string) hashes {
	fields := strings.Split(text, " ")
	for i, field := range fields {
		fields[i] = cmp.Or(field, "-")
	}
	return hashes{sha256.Sum256([]byte(text)), sha256.Sum256([]byte(strings.Join(fields, " ")))}
}

// text is the content in the words of the clients' contract.
func (c content) text() string {
	fields := []string{encode(c.key), encode(c.value)}
	for _, h := range c.headers {
		fields = append(fields, encode([]byte(h.name))+"="+encode(h.value))
	}
	return strings.Join(fields, " ")
}

func (c content) hashes() hashes { return hashText(c.text()) }

func encode(data []byte) string {
	if data == nil {
		return "-"
	}
	return base64.StdEncoding.EncodeToString(data)
}

// contractProgram keeps to the contract that clients/goclients/main.go has.
type contractProgram struct {
	args []string // program, its own arguments, the family's name
}

func (p contractProgram) versions(ctx context.Context) ([]string, error) {
	args := slices.Concat(p.args, []string{"version"})
	out, err := command(ctx, nil, args[0], args[1:]...)
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

func (p contractProgram) producer(job producerJob) (args []string, input []byte) {
	for _, r := range job.records {
		input = fmt.Appendf(input, "%s %s\n", encode(r.key), encode(r.value))
	}
	return slices.Concat(p.args, []string{"produce", job.address, job.topic, job.codec, strconv.FormatBool(job.idempotent)}), input
}

func (p contractProgram) flow(addresses, topic string, idempotent bool) []string {
	return slices.Concat(p.args, []string{"flow", addresses, topic, strconv.FormatBool(idempotent)})
}

func (p contractProgram) member(job memberJob) []string {
	assignor := "default"
	if job.rangeOnly {
		assignor = "range"
	}
	return slices.Concat(p.args, []string{"consume", job.address, job.group, job.clientID, assignor}, job.topics)
}

func (contractProgram) next(out *bufio.Reader) (reading, error) {
	line, err := out.ReadString('\n')
	if err != nil {
		return reading{}, err
	}
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
	if len(fields) != 5 {
		return reading{}, fmt.Errorf("a consumer printed %q", line)
	}
	r := reading{position: position{topic: fields[0]}, hashes: hashText(fields[4])}
	partition, err1 := strconv.ParseInt(fields[1], 10, 32)
	offset, err2 := strconv.ParseInt(fields[2], 10, 64)
	timestamp, err3 := strconv.ParseInt(fields[3], 10, 64)
	r.partition, r.offset, r.timestamp = int32(partition), offset, timestamp
	return r, errors.Join(err1, err2, err3)
}

func (contractProgram) leavesBySignal() bool { return false }
