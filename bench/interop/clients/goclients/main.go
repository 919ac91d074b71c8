// Command goclients is the Go part of the client programs of bench/interop: franz-go, sarama and segmentio/kafka-go, each with
// what its own users write. All client programs, in whatever language, keep to one contract:
//
//	PROGRAM NAME version
//	PROGRAM NAME produce ADDRESS TOPIC CODEC IDEMPOTENT < records
//	PROGRAM NAME flow ADDRESSES TOPIC IDEMPOTENT < records
//	PROGRAM NAME consume ADDRESSES GROUP CLIENT-ID ASSIGNOR TOPIC...
//	PROGRAM NAME read ADDRESSES TOPIC
//
// version prints a line "NAME VERSION" for each library. produce sends the records of its standard input, a line each: key and
// value in base64 with a space between, "-" = null; each gets a header client = NAME; it ends with code 0 when all are
// acknowledged by acks=all, in the order of the input within a partition. IDEMPOTENT is true or false.
//
// flow is a producer that goes on through whatever happens: it sends each record of its standard input as it comes, by acks=all,
// with the retries that a user sets who does not want to lose any, and prints "ack KEY" once it is acknowledged, or "fail KEY REASON"
// when the client gave it up. It ends with code 0 when its input has ended and every record has had its answer. ADDRESSES are
// bootstrap servers with commas between.
//
// consume is a member of a group with a session timeout of 6 s, from the earliest offset, and prints a line for each record:
// topic, partition, offset, timestamp in ms, key, value, and name=value of each header, all bytes in base64. A record's line is
// out before its offset is committed. ASSIGNOR is range, or default for the client's own choice. When its standard input ends,
// the member commits, leaves the group and ends with code 0.
//
// read, which only sarama and kafka-go have, reads partition 0 from its start without a group, and prints as consume does until its standard
// input ends.
//
// With INTEROP_PATIENCE=short in the environment flow and consume are told not to wait for long for a broker that does not answer, by
// whatever setting the library has for it; otherwise they wait as long as it does by itself.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// What members of all clients use.
const (
	sessionTimeout    = 6 * time.Second
	heartbeatInterval = 500 * time.Millisecond
	rebalanceTimeout  = 30 * time.Second
	commitInterval    = 100 * time.Millisecond // of clients that commit by themselves
	fetchWait         = 200 * time.Millisecond
)

// What a short patience is.
const (
	dialTimeout   = time.Second     // for a connection
	answerTimeout = 3 * time.Second // for an answer
)

func impatient() bool { return os.Getenv("INTEROP_PATIENCE") == "short" }

// record is what the contract sends; nil is null.
type record struct {
	key, value []byte
}

type produceJob struct {
	address, topic, codec string
	idempotent            bool
	client                string // value of the header
	records               []record
}

type flowJob struct {
	addresses  []string
	topic      string
	idempotent bool
	records    iter.Seq2[record, error]
	answered   func(key []byte, err error) // safe for concurrent use
}

type consumeJob struct {
	addresses       []string
	group, clientID string
	rangeOnly       bool // assignor
	topics          []string
	out             *output
}

type client struct {
	module  string
	produce func(context.Context, produceJob) error
	flow    func(context.Context, flowJob) error
	consume func(context.Context, consumeJob) error // until ctx ends, which is no error
	read    func(context.Context, consumeJob) error // without a group; alike; nil = it cannot be asked for
}

var clients = map[string]client{
	"franz-go": {"github.com/twmb/franz-go", franzProduce, franzFlow, franzConsume, nil},
	"sarama":   {"github.com/IBM/sarama", saramaProduce, saramaFlow, saramaConsume, saramaRead},
	"kafka-go": {"github.com/segmentio/kafka-go", kafkaGoProduce, kafkaGoFlow, kafkaGoConsume, kafkaGoRead},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: goclients NAME version|produce|flow|consume ARGUMENTS")
	}
	name, verb, args := args[0], args[1], args[2:]
	c, ok := clients[name]
	switch {
	case !ok:
		return fmt.Errorf("no client %q", name)
	case verb == "version":
		return version(name, c.module)
	case verb == "produce" && len(args) == 4:
		records, err := readRecords(os.Stdin)
		if err != nil {
			return err
		}
		return c.produce(context.Background(), produceJob{args[0], args[1], args[2], args[3] == "true", name, records})
	case verb == "flow" && len(args) == 3:
		out := &output{w: bufio.NewWriter(os.Stdout)}
		return c.flow(context.Background(), flowJob{strings.Split(args[0], ","), args[1], args[2] == "true", recordsOf(os.Stdin), out.answer})
	case verb == "read" && len(args) == 2 && c.read != nil:
		ctx, cancel := untilInputEnds()
		defer cancel()
		return c.read(ctx, consumeJob{addresses: strings.Split(args[0], ","), clientID: name, topics: args[1:], out: &output{w: bufio.NewWriter(os.Stdout)}})
	case verb == "consume" && len(args) >= 5:
		ctx, cancel := untilInputEnds()
		defer cancel()
		return c.consume(ctx, consumeJob{strings.Split(args[0], ","), args[1], args[2], args[3] == "range", args[4:], &output{w: bufio.NewWriter(os.Stdout)}})
	}
	return fmt.Errorf("%s %s: wrong arguments %q", name, verb, args)
}

// untilInputEnds is a context that ends with the standard input.
func untilInputEnds() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the input, or with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx, cancel
}

func version(name, module string) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("no build information")
	}
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			fmt.Println(name, dependency.Version)
			return nil
		}
	}
	return fmt.Errorf("%s is not built in", module)
}

func readRecords(in io.Reader) ([]record, error) {
	var records []record
	for r, err := range recordsOf(in) {
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(records), err)
		}
		records = append(records, r)
	}
	return records, nil
}

// recordsOf are the records as their lines come; an error is the last item.
func recordsOf(in io.Reader) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		lines := bufio.NewReader(in)
		for {
			line, err := lines.ReadString('\n')
			if err == io.EOF && line == "" {
				return
			}
			r := record{}
			if err == nil {
				r, err = parseRecord(strings.TrimSuffix(line, "\n"))
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func parseRecord(line string) (record, error) {
	key, value, _ := strings.Cut(line, " ")
	var r record
	for field, text := range map[*[]byte]string{&r.key: key, &r.value: value} {
		if text == "-" {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return record{}, err
		}
		*field = append([]byte{}, data...) // empty is not null
	}
	return r, nil
}

// output prints records; safe for concurrent use.
type output struct {
	mu sync.Mutex
	w  *bufio.Writer
}

// header is one header of a record that was read.
type header struct {
	name  string
	value []byte
}

// print writes one line, which is out after flush.
func (o *output) print(topic string, partition int32, offset int64, at time.Time, key, value []byte, headers []header) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.w, "%s %d %d %d %s %s", topic, partition, offset, at.UnixMilli(), encode(key), encode(value))
	for _, h := range headers {
		fmt.Fprintf(o.w, " %s=%s", base64.StdEncoding.EncodeToString([]byte(h.name)), encode(h.value))
	}
	fmt.Fprintln(o.w)
}

// answer prints what became of a record of a flow.
func (o *output) answer(key []byte, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		fmt.Fprintln(o.w, "ack", encode(key))
	} else {
		fmt.Fprintln(o.w, "fail", encode(key), strings.ReplaceAll(err.Error(), "\n", " "))
	}
	_ = o.w.Flush() // who reads it has gone when it fails
}

func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Flush()
}

func encode(data []byte) string {
	if data == nil {
		return "-"
	}
	return base64.StdEncoding.EncodeToString(data)
}
