package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	matrixPartitions = 4
	// producersAtOnce is for machines with few cores: these programs start slowly.
	producersAtOnce = 3
	bigValueBytes   = 20 << 10
)

// matrix is one topic in which every family has written with every codec that it has.
type matrix struct {
	topic    string
	sent     map[[sha256.Size]byte]sentRecord
	readings map[position]reading // by franz-go, directly
}

// cell is one producer: a family with a codec.
type cell struct {
	client
	codec      string
	idempotent bool
}

func (c cell) String() string {
	if c.idempotent {
		return c.name + "/" + c.codec
	}
	return c.name + "/" + c.codec + "/plain"
}

// cells are all producers of the families: each codec by the producer that users are told to use, idempotent where it can be,
// and once without idempotence.
func cells(clients []client) []cell {
	var all []cell
	for _, c := range clients {
		for i, codec := range c.codecs {
			all = append(all, cell{c, codec, c.idempotent})
			if i == 0 && c.idempotent {
				all = append(all, cell{c, codec, false})
			}
		}
	}
	return all
}

// records are a cell's: lines of real text with a key, and those that are easily got wrong: null and empty ones, binary ones,
// big ones. No two records of a run are equal.
func (c cell) records(count int) ([]content, error) {
	var all []content
	var text []byte
	headers := []nameValue{{"client", []byte(c.name)}}
	for line, err := range lines(0, count) {
		if err != nil {
			return nil, err
		}
		id := fmt.Sprintf("%s/%d", c, len(all))
		text = append(append(text, ' '), line...)
		r := content{key: []byte(id), value: slices.Concat([]byte(id+" "), line), headers: headers}
		switch n := len(all); {
		case n%64 == 5:
			r.key = nil
		case n%64 == 6:
			r.value = nil
		case n%64 == 7 && !c.textual:
			r.value = []byte{}
		case n%64 == 8 && !c.textual:
			r.key = []byte{}
		case n%64 == 9 && !c.textual:
			for b := range 256 {
				r.value = append(r.value, byte(b))
			}
		case n%64 == 10:
			r.value = slices.Concat([]byte(id), text)
			r.value = r.value[:min(len(r.value), bigValueBytes)]
			for len(r.value) < bigValueBytes {
				r.value = append(r.value, text[:min(len(text), bigValueBytes-len(r.value))]...)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// matrixStep has every family write with every codec, and compares what is in the log with what was sent.
func (s *suite) matrixStep(ctx context.Context) error {
	return s.writeMatrix(ctx)
}

// writeMatrix does its work once.
func (s *suite) writeMatrix(ctx context.Context) error {
	if s.matrix != nil {
		return nil
	}
	clients, err := s.clients(ctx)
	if err != nil {
		return err
	}
	topic, err := s.topic(ctx, "matrix", matrixPartitions)
	if err != nil {
		return err
	}
	began := time.Now()
	all := cells(clients)
	sent := map[[sha256.Size]byte]sentRecord{}
	errs := make([]error, len(all))
	var running sync.WaitGroup
	turns := make(chan struct{}, producersAtOnce)
	for i, c := range all {
		records, err := c.records(s.cellRecords())
		if err != nil {
			return err
		}
		for n, r := range records {
			sent[r.hashes().hash] = sentRecord{c.String(), n}
		}
		running.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			errs[i] = s.produceCell(ctx, c, topic, records)
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	readings, err := s.readAll(ctx, topic)
	if err != nil {
		return err
	}
	if err := checkSent(readings, sent, began); err != nil {
		return err
	}
	s.matrix = &matrix{topic, sent, readings}
	fmt.Printf("    %d producers (family/codec) wrote %d records: %s\n", len(all), len(sent), digestOfReadings(readings))
	return nil
}

// cellRecords is how many records a producer sends.
func (s *suite) cellRecords() int { return max(s.lines/50, 64) }

func (s *suite) produceCell(ctx context.Context, c cell, topic string, records []content) error {
	args, input := c.producer(producerJob{s.address, topic, c.codec, c.idempotent, c.name, records})
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	run := exec.CommandContext(ctx, args[0], args[1:]...)
	var output bytes.Buffer
	run.Stdin, run.Stdout, run.Stderr = bytes.NewReader(input), &output, &output
	if err := run.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c, err, tail(output.String()))
	}
	return nil
}

// sentRecord is the n-th record of a cell.
type sentRecord struct {
	cell string
	n    int
}

// checkSent: every record is in the log once, in the order of its producer within the partition, with a time of this run.
func checkSent(readings map[position]reading, sent map[[sha256.Size]byte]sentRecord, began time.Time) error {
	found := map[sentRecord]position{}
	last := map[string]int{} // of a cell in a partition
	now := time.Now()
	for _, at := range slices.SortedFunc(maps.Keys(readings), comparePositions) {
		r := readings[at]
		who, ok := sent[r.hash]
		if !ok {
			return fmt.Errorf("%v holds a record that nobody sent", at)
		}
		if before, twice := found[who]; twice {
			return fmt.Errorf("record %d of %s is at %v and at %v", who.n, who.cell, before, at)
		}
		found[who] = at
		line := fmt.Sprintf("%s %d", who.cell, at.partition)
		if before, ok := last[line]; ok && before > who.n {
			return fmt.Errorf("%v: record %d of %s behind its record %d", at, who.n, who.cell, before)
		}
		last[line] = who.n
		if t := time.UnixMilli(r.timestamp); t.Before(began.Add(-time.Second)) || t.After(now.Add(time.Second)) {
			return fmt.Errorf("%v has time %s; it was sent from %s to %s", at, t, began, now)
		}
	}
	for _, who := range sent {
		if _, ok := found[who]; !ok {
			return fmt.Errorf("record %d of %s was acknowledged, and is not in the log", who.n, who.cell)
		}
	}
	return nil
}

func comparePositions(a, b position) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
}

// readAll reads every partition of a topic, up to the end that it has now, with franz-go and no group.
func (s *suite) readAll(ctx context.Context, topic string) (map[position]reading, error) {
	client, err := s.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := ends.Error(); err != nil {
		return nil, err
	}
	count := 0
	ends.Each(func(o kadm.ListedOffset) { count += int(o.Offset) })
	readings := map[position]reading{}
	for len(readings) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s, %d of %d: %w", topic, len(readings), count, err)
		}
		for _, r := range fetches.Records() {
			c := content{key: r.Key, value: r.Value}
			for _, h := range r.Headers {
				c.headers = append(c.headers, nameValue{h.Key, h.Value})
			}
			at := position{r.Topic, r.Partition, r.Offset}
			readings[at] = reading{at, r.Timestamp.UnixMilli(), c.hashes()}
		}
	}
	return readings, nil
}

// tell describes a reading to a person.
func (m *matrix) tell(r reading) string {
	what := fmt.Sprintf("%x", r.hash)
	if who, ok := m.sent[r.hash]; ok {
		what = fmt.Sprintf("record %d of %s", who.n, who.cell)
	}
	return fmt.Sprintf("at %v, time %d: %s", r.position, r.timestamp, what)
}

// digestOfReadings hashes readings in the order of their positions.
func digestOfReadings(readings map[position]reading) *digest {
	d := newDigest()
	for _, at := range slices.SortedFunc(maps.Keys(readings), comparePositions) {
		r := readings[at]
		d.add(fmt.Appendf(nil, "%s %d %d %d %x", at.topic, at.partition, at.offset, r.timestamp, r.hash))
	}
	return d
}

// wants tells whether a family is to be run.
func (s *suite) wants(name string) bool {
	return s.families == "" || slices.Contains(strings.Split(s.families, ","), name)
}
