package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	groupCommand  = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	groupsCommand = "org.apache.kafka.tools.GroupsCommand"
	consumerPerf  = "org.apache.kafka.tools.ConsumerPerformance"
)

// groupPartitions have 100 records each in the steps below.
const groupPartitions = 3

// numbered creates a topic with the numbers from 1 to 100 in each of its partitions.
func (s *suite) numbered(ctx context.Context, name string) (string, error) {
	topic, err := s.topic(ctx, name, groupPartitions)
	if err != nil {
		return "", err
	}
	client, err := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	var records []*kgo.Record
	for p := range int32(groupPartitions) {
		for n := range 100 {
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: strconv.AppendInt(nil, int64(n+1), 10)})
		}
	}
	return topic, client.ProduceSync(ctx, records...).FirstErr()
}

// kafkaGroups asks kafka-consumer-groups and kafka-groups of a group with a member and without, resets its offsets in every way,
// deletes some of them, and deletes the group.
func (s *suite) kafkaGroups(ctx context.Context) error {
	t, err := s.numbered(ctx, "consumer-groups")
	if err != nil {
		return err
	}
	g := s.prefix + "of-tools"
	member, err := s.client(kgo.ConsumerGroup(g), kgo.ConsumeTopics(t), kgo.ClientID("member"), kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		return err
	}
	defer member.Close()
	if err := readCommitted(ctx, member, 100*groupPartitions); err != nil {
		return err
	}
	row := func(partition, committed int) string { // with the end and the lag
		return fmt.Sprintf("%s %s %d %d 100 %d", g, t, partition, committed, 100-committed)
	}
	reset := func(what string, offsets ...string) toolStep {
		step := toolStep{class: groupCommand, args: "--reset-offsets --group " + g + " " + what}
		for _, o := range offsets {
			step.want = append(step.want, g+" "+t+" "+o)
		}
		return step
	}
	if err := s.toolSteps(ctx, []toolStep{
		{class: groupCommand, args: "--list", want: []string{g}},
		{class: groupCommand, args: "--list --state", want: []string{"GROUP STATE", g + " Stable"}},
		{class: groupCommand, args: "--list --state Empty", not: g},
		{class: groupCommand, args: "--list --type classic", want: []string{"GROUP TYPE", g + " Classic"}},
		{class: groupsCommand, args: "--list", want: []string{"GROUP TYPE PROTOCOL", g + " Classic consumer"}},
		{class: groupCommand, args: "--describe --group " + g, want: []string{"CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID",
			row(0, 100) + " member-", row(1, 100) + " member-", row(2, 100) + " member-", "/127.0.0.1 member"}},
		{class: groupCommand, args: "--describe --members --verbose --group " + g, want: []string{"/127.0.0.1 member 3 - " + t + ":0,1,2"}},
		{class: groupCommand, args: "--describe --state --group " + g, want: []string{g + " " + s.address + " (1) range Stable 1"}},
		{class: groupCommand, args: "--reset-offsets --execute --to-earliest --topic " + t + " --group " + g,
			want: []string{"Assignments can only be reset if the group '" + g + "' is inactive, but the current state is Stable."}, not: t},
		{class: groupCommand, args: "--delete --group " + g, want: []string{"Group '" + g + "' could not be deleted", "GroupNotEmptyException"}},
		{class: groupCommand, args: "--delete-offsets --topic " + t + ":1 --group " + g, want: []string{t + " 1 Error:", "GroupSubscribedToTopicException"}},
	}); err != nil {
		return err
	}
	member.Close()
	return s.toolSteps(ctx, []toolStep{
		{class: groupCommand, args: "--describe --state --group " + g, want: []string{g + " " + s.address + " (1) - Empty 0"}},
		{class: groupCommand, args: "--describe --group " + g, want: []string{row(0, 100) + " - - -", row(1, 100) + " - - -", row(2, 100) + " - - -"}},
		reset("--dry-run --to-offset 10 --topic "+t+":0", "0 10"),
		reset("--execute --to-offset 1000 --topic "+t+":0", "0 100"),
		reset("--execute --shift-by -5 --topic "+t+":1", "1 95"),
		reset("--execute --to-datetime 2020-01-01T00:00:00.000 --topic "+t+":2", "2 0"),
		{class: groupCommand, args: "--reset-offsets --dry-run --export --to-current --topic " + t + " --group " + g, want: []string{`"` + t + `",0,100`, `"` + t + `",1,95`, `"` + t + `",2,0`}},
		{class: groupCommand, args: "--describe --group " + g, want: []string{row(0, 100), row(1, 95), row(2, 0)}},
		reset("--execute --to-earliest --topic "+t, "0 0", "1 0", "2 0"),
		reset("--execute --by-duration PT0S --topic "+t, "0 100", "1 100", "2 100"),
		{class: groupCommand, args: "--delete-offsets --topic " + t + ":2 --group " + g, want: []string{"Request succeeded for deleting offsets from group " + g, t + " 2 Successful"}},
		{class: groupCommand, args: "--describe --offsets --group " + g, want: []string{row(0, 100), row(1, 100)}, not: t + " 2"},
		{class: groupCommand, args: "--delete-offsets --topic " + t + " --group " + g + "-none", want: []string{"GroupIdNotFoundException"}},
		{class: groupCommand, args: "--delete --group " + g + " --group " + g + "-none", want: []string{"Group '" + g + "-none' could not be deleted",
			"GroupIdNotFoundException", "deleted successfully: '" + g + "'"}},
		{class: groupCommand, args: "--describe --group " + g, want: []string{"GroupIdNotFoundException: Group " + g + " not found."}},
		{class: groupCommand, args: "--list", not: g},
		{class: groupCommand, args: "--reset-offsets --execute --to-latest --topic " + t + " --group " + g + "-new", want: []string{g + "-new " + t + " 0 100"}},
		{class: groupCommand, args: "--describe --all-groups --state", want: []string{g + "-new " + s.address + " (1) - Empty 0"}},
	})
}

// readCommitted reads as a member of a group, and commits.
func readCommitted(ctx context.Context, member *kgo.Client, count int) error {
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	for count > 0 {
		fetches := member.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		count -= fetches.NumRecords()
	}
	return member.CommitUncommittedOffsets(ctx)
}

// kafkaPerfGroup has kafka-consumer-perf-test read a topic in a group, whose offsets are then the topic's ends.
func (s *suite) kafkaPerfGroup(ctx context.Context) error {
	topic, err := s.numbered(ctx, "perf-group")
	if err != nil {
		return err
	}
	group, count := s.prefix+"perf", 100*groupPartitions
	out, err := s.kafkaTool(ctx, nil, consumerPerf, "--bootstrap-server", s.address, "--topic", topic, "--group", group, "--num-records",
		strconv.Itoa(count), "--timeout", "30000", "--hide-header")
	if err != nil {
		return err
	}
	fields := strings.Split(strings.TrimSpace(out), ", ")
	const records = 4 // data.consumed.in.nMsg
	if len(fields) <= records || fields[records] != strconv.Itoa(count) {
		return fmt.Errorf("kafka-consumer-perf-test did not read %d records:\n%s", count, tail(out))
	}
	step := toolStep{class: groupCommand, args: "--describe --group " + group}
	for p := range groupPartitions {
		step.want = append(step.want, fmt.Sprintf("%s %s %d 100 100 0", group, topic, p))
	}
	return s.toolSteps(ctx, []toolStep{step})
}

// verifiableConfig writes what the verifiable tools take from a file only.
func (s *suite) verifiableConfig(clientID string) string {
	path := filepath.Join(s.dir, clientID+".properties")
	text := fmt.Sprintf("client.id=%s\nheartbeat.interval.ms=500\nfetch.max.wait.ms=200\n", clientID)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err.Error() // the tool tells that there is no such file
	}
	return path
}

// kafkaVerifiable writes with kafka-verifiable-producer and every codec: each record must be where the tool says that it was
// acknowledged. kafka-verifiable-consumer is a member in the groups step.
func (s *suite) kafkaVerifiable(ctx context.Context) error {
	topic, err := s.topic(ctx, "verifiable", groupPartitions)
	if err != nil {
		return err
	}
	acked := map[position]hashes{}
	for i, codec := range allCodecs {
		config := filepath.Join(s.dir, "producer.properties")
		if err := os.WriteFile(config, []byte("compression.type="+codec+"\nlinger.ms=20\n"), 0o644); err != nil {
			return err
		}
		out, err := s.kafkaTool(ctx, nil, verifiableProducer, "--bootstrap-server", s.address, "--topic", topic, "--max-messages",
			strconv.Itoa(s.cellRecords()), "--acks", "-1", "--value-prefix", strconv.Itoa(i), "--repeating-keys", "10", "--command-config", config)
		if err != nil {
			return fmt.Errorf("codec %s: %w", codec, err)
		}
		before := len(acked)
		for line := range strings.Lines(out) {
			var e verifiableEvent
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return fmt.Errorf("kafka-verifiable-producer printed %q: %w", line, err)
			}
			switch e.Name {
			case "producer_send_error":
				return fmt.Errorf("codec %s: %s", codec, line)
			case "producer_send_success":
				if e.Key == nil || e.Value == nil {
					return fmt.Errorf("kafka-verifiable-producer printed %q: no key or no value", line)
				}
				acked[position{e.Topic, e.Partition, e.Offset}] = content{key: []byte(*e.Key), value: []byte(*e.Value)}.hashes()
			}
		}
		if got := len(acked) - before; got != s.cellRecords() {
			return fmt.Errorf("codec %s: %d records were acknowledged at places of their own, of %d", codec, got, s.cellRecords())
		}
	}
	readings, err := s.readAll(ctx, topic)
	if err != nil {
		return err
	}
	for at, sent := range acked {
		if r, ok := readings[at]; !ok || r.hashes != sent {
			return fmt.Errorf("%v does not hold what was acknowledged there (present: %v)", at, ok)
		}
	}
	if len(readings) != len(acked) {
		return fmt.Errorf("%d records are in the log, %d were acknowledged", len(readings), len(acked))
	}
	fmt.Printf("    %d records, each where it was acknowledged\n", len(acked))
	return nil
}
