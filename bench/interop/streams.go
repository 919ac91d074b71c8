package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaStreams counts words with an application of Kafka Streams that is stopped on the way and goes on elsewhere, without its
// local state: it has to find its counts in their changelog, and its place among the committed offsets.
func (s *suite) kafkaStreams(ctx context.Context) error {
	classes, err := s.javaClasses(ctx)
	if errors.Is(err, errNotHere) {
		s.missing("kafka-streams", err)
		return nil
	}
	if err != nil {
		return err
	}
	in, err := s.topic(ctx, "lines", 3)
	if err != nil {
		return err
	}
	out, err := s.topic(ctx, "counts", 2)
	if err != nil {
		return err
	}
	counts := &wordCounts{suite: s, topic: out, want: map[string]int{}}
	for _, folder := range []string{"streams-1", "streams-2"} {
		app := append(s.javaCommand(classes, "WordCount"), s.address, s.prefix+"word-count", in, out, filepath.Join(s.dir, folder))
		if err := counts.round(ctx, app, in); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	return nil
}

// wordCounts is how often which word was sent.
type wordCounts struct {
	*suite
	topic string // where the application tells its counts
	want  map[string]int
}

// round runs the application while lines are sent, until it has counted all of their words.
func (w *wordCounts) round(ctx context.Context, app []string, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	c := exec.CommandContext(ctx, app[0], app[1:]...)
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	stdin, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	err = w.send(ctx, topic)
	if err == nil {
		err = w.await(ctx)
	}
	_ = stdin.Close()
	if err = errors.Join(err, c.Wait()); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(said.String()))
	}
	return nil
}

func (w *wordCounts) send(ctx context.Context, topic string) error {
	const linesSent, wordsInLine, vocabulary = 2000, 5, 50
	client, err := w.client(kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	random := rand.New(rand.NewPCG(w.seed, uint64(len(w.want))))
	var failed firstError
	for range linesSent {
		words := make([]string, wordsInLine)
		for i := range words {
			words[i] = "word-" + strconv.Itoa(random.IntN(vocabulary))
			w.want[words[i]]++
		}
		client.Produce(ctx, kgo.StringRecord(strings.Join(words, " ")), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.add(err)
			}
		})
	}
	return errors.Join(client.Flush(ctx), failed.get())
}

// await reads what the application tells until the last word of each is what was sent. A count above that is an error.
func (w *wordCounts) await(ctx context.Context) error {
	client, err := w.client(kgo.ConsumeTopics(w.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	got := map[string]int{}
	for !maps.Equal(got, w.want) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%d of %d words are counted: %w", len(got), len(w.want), err)
		}
		for _, r := range fetches.Records() {
			count, err := strconv.Atoi(string(r.Value))
			if err != nil || count > w.want[string(r.Key)] {
				return fmt.Errorf("%s is counted %s times, sent %d times", r.Key, r.Value, w.want[string(r.Key)])
			}
			got[string(r.Key)] = count
		}
	}
	return nil
}
