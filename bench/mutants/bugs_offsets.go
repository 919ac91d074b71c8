package main

// offsetBugs break what committed offsets promise: acknowledged when the log has them, and then never back, past a restart either.
var offsetBugs = []bug{
	{
		name: "commit answered before the log has it", file: "broker/group/offsets.go",
		old: "\ts.enqueueLocked(e)\n}\n\n// commitEntry", new: "\ts.enqueueLocked(e)\n\treply(each, nil)\n\treply = func([]error, error) {}\n}\n\n// commitEntry",
		pkg: "broker/group", test: "TestCommitIsAnsweredWhenTheLogHasIt",
	},
	{
		name: "commit counts before the log has it", file: "broker/group/offsets.go",
		old: "\te.done = func(_ time.Time, err error) {\n\t\tif err != nil {\n\t\t\ts.dropUnusedLocked(g)",
		new: "\tfor i := range e.commits {\n\t\ts.mu.offsets.put(r.GroupID, e.commits[i].TopicPartition, newCommitted(r, &e.commits[i], now))\n\t}\n" +
			"\te.done = func(_ time.Time, err error) {\n\t\tif err != nil {\n\t\t\ts.dropUnusedLocked(g)",
		pkg: "broker/group", test: "TestFailedAppends",
	},
	{
		name: "failed commit leaves a group behind", file: "broker/group/offsets.go",
		old: "\t\t\ts.dropUnusedLocked(g)\n", new: "",
		pkg: "broker/group", test: "TestFailedAppends",
	},
	{
		name: "uncertain append taken for failed", file: "broker/group/shard.go",
		old: "if err != nil && !certain(err) {\n\t\ts.closeLocked(now)", new: "if err != nil && false {\n\t\ts.closeLocked(now)",
		pkg: "broker/group", test: "TestUncertainAppend",
	},
	{
		name: "tombstone not seen when the log is read", file: "broker/group/load.go",
		old: "\t\tr.offsets.remove(string(key.group), TopicPartition{Topic: string(key.topic), Partition: key.partition})\n", new: "",
		pkg: "broker/group", test: "TestReplay",
	},
	{
		name: "group comes back when the log is read", file: "broker/group/load.go",
		old: "\t\t\tdelete(r.groups, string(key.group))\n", new: "",
		pkg: "broker/group", test: "TestOffsetsOfMembersExpire",
	},
	{
		name: "answers while the log is read", file: "broker/group/shard.go",
		old: "\tcase shardLoading:\n\t\treturn ErrCoordinatorLoading\n", new: "\tcase shardLoading:\n\t\treturn nil\n",
		pkg: "broker/group", test: "TestLoading",
	},
	{
		name: "answers without leadership", file: "broker/group/shard.go",
		old: "if epoch, ok := s.log.serving(); ok && epoch == s.epoch {", new: "if epoch, _ := s.log.serving(); epoch == s.epoch {",
		pkg: "broker/group", test: "TestLoading",
	},
	{
		name: "damaged batch believed", file: "broker/group/load.go",
		old: "\t\t\terr := batch.CheckCRC()\n", new: "\t\t\tvar err error\n",
		pkg: "broker/group", test: "TestDamagedRecords",
	},
	{
		name: "deletion misses what is on its way", file: "broker/group/remove.go",
		old: "if s.mu.pending[groupID] == 0 {\n\t\treturn keys\n\t}", new: "if s.mu.pending[groupID] >= 0 {\n\t\treturn keys\n\t}",
		pkg: "broker/group", test: "TestDeleteOffsets",
	},
	{
		name: "group that could not be deleted is gone", file: "broker/group/remove.go",
		old: "\t\t\ts.restoreLocked(g)\n", new: "",
		pkg: "broker/group", test: "TestFailedAppends",
	},
	{
		name: "topic deleted while the log is read", file: "broker/group/load.go",
		old: "\tfor _, topic := range s.mu.deleted {\n\t\ts.forgetTopicLocked(topic)\n\t}\n", new: "",
		pkg: "broker/group", test: "TestTopicDeletedWhileLoading",
	},
	{
		name: "topic deleted while the broker was away", file: "broker/group/load.go",
		old: "\ts.forgetUnknownLocked()\n", new: "",
		pkg: "broker/group", test: "TestTopicDeletedWhileLoading",
	},
	{
		name: "expiry beside a commit", file: "broker/group/remove.go",
		old: "if s.mu.pending[id] > 0 || len(g.pending) > 0 {", new: "if len(g.pending) > 0 {",
		pkg: "broker/group", test: "TestExpiryAndCommit",
	},
	{
		name: "expiry of what members consume", file: "broker/group/remove.go",
		old: "if g.subscribed(topic) {\n\t\t\tall = false\n", new: "if false {\n\t\t\tall = false\n",
		pkg: "broker/group", test: "TestOffsetsOfMembersExpire",
	},
	{
		name: "retention from the commit, not from when the group became empty", file: "broker/group/remove.go",
		old: "\tcase g.state == stateEmpty && !g.since.IsZero():\n\t\treturn g.since.UnixMilli(), true\n", new: "",
		pkg: "broker/group", test: "TestOffsetsOfMembersExpire",
	},
	{
		name: "retention that a client asks for", file: "broker/group/remove.go",
		old: "\tif c.expireMs >= 0 {\n\t\treturn now >= c.expireMs\n\t}\n", new: "",
		pkg: "broker/group", test: "TestRetentionOfItsOwn",
	},
	{
		name: "the timers of members stand still", file: "broker/group/run.go",
		old: "\t\tif t := c.table.Load(); t != nil {\n\t\t\tt.fire(now)\n\t\t}\n", new: "",
		pkg: "broker/group", test: "TestClock",
	},
	{
		name: "smallest hash has no absolute value", file: "broker/group/coordinator.go",
		old: "\tif h == math.MinInt32 {\n\t\treturn 0\n\t}\n", new: "",
		pkg: "broker/group", test: "TestPartitionOf",
	},
	{
		name: "offsets of a deleted topic stay", file: "broker/controller/machine.go",
		old: "if c.Hidden == 0 {\n\t\t\tm.onDeleted(t)\n", new: "if c.Hidden == 0 {\n",
		pkg: "broker/group", test: "TestTopicDeletion",
	},
	{
		name: "queue for the log without limit", file: "broker/group/shard.go",
		old: "return !s.c.queued.fits(1)", new: "return s == nil",
		pkg: "broker/group", test: "TestFullQueue",
	},
	{
		name: "sessions by the wall clock", file: "broker/group/shard.go",
		old: "if s.due.Load() > s.c.since(now) {", new: "if s.due.Load() > now.UnixNano()-s.c.base.UnixNano() {",
		pkg: "broker/group", test: "TestClockJump",
	},
	{
		name: "offsets without a group", file: "broker/group/remove.go",
		old: "} else if failed != nil && s.mu.state == shardActive {", new: "} else if failed != nil && s.mu.state == shardClosed {",
		pkg: "broker/group", test: "TestPartlyDeletedGroup",
	},
	{
		name: "failed load is left alone", file: "broker/group/run.go",
		old: "return !current.failed()", new: "return current.failed() || true",
		pkg: "broker/group", test: "TestFailedLoadIsTriedAgain",
	},
	{
		name: "offsets fetched again and again", file: "broker/handler/offset_fetch.go",
		old: "return len(a.partitions) == before", new: "return before < 0",
		pkg: "broker/handler", test: "TestOffsetFetchNamedTwice",
	},
	{
		name: "all offsets fetched again and again", file: "broker/handler/offset_fetch.go",
		old: "\t\ta.all = true\n", new: "",
		pkg: "broker/handler", test: "TestOffsetFetchNamedTwice",
	},
	{
		name: "expiry fills the queue", file: "broker/group/remove.go",
		old: "if !s.c.queued.fits(s.c.queued.limit / 2) {", new: "if !s.c.queued.fits(s.c.queued.limit / 2) && now.IsZero() {",
		pkg: "broker/group", test: "TestExpiryLeavesRoom",
	},
	{
		name: "commit written in another leadership", file: "broker/group/shard.go",
		old: "done, result := log.append(batch, epoch)", new: "now, _ := log.serving()\n\tdone, result := log.append(batch, max(now, epoch))",
		pkg: "broker/group", test: "TestCommitOfAnotherLeadership",
	},
	{
		name: "append in another leadership", file: "broker/partition/append.go",
		old: "if !ok || epoch != none && epoch != current {", new: "if !ok || epoch != none && epoch > current {",
		pkg: "broker/partition", test: "TestAppendIn",
	},
}
