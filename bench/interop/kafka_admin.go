package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The main classes behind Kafka's administration scripts.
const (
	configCommand  = "org.apache.kafka.tools.ConfigCommand"
	deleteCommand  = "org.apache.kafka.tools.DeleteRecordsCommand"
	logDirsCommand = "org.apache.kafka.tools.LogDirsCommand"
	aclCommand     = "org.apache.kafka.tools.AclCommand"
	clusterTool    = "org.apache.kafka.tools.ClusterTool"
)

// toolStep is one run of a tool and what is to be in its output, or not, where any white space is as good as one space. Fails: it
// must end with an error whose text has want.
type toolStep struct {
	class string
	args  string
	want  []string
	not   string
	fails bool
}

func (s *suite) toolSteps(ctx context.Context, steps []toolStep) error {
	for _, step := range steps {
		args := append([]string{"--bootstrap-server", s.address}, strings.Fields(step.args)...)
		if step.class == clusterTool {
			args = append(strings.Fields(step.args), "--bootstrap-server", s.address)
		}
		name := step.class[strings.LastIndexByte(step.class, '.')+1:] + " " + step.args
		out, err := s.kafkaTool(ctx, nil, step.class, args...)
		switch {
		case step.fails && err == nil && len(step.want) == 0:
			return fmt.Errorf("%s: done, and should not be", name)
		case step.fails && err != nil:
			out = err.Error()
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		}
		flat := strings.Join(strings.Fields(out), " ")
		for _, want := range step.want {
			if !strings.Contains(flat, want) {
				return fmt.Errorf("%s: no %q in\n%s", name, want, out)
			}
		}
		if step.not != "" && strings.Contains(flat, step.not) {
			return fmt.Errorf("%s: %q is in\n%s", name, step.not, out)
		}
	}
	return nil
}

// kafkaConfigs changes configs of a topic, of the broker and of all brokers with kafka-configs, and looks at what is shown.
func (s *suite) kafkaConfigs(ctx context.Context) error {
	topic, err := s.topic(ctx, "configs", 1)
	if err != nil {
		return err
	}
	t := "--entity-type topics --entity-name " + topic
	const node, all = "--entity-type brokers --entity-name 1", "--entity-type brokers --entity-default"
	return s.toolSteps(ctx, []toolStep{
		{class: configCommand, args: "--alter " + t + " --add-config retention.ms=1000000,cleanup.policy=[compact,delete]", want: []string{"Completed updating config for topic " + topic}},
		{class: configCommand, args: "--describe " + t, want: []string{"retention.ms=1000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1000000", "cleanup.policy=compact,delete"}},
		{class: configCommand, args: "--describe --all " + t, want: []string{"retention.ms=1000000", "segment.bytes=1073741824 sensitive=false synonyms={DEFAULT_CONFIG:log.segment.bytes=1073741824}"}},
		{class: configCommand, args: "--alter " + t + " --delete-config retention.ms", want: []string{"Completed"}},
		{class: configCommand, args: "--describe " + t, not: "retention.ms="},
		{class: configCommand, args: "--alter " + t + " --add-config no.such.key=1", fails: true, want: []string{"InvalidConfigurationException", "no.such.key"}},
		{class: configCommand, args: "--alter " + t + " --add-config retention.ms=soon", fails: true, want: []string{"InvalidConfigurationException", "retention.ms"}},
		{class: configCommand, args: "--alter --entity-type topics --entity-name " + topic + "x --add-config retention.ms=1", fails: true, want: []string{topic + "x"}},
		{class: configCommand, args: "--alter " + all + " --add-config log.cleaner.min.cleanable.ratio=0.75,message.max.bytes=2000000", want: []string{"Completed updating default config for brokers"}},
		{class: configCommand, args: "--alter " + node + " --add-config message.max.bytes=3000000", want: []string{"Completed updating config for broker 1"}},
		{class: configCommand, args: "--describe " + all, want: []string{"message.max.bytes=2000000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=2000000}"}},
		{class: configCommand, args: "--describe " + node, want: []string{"message.max.bytes=3000000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:message.max.bytes=3000000, DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=2000000, DEFAULT_CONFIG:message.max.bytes=1048588}"}},
		{class: configCommand, args: "--describe --all " + t, want: []string{"max.message.bytes=3000000", "min.cleanable.dirty.ratio=0.75 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.min.cleanable.ratio=0.75"}},
		{class: configCommand, args: "--alter " + node + " --add-config log.dirs=/x", fails: true, want: []string{"InvalidRequestException", "Cannot update these configs dynamically", "log.dirs"}},
		{class: configCommand, args: "--alter " + all + " --delete-config log.cleaner.min.cleanable.ratio,message.max.bytes", want: []string{"Completed"}},
		{class: configCommand, args: "--alter " + node + " --delete-config message.max.bytes", want: []string{"Completed"}},
		{class: configCommand, args: "--describe " + node, not: "message.max.bytes="},
		{class: topicCommand, args: "--describe --topic " + topic, want: []string{"cleanup.policy=compact,delete"}, not: "retention.ms"},
		{class: topicCommand, args: "--describe --topics-with-overrides", want: []string{topic}},
	})
}

// kafkaAdmin deletes records with kafka-delete-records, and asks kafka-log-dirs, kafka-acls and kafka-cluster.
func (s *suite) kafkaAdmin(ctx context.Context) error {
	topic, err := s.topic(ctx, "admin", 2)
	if err != nil {
		return err
	}
	want := newDigest()
	path := filepath.Join(s.dir, "admin.txt")
	if err := writeLines(path, 0, 1000, want); err != nil {
		return err
	}
	if _, err := command(ctx, nil, "kcat", "-P", "-b", s.address, "-t", topic, "-p", "0", "-l", path); err != nil {
		return err
	}
	below, all := filepath.Join(s.dir, "below.json"), filepath.Join(s.dir, "all.json")
	for file, offset := range map[string]int{below: 400, all: -1} {
		text := fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0,"offset":%d}],"version":1}`, topic, offset)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	above := filepath.Join(s.dir, "above.json")
	if err := os.WriteFile(above, []byte(fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0,"offset":1001}],"version":1}`, topic)), 0o600); err != nil {
		return err
	}
	return s.toolSteps(ctx, []toolStep{
		{class: deleteCommand, args: "--offset-json-file " + below, want: []string{"partition: " + topic + "-0", "low_watermark: 400"}},
		{class: getOffsets, args: "--topic " + topic + " --time -2", want: []string{topic + ":0:400", topic + ":1:0"}},
		{class: deleteCommand, args: "--offset-json-file " + above, fails: true, want: []string{"OffsetOutOfRangeException"}},
		{class: deleteCommand, args: "--offset-json-file " + all, want: []string{"low_watermark: 1000"}},
		{class: getOffsets, args: "--topic " + topic + " --time -2", want: []string{topic + ":0:1000"}},
		{class: getOffsets, args: "--topic " + topic + " --time -1", want: []string{topic + ":0:1000"}},
		{class: logDirsCommand, args: "--describe --topic-list " + topic, want: []string{`"partition":"` + topic + `-0"`, `"partition":"` + topic + `-1"`, `"error":null`, `"offsetLag":0`, `"isFuture":false`}},
		{class: topicCommand, args: "--alter --topic " + topic + " --partitions " + strconv.Itoa(7)},
		{class: topicCommand, args: "--describe --topic " + topic, want: []string{"PartitionCount: 7", "Partition: 6", "Leader: 1"}},
		{class: topicCommand, args: "--alter --topic " + topic + " --partitions 3", fails: true, want: []string{"currently has 7 partition(s); 3 would not be an increase"}},
		{class: topicCommand, args: "--describe --unavailable-partitions", not: topic},
		{class: aclCommand, args: "--list", fails: true, want: []string{"SecurityDisabledException", "No Authorizer is configured"}},
		{class: clusterTool, args: "cluster-id", want: []string{"Cluster ID: "}},
		{class: clusterTool, args: "list-endpoints", want: []string{"broker"}},
	})
}
