package main

// oracleBugs answer something else than Kafka does.
var oracleBugs = []bug{
	{
		name: "old clients ask for a topic that nobody creates", file: "broker/handler/metadata.go",
		old: "version >= metadataVersionAsks && !req.AllowAutoTopicCreation", new: "!req.AllowAutoTopicCreation",
		pkg: "bench/oracle", test: "TestAnswersAsRecordedOfKafka", short: true,
	},
	{
		name: "max.message.bytes=0 is no limit", file: "broker/partition/config.go",
		old: "max(c.MessageBytesMax, 1)", new: "c.MessageBytesMax",
		pkg: "broker/handler", test: "TestProduceErrors",
	},
	{
		name: "named twice, and deleted", file: "broker/handler/delete_topics.go",
		old: "entries[at].code, entries[at].message = codeInvalidRequest, \"Duplicate topic id.\"", new: "_ = at",
		pkg: "broker/handler", test: "TestDeleteTopicsRepeated",
	},
	{
		name: "bad acks before a topic that is not there", file: "broker/handler/produce.go",
		old: "\t\t\tcase !known:", new: "\t\t\tcase req.Acks > acksOne:\n\t\t\t\tout.code = codeInvalidRequiredAcks\n\t\t\tcase !known:",
		pkg: "bench/oracle", test: "TestAnswersAsRecordedOfKafka", short: true,
	},
	{
		name: "another offset than Kafka's", file: "broker/partition/read.go",
		old: "return start, none, p.epochAt(start, hw, current), nil", new: "return start, start, p.epochAt(start, hw, current), nil",
		pkg: "bench/oracle", test: "TestAnswersAsRecordedOfKafka", short: true,
	},
}
