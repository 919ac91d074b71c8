package main

import "slices"

// groupBugs break consumer groups.
var groupBugs = slices.Concat(membershipBugs, offsetBugs)

// membershipBugs break the membership of groups: one leader and one assignment in a generation, no lost answers, no rebalance that
// does not end.
var membershipBugs = []bug{
	{
		name: "leader that did not join", file: "broker/group/rebalance.go",
		old: "if !g.electJoined() && len(g.order) > 0 {", new: "if g.joining == 0 && len(g.order) > 0 {",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "assignment of another generation", file: "broker/group/sync.go",
		old: "case r.Generation != g.generation:", new: "case r.Generation > g.generation:",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "assignment answered before it is stored", file: "broker/group/sync.go",
		old: "\ts.log.persist(g.id, g.snapshot(assignments), done)",
		new: "\ts.log.persist(g.id, g.snapshot(assignments), func(time.Time, error) {})\n\tdone(now, nil)",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "assignment stored late counts in the next rebalance", file: "broker/group/sync.go",
		old: "if g.state != stateCompleting || g.generation != generation {", new: "if g.state == stateDead {",
		pkg: "broker/group", test: "TestRandomClients",
	},
	{
		name: "second assignment of a generation", file: "broker/group/sync.go",
		old: "if g.leader == m.id && !g.storing {", new: "if g.leader == m.id {",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "answer lost when a member comes again", file: "broker/group/join.go",
		old: "\ts.answerJoin(g, m, refused(ErrRebalanceInProgress, m.id))\n\tm.joinWaiter = reply\n\tg.joining++",
		new: "\tif m.joinWaiter == nil {\n\t\tg.joining++\n\t}\n\tm.joinWaiter = reply",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "answer lost when a member leaves", file: "broker/group/membership.go",
		old: "\ts.answerSync(m, SyncResult{Err: ErrUnknownMember})\n", new: "",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "session over while the answer is waited for", file: "broker/group/member.go",
		old: "return !m.fresh && (m.joinWaiter != nil || m.syncWaiter != nil)", new: "return false",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "new members wait for ever", file: "broker/group/member.go",
		old: "return !m.fresh && (m.joinWaiter != nil || m.syncWaiter != nil)", new: "return m.joinWaiter != nil || m.syncWaiter != nil",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "pending member holds up a rebalance for ever", file: "broker/group/membership.go",
		old: "\tif g.state == statePreparing && g.allJoined() {\n\t\ts.completeJoin(g, now)\n\t}\n}\n\n// answerJoin",
		new: "}\n\n// answerJoin",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "static member fences the wrong one", file: "broker/group/join.go",
		old: "\ts.answerJoin(g, m, refused(ErrFencedInstance, m.id))\n", new: "",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "static member comes back with a rebalance", file: "broker/group/join.go",
		old: "case g.state == stateStable && g.protocol != nil && g.vote() == *g.protocol:", new: "case false:",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "static member's new id is not stored", file: "broker/group/join.go",
		old: "\t\t\ts.restore(g, m, old)\n", new: "",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "sessions are not begun after a restart", file: "broker/group/membership.go",
		old: "\t\t\ts.alive(g, m, now)\n\t\t}\n\t\tif s.opts.SizeMax", new: "\t\t}\n\t\tif s.opts.SizeMax",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "members are not restored", file: "broker/group/group_record.go",
		old: "\t\tg.state = stateStable\n", new: "",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "generations run into the site epoch", file: "broker/group/rebalance.go",
		old: "if g.generation&generationMask == generationMask {", new: "if g.generation == -1 {",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "protocol that not all offer", file: "broker/group/group.go",
		old: "return g.offered[name] == len(g.members)", new: "return g.offered[name] > 0",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "rebalance of nobody spins", file: "broker/group/rebalance.go",
		old: "max(g.rebalanceTimeout(), absentRetry)", new: "g.rebalanceTimeout()",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "timers in the wrong order", file: "broker/group/timers.go",
		old: "if t.due.After(t.at) {", new: "if t.due.After(now) {",
		pkg: "broker/group", test: "TestTimers",
	},
	{
		name: "timer fires late", file: "broker/group/timers.go",
		old: "\tcase due.Before(t.at):\n\t\tt.at = due\n\t\theap.Fix(&ts.heap, t.index-1)\n", new: "",
		pkg: "broker/group", test: "TestTimers",
	},
	{
		name: "metadata borrows from the frame", file: "broker/handler/groups.go",
		old: "bytes.Clone(from[i].Metadata)", new: "from[i].Metadata[:len(bytes.TrimSpace(from[i].Metadata)):len(from[i].Metadata)]",
		pkg: "broker/handler", test: "TestJoinGroupVersions",
	},
	{
		name: "refused JoinGroup with a generation", file: "broker/group/membership.go",
		old: "s.answerJoin(g, m, refused(ErrUnknownMember, \"\"))", new: "s.answerJoin(g, m, JoinResult{Err: ErrUnknownMember})",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "heartbeat fails while groups are loaded", file: "broker/handler/heartbeat.go",
		old: "if errors.Is(err, group.ErrCoordinatorLoading) {", new: "if errors.Is(err, nil) {",
		pkg: "broker/handler", test: "TestListGroupsHeartbeat",
	},
	{
		name: "partition's error instead of the coordinator's", file: "broker/handler/codes.go",
		old: "for _, c := range codes {\n\t\tif errors.Is(err, c.err) {\n\t\t\treturn c.code",
		new: "for i := range codes {\n\t\tc := codes[len(codes)-1-i]\n\t\tif errors.Is(err, c.err) {\n\t\t\treturn c.code",
		pkg: "broker/handler", test: "TestCoordinatorErrors",
	},
	{
		name: "members weigh what they say", file: "broker/group/member.go",
		old: "n := memberOverhead + len(m.id)", new: "n := 0*memberOverhead + len(m.id)",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "member ids without limit", file: "broker/group/join.go",
		old: "\ts.opts.MemberBytes.add(pendingBytes(id))\n", new: "",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "assignment borrows from the frame", file: "broker/group/sync.go",
		old: "assignments[id] = bytes.Clone(b)", new: "assignments[id] = b[:len(bytes.Clone(b))]",
		pkg: "broker/group", test: "TestTranscripts",
	},
	{
		name: "names longer than a record can have", file: "broker/group/join.go",
		old: "case len(r.base())+idOverhead > stringMax:", new: "case len(r.base())+idOverhead < 0:",
		pkg: "broker/group", test: "TestLongNames",
	},
	{
		name: "commits fail when the server stops", file: "broker/handler/groups.go",
		old: "if soon := min(v.patience, logSoon); soon > 0 {", new: "if soon := min(v.patience, logSoon); soon < 0 {",
		pkg: "broker/handler", test: "TestStopAnswers",
	},
	{
		name: "group described again and again", file: "broker/handler/describe_groups.go",
		old: "names := distinct(c.req.Groups)", new: "names := c.req.Groups",
		pkg: "broker/handler", test: "TestDescribeGroupsVersions",
	},
	{
		name: "protocols without limit", file: "broker/handler/join_group.go",
		old: "if len(req.Protocols) > protocolsMax {", new: "if len(req.Protocols) > 100*protocolsMax {",
		pkg: "broker/handler", test: "TestJoinGroupVersions",
	},
	{
		name: "groups of a fenced log read again with each write", file: "broker/group/partition_log.go",
		old: " || errors.Is(err, raft.ErrVoid)", new: " || errors.Is(err, raft.ErrVoid) && errors.Is(err, ErrCommitTooLarge)",
		pkg: "broker/group", test: "TestFencedLogIsNotReadAgain",
	},
}
