package main

import (
	"slices"
	"strings"
)

const keyDeleteRecords = 21

// difference is one that is meant. All fields but match stand in docs/compatibility.md.
type difference struct {
	what, kafka, tandem, why string
	match                    func(f *found) bool
}

// differences is the only place that lets an answer differ. An entry is as narrow as it can be, and none is about what the tested
// clients send or see; the test demands that each one is still seen.
var differences = []difference{
	{
		what:  "ApiVersions",
		kafka: "all its APIs, versions and features", tandem: "the APIs and versions of the table above, no features",
		why: "a version is advertised only when it is honoured in full, and features are those of KRaft",
		match: func(f *found) bool {
			return f.api == "ApiVersions" && (strings.HasPrefix(f.path, "ApiKeys[") || strings.Contains(f.path, "Features"))
		},
	},
	{
		what:  "the texts that come with error codes",
		kafka: "Java's, for some errors none", tandem: "its own, for nearly all errors",
		why:   "they are for people, and say what would be right",
		match: func(f *found) bool { return strings.HasSuffix(f.path, ".ErrorMessage") || f.path == "ErrorMessage" },
	},
	{
		what:  "the topic keys `write.caching`, `dr.mode` and `dr.max.lag.ms`, in CreateTopics and DescribeConfigs",
		kafka: "-", tandem: "shown with the others",
		why: "keys of Tandem's own",
		match: func(f *found) bool {
			return (f.api == "CreateTopics" || f.api == "DescribeConfigs") &&
				(strings.Contains(f.path, "[write.caching]") || strings.Contains(f.path, "[dr."))
		},
	},
	{
		what:  "synonyms of the broker key `node.id`, in DescribeConfigs",
		kafka: "no default", tandem: "the default 1",
		why: "the broker starts without a configuration",
		match: func(f *found) bool {
			return f.api == "DescribeConfigs" && strings.HasSuffix(f.path, ".Configs[node.id]")
		},
	},
	{
		what:  "Metadata of a topic that it creates",
		kafka: "UNKNOWN_TOPIC_OR_PARTITION, and the topic when it is asked again", tandem: "waits up to 500 ms for the topic, and describes it",
		why: "clients ask again only after a pause, some of them seconds later",
		match: func(f *found) bool {
			kafka, tandem := f.codes()
			return f.api == "Metadata" && strings.HasPrefix(f.path, "Topics[") && strings.HasPrefix(kafka, "3 ") && tandem == ""
		},
	},
	{
		what:  "Produce of a batch that is compressed, has the right checksum, and does not unpack or parse",
		kafka: "CORRUPT_MESSAGE, INVALID_RECORD or UNKNOWN_SERVER_ERROR", tandem: "stored as it is",
		why: "batches are kept as they come and opened only where the topic's configuration asks for it; no compressor makes such a one",
		match: func(f *found) bool {
			return f.api == "Produce" && strings.Contains(f.request, f.sequence.prefix+"broken")
		},
	},
	{
		what:  "requests that Kafka fails on: a Produce whose records do not parse, a DescribeTopicPartitions of no name or limit",
		kafka: "UNKNOWN_SERVER_ERROR", tandem: "the code that says what is wrong, or an answer",
		why: "the error is not the server's",
		match: func(f *found) bool {
			kafka, tandem := f.codes()
			if f.api == "DescribeTopicPartitions" && strings.HasPrefix(f.path, "NextCursor") {
				kafka = f.left[f.anyTopic()+".ErrorCode"]
			}
			return (f.api == "Produce" || f.api == "DescribeTopicPartitions") && strings.HasPrefix(kafka, "-1 ") && !strings.HasPrefix(tandem, "-1 ")
		},
	},
	{
		what:  "an operation of IncrementalAlterConfigs that does not exist",
		kafka: "UNKNOWN_SERVER_ERROR, or what is wrong with another setting", tandem: "INVALID_REQUEST",
		why: "it is the request that is wrong",
		match: func(f *found) bool {
			_, tandem := f.codes()
			return f.api == "IncrementalAlterConfigs" && strings.Contains(f.request, ".Op=9") && strings.HasPrefix(tandem, "42 ")
		},
	},
	{
		what:  "ListOffsets of the largest timestamp (-3), where DeleteRecords has taken the record that has it",
		kafka: "that record's, which nobody can read", tandem: "the largest of the records that are left, or none",
		why: "the offset is there to be read from",
		match: func(f *found) bool {
			partition := f.path[:strings.LastIndexByte(f.path, ']')+1]
			deleted := slices.ContainsFunc(f.sequence.steps, func(st step) bool { return st.key == keyDeleteRecords })
			return f.api == "ListOffsets" && deleted && strings.Contains(f.request+" ", partition+".Timestamp=-3 ")
		},
	},
	{
		what:  "ListOffsets of a time, where DeleteRecords has taken the first batch that reaches it",
		kafka: "none", tandem: "the first of the records that are left",
		why: "that record is there to be read",
		match: func(f *found) bool {
			deleted := slices.ContainsFunc(f.sequence.steps, func(st step) bool { return st.key == keyDeleteRecords })
			partition := f.path[:strings.LastIndexByte(f.path, ']')+1]
			special := strings.Contains(f.request, partition+".Timestamp=-")
			return f.api == "ListOffsets" && deleted && !special && f.kafka == "-" && f.left[partition+".ErrorCode"] == "" && f.tandem != "-"
		},
	},
	{
		what:  "sizes of partitions in DescribeLogDirs, where the topic's `compression.type` is not the producer's",
		kafka: "what Java's libraries pack them to", tandem: "what Go's do",
		why: "the libraries'",
		match: func(f *found) bool {
			return f.api == "DescribeLogDirs" && strings.HasSuffix(f.path, ".Size") && f.kafka != "-" && f.tandem != "-" && f.sequence.repacked
		},
	},
}

// anyTopic is the path of a topic in Kafka's answer.
func (f *found) anyTopic() string {
	for path := range f.left {
		if topic, _, ok := strings.Cut(path, "."); ok && strings.HasPrefix(topic, "Topics[") {
			return topic
		}
	}
	return ""
}

// lookup finds the known difference that f is, or nil.
func lookup(f *found) *difference {
	for i := range differences {
		if differences[i].match(f) {
			return &differences[i]
		}
	}
	return nil
}
