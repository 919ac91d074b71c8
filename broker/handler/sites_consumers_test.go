package handler_test

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consumer reads topic t from its start until ctx ends, and gives the offsets of what it gets. One that is told that its position does not
// exist goes back to the start, and so gives offsets twice.
type consumer func(ctx context.Context, t *testing.T, address string, offsets chan<- int64)

// groupConsumers are members of group g.
func groupConsumers(t *testing.T) map[string]consumer {
	programs := buildClients(t)
	return map[string]consumer{
		"franz-go": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
			c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for ctx.Err() == nil {
				c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { offsets <- r.Offset })
			}
		},
		"sarama":   program(programs, "sarama", "consume", "ADDRESS", "g", "sarama", "default", "t"),
		"kafka-go": program(programs, "kafka-go", "consume", "ADDRESS", "g", "kafka-go", "default", "t"),
	}
}

// partitionConsumers read partition 0 without a group. sarama and kafka-go never compare epochs; franz-go does, and never sets its position anew.
func partitionConsumers(t *testing.T) map[string]consumer {
	programs := buildClients(t)
	return map[string]consumer{
		"franz-go": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
			c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
				kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().At(0)}}), kgo.MetadataMinAge(10*time.Millisecond), kgo.FetchMaxWait(50*time.Millisecond))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for ctx.Err() == nil {
				f := c.PollFetches(ctx)
				f.EachError(func(_ string, _ int32, err error) {
					if ctx.Err() == nil {
						t.Error(err)
					}
				})
				f.EachRecord(func(r *kgo.Record) { offsets <- r.Offset })
			}
		},
		"sarama":   program(programs, "sarama", "read", "ADDRESS", "t"),
		"kafka-go": program(programs, "kafka-go", "read", "ADDRESS", "t"),
	}
}

// buildClients makes the program of bench/interop with the clients that the product does not link.
func buildClients(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "goclients")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/tandembroker/tandem/bench/interop/clients/goclients").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// program is a consumer in a process of its own, which prints a line for each record, with its offset in the third place.
func program(path string, args ...string) consumer {
	return func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		c := exec.CommandContext(ctx, path)
		for _, arg := range args {
			c.Args = append(c.Args, strings.ReplaceAll(arg, "ADDRESS", address))
		}
		var problems strings.Builder
		c.Stderr = &problems
		_, err1 := c.StdinPipe() // it reads until this ends
		out, err2 := c.StdoutPipe()
		if err1 != nil || err2 != nil {
			t.Error(err1, err2)
			return
		}
		if err := c.Start(); err != nil {
			t.Error(err)
			return
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 3 {
				t.Errorf("%s printed %q", args[0], lines.Text())
				continue
			}
			offset, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				t.Error(err)
			}
			offsets <- offset
		}
		if err := c.Wait(); ctx.Err() == nil {
			t.Errorf("%s ended: %v\n%s", args[0], err, problems.String())
		}
	}
}
