package main

// adminBugs break what administration promises: configurations that hold, records that stay deleted, fetch sessions.
var adminBugs = []bug{
	{
		name: "two appends to a list, one lost", file: "broker/controller/alter_configs.go",
		old: "case c.altering <- struct{}{}:\n\t\tdefer func() { <-c.altering }()", new: "default:",
		pkg: "broker/controller", test: "TestAppendsDoNotGetLost",
	},
	{
		name: "config change lost to a creation", file: "broker/controller/lifecycle.go",
		old: "\tl.configureOne(p)\n\treturn l.awaitOne(ctx, p)", new: "\treturn l.awaitOne(ctx, p)",
		pkg: "broker/controller", test: "TestConfigsAreNotLostToCreation",
	},
	{
		name: "broker configs lost in a restart", file: "broker/controller/save.go",
		old: "s.configs[string(key)] = configs", new: "_ = configs",
		pkg: "broker/controller", test: "TestAlterBroker",
	},
	{
		name: "topics keep the defaults of before", file: "broker/controller/machine_configs.go",
		old: "\t\tt.Config = m.parse(t.Name, t.Configs)\n\t\tm.mu.topics", new: "\t\tm.mu.topics",
		pkg: "broker/controller", test: "TestAlterBroker",
	},
	{
		name: "AlterConfigs keeps what is not named", file: "broker/controller/alter_configs.go",
		old: "\tif a.Replace {", new: "\tif a.Replace && len(a.Configs) == 0 {",
		pkg: "broker/controller", test: "TestAlterTopic",
	},
	{
		name: "validate only, and changed", file: "broker/controller/alter_configs.go",
		old: "if err != nil || validateOnly {", new: "if err != nil {",
		pkg: "broker/controller", test: "TestAlterTopic",
	},
	{
		name: "the cluster's value before the broker's", file: "broker/config/dynamic.go",
		old: "{d.Cluster, FromCluster}, {d.Broker, FromBroker}", new: "{d.Broker, FromBroker}, {d.Cluster, FromCluster}",
		pkg: "broker/config", test: "TestDynamic",
	},
	{
		name: "static key changed at run time", file: "broker/config/dynamic.go",
		old: "case !k.Dynamic:", new: "case !k.Dynamic && k.Effect != Honoured:",
		pkg: "broker/config", test: "TestDynamicErrors",
	},
	{
		name: "max.connections raised above the open files", file: "broker/config/dynamic.go",
		old:  "if _, set := n.dynamicValue(\"max.connections\"); set {",
		new:  "if _, set := n.dynamicValue(\"max.connections\"); set || !set {",
		old2: "min(network.ConnectionsMax, c.Network.connectionsCap())", new2: "network.ConnectionsMax",
		pkg: "broker/config", test: "TestDynamic",
	},
	{
		name: "all partitions roll together", file: "broker/partition/config.go",
		old: "SegmentMs: segmentMs - jitter(id, min(c.SegmentJitterMs, segmentMs-1)),", new: "SegmentMs: segmentMs,",
		pkg: "broker/partition", test: "TestSegmentAge",
	},
	{
		name: "repacked batch with the old CRC", file: "protocol/record/recompress.go",
		old: "\tn.setCRC()\n", new: "",
		pkg: "protocol/record", test: "TestRecompress",
	},
	{
		name: "unpacks without a limit", file: "protocol/record/recompress.go",
		old: "if len(w.b)+len(p) > w.limit {", new: "if len(w.b)+len(p) > 1<<30+w.limit {",
		pkg: "protocol/record", test: "TestRecompressLimits",
	},
	{
		name: "KIP-227: any later epoch goes on", file: "broker/handler/fetch_session.go",
		old: "case s.mu.epoch != req.SessionEpoch:", new: "case s.mu.epoch > req.SessionEpoch:",
		pkg: "broker/handler", test: "TestFetchSessions",
	},
	{
		name: "KIP-227: names in a session of ids", file: "broker/handler/fetch_session.go",
		old: "case s.byID != (version >= fetchVersionTopicID):", new: "case s.byID && version < 4:",
		pkg: "broker/handler", test: "TestFetchSessions",
	},
	{
		name: "KIP-227: new high watermark not told", file: "broker/handler/fetch_session.go",
		old: "out.HighWatermark != c.hw || out.LogStartOffset", new: "out.LogStartOffset",
		pkg: "broker/handler", test: "TestSessionAnswers",
	},
	{
		name: "KIP-227: the first partition always first", file: "broker/handler/fetch.go",
		old: "// others come first next time\n\t\tunlink(c)\n\t\tf.session.linkLocked(c)\n", new: "\n",
		pkg: "broker/handler", test: "TestFetchSessionsTakeTurns",
	},
	{
		name: "KIP-227: as large evicts", file: "broker/handler/fetch_session.go",
		old: "size <= smallest.size", new: "size < smallest.size",
		pkg: "broker/handler", test: "TestSessionEviction",
	},
	{
		name: "KIP-227: sessions without end", file: "broker/handler/fetch_session.go",
		old: "if c.mu.bytes > sessionBytesMax {", new: "if c.mu.bytes > 1<<10*sessionBytesMax {",
		pkg: "broker/handler", test: "TestSessionMemory",
	},
	{
		name: "DescribeTopicPartitions above its limit", file: "broker/handler/describe_topic_partitions.go",
		old: "\t\tremaining -= end - first\n", new: "",
		pkg: "broker/handler", test: "TestDescribeTopicPartitions",
	},
	{
		name: "records deleted from a compacted topic", file: "broker/partition/read.go",
		old: "c.Compact && !c.Delete {", new: "c.Compact && !c.Delete && offset < 0 {",
		pkg: "broker/handler", test: "TestDeleteRecords",
	},
	{
		name: "another codec than the topic's", file: "broker/handler/produce.go",
		old: "if !ok || want.Codec == batch.Codec() {", new: "if !ok || batch.Codec() != record.None {",
		pkg: "broker/handler", test: "TestBrokerSideCompression",
	},
}
