package main

import "slices"

// bugs are the seeded bugs, by the layer that has the rule that they break. Each names the test that is there to catch it.
var bugs = slices.Concat(journalBugs, segmentBugs, holeBugs, storeBugs, raftBugs, protocolBugs, budgetBugs, partitionBugs, compactionBugs, adminBugs, groupBugs, siteBugs, transportBugs, level2Bugs, clientsBugs, pairBugs, metadataBugs, operatorBugs, archiveBugs, oracleBugs, processBugs, serverBugs)

// raftBugs break what an entry must pass before it is stored, and the guards against hashicorp/raft (hazards R1 to R16).
var raftBugs = []bug{
	{
		name: "stale entry accepted", file: "storage/entry/admit.go",
		old: "case h.ValidatedTerm != raftTerm:", new: "case h.ValidatedTerm > raftTerm:",
		pkg: "storage/entry", test: "TestAdmitRefuses",
	},
	{
		name: "void counts in the sequence", file: "storage/entry/admit.go",
		old: "case Void:\n\t\treturn nil", new: "case Void:",
		pkg: "storage/entry", test: "TestVoidDoesNotAdvanceTheSequence",
	},
	{
		name: "base offset = LEO on follower, refused", file: "storage/entry/admit.go",
		old: "if r.BaseOffset < s.NextOffset {", new: "if r.BaseOffset != s.NextOffset {",
		pkg: "storage/entry", test: "TestAdvanceRefusesToGoBack",
	},
	{
		name: "base offset = LEO on follower, stamped again", file: "replication/raft/log_store.go",
		old: "\te.Payload = l.Extensions\n\treturn s.state.Advance(h)",
		new: "\te.Payload = l.Extensions\n\tif h.Kind == entry.Data {\n\t\ts.state.Stamp(h, l.Term)\n\t\tstamp(h, e.Payload)\n" +
			"\t\te.Data = h.Append(nil)\n\t}\n\treturn s.state.Advance(h)",
		pkg: "replication/raft", test: "TestFollowerKeepsTheLeadersOffsets",
	},
	{
		name: "missing CRC check: payload from the leader", file: "replication/raft/log_store.go",
		old: "int(h.PayloadLength) != len(l.Extensions) || h.PayloadCRC != crc32.Checksum(l.Extensions, entry.Castagnoli)",
		new: "int(h.PayloadLength) != len(l.Extensions) || h.PayloadCRC != h.PayloadCRC|crc32.Checksum(nil, entry.Castagnoli)",
		pkg: "replication/raft", test: "TestFollowerVerifiesThePayload",
	},
	{
		name: "payload released before it is stored", file: "replication/raft/log_store.go",
		old: "\te.Payload = f.payload\n\treturn nil", new: "\te.Payload = f.payload\n\tf.letGo()\n\treturn nil",
		pkg: "replication/raft", test: "TestPayloadIsReleasedOnlyOnceStored",
	},
	{
		name: "R1 heartbeats beside the main loop", file: "replication/raft/transport.go",
		old:  "SetHeartbeatHandler(func(hraft.RPC)) {}",
		new:  "SetHeartbeatHandler(handle func(hraft.RPC)) { heartbeats.Store(e, handle) }\n\nvar heartbeats sync.Map",
		old2: "\tanswer := make(chan hraft.RPCResponse, 1)\n\tselect {\n\tcase p.rpc <-",
		new2: "\tanswer := make(chan hraft.RPCResponse, 1)\n" +
			"\tif a, ok := command.(*hraft.AppendEntriesRequest); ok && len(a.Entries) == 0 && a.PrevLogEntry == 0 {\n" +
			"\t\tif handle, ok := heartbeats.Load(p); ok {\n" +
			"\t\t\thandle.(func(hraft.RPC))(hraft.RPC{Command: command, RespChan: answer})\n" +
			"\t\t\tselect {\n\t\t\tcase r := <-answer:\n\t\t\t\treturn r.Response, r.Error\n" +
			"\t\t\tcase <-timer.C:\n\t\t\t\treturn nil, errUnreachable\n\t\t\t}\n\t\t}\n\t}\n" +
			"\tselect {\n\tcase p.rpc <-",
		pkg: "replication/raft", test: "TestGuardR1HeartbeatsGoThroughTheMainLoop",
	},
	{
		name: "R1 lower term stored", file: "storage/append.go",
		old: "if v.Term < old.Term || v.VotedTerm < old.VotedTerm ||", new: "if v.VotedTerm < old.VotedTerm ||",
		pkg: "storage", test: "TestVotes",
	},
	{
		name: "R2 vote written in two steps", file: "replication/raft/stable_store.go",
		old: "\t\ts.votedTerm = val\n\t\treturn nil",
		new: "\t\ts.votedTerm, v.VotedTerm = val, val\n\t\treturn s.sg.SetVote(v)",
		pkg: "replication/raft", test: "TestGuardR2VoteIsOneRecord",
	},
	{
		name: "R2 two votes in one term", file: "storage/append.go",
		old: "v.VotedTerm == old.VotedTerm && old.Candidate != \"\" && v.Candidate != old.Candidate", new: "false",
		pkg: "storage", test: "TestVotes",
	},
	{
		name: "R3 failed store is tried again", file: "replication/raft/log_store.go",
		old: "\t\ts.g.fail(err)\n\t\tfailed := ", new: "\t\tfailed := ",
		pkg: "replication/raft", test: "TestGuardR3FailedStoreIsFinal",
	},
	{
		name: "R3 election after a failed store", file: "replication/raft/log_store.go",
		old: "\t\ts.g.fail(err)\n\t\tfailed := ", new: "\t\tfailed := ",
		pkg: "replication/raft", test: "TestGuardR3FailedStoreEndsTheRaftGroup",
	},
	{
		name: "R3 failed proposal forgotten", file: "replication/raft/log_store.go",
		old: "\t\ts.g.complete(s.taken, failed)\n", new: "",
		pkg: "replication/raft", test: "TestGuardR3FailedStoreEndsTheRaftGroup",
	},
	{
		name: "R3 failed store reported as done", file: "replication/raft/log_store.go",
		old: "\tclear(s.voided)\n\treturn err\n", new: "\tclear(s.voided)\n\treturn nil\n",
		pkg: "replication/raft", test: "TestGuardR3FailedStoreIsFinal",
	},
	{
		name: "R4 gap stored", file: "storage/append.go",
		old: "if e.Index != index+1 {", new: "if e.Index <= index {",
		pkg: "replication/raft", test: "TestGuardR4GapEndsTheRaftGroup",
	},
	{
		name: "R4 hole deleted", file: "replication/raft/log_store.go",
		old: "case last >= end && first > snap.Index:", new: "case first > snap.Index:",
		pkg: "replication/raft", test: "TestGuardR4OnlyPrefixAndSuffixAreDeleted",
	},
	{
		name: "R4 failed truncation is survived", file: "replication/raft/log_store.go",
		old: "\t\tif err != nil {\n\t\t\ts.g.fail(err)\n\t\t}\n\t\treturn err", new: "\t\treturn err",
		pkg: "replication/raft", test: "TestGuardR4FailedTruncationEndsTheRaftGroup",
	},
	{
		name: "truncation forgets the admission state", file: "replication/raft/log_store.go",
		old: "\ts.state = state\n\ts.g.mu.Lock()\n\ts.g.mu.state = state", new: "\ts.g.mu.Lock()\n\ts.g.mu.state = state",
		pkg: "replication/raft", test: "TestTruncationTakesTheAdmissionStateBack",
	},
	{
		name: "suffix of a deposed leader stays", file: "replication/raft/log_store.go",
		old: "\t\terr := s.truncate(first)\n", new: "\t\terr := error(nil)\n",
		pkg: "replication/raft", test: "TestFailoverReplacesTheSuffix",
	},
	{
		name: "proposal of a deposed leader acknowledged", file: "replication/raft/group.go",
		old: "g.complete(g.endTerm(true), ErrNotLeader)", new: "g.complete(g.endTerm(true), nil)",
		pkg: "replication/raft", test: "TestFailoverReplacesTheSuffix",
	},
	{
		name: "proposal acknowledged by the leader alone", file: "replication/raft/log_store.go",
		old: "\tfor _, f := range s.taken {\n\t\tg.mu.stored.push(f)\n\t}\n\tg.mu.Unlock()\n",
		new: "\tg.mu.Unlock()\n\tg.complete(s.taken, nil)\n",
		pkg: "replication/raft", test: "TestFailoverReplacesTheSuffix",
	},
	{
		name: "leader epoch stays after a failover", file: "storage/entry/admit.go",
		old: "low := term - s.TermBase + uint64(s.EpochBase)", new: "low := uint64(s.EpochBase)",
		pkg: "replication/raft", test: "TestFailoverReplacesTheSuffix",
	},
	{
		name: "leader serves before its barrier", file: "replication/raft/group.go",
		old: "\t\terr = g.barrier() // ", new: "\t\t// ",
		pkg: "replication/raft", test: "TestLeaderServesOnlyBehindItsBarrier",
	},
}

// protocolBugs break what protects the broker from bytes off the network (hazards K1 to K4).
var protocolBugs = []bug{
	{
		name: "K1 tags counted without looking, header", file: "protocol/wire/reader.go",
		old: "count > 0 && !r.bad; count--", new: "count > 0; count--",
		pkg: "protocol/wire", test: "TestK1NineByteRequest",
	},
	{
		name: "K1 kmsg sees unchecked bytes", file: "protocol/wire/decode.go",
		old: "if err := Check(h.Key, h.Version, h.Body); err != nil {", new: "if err := error(nil); err != nil {",
		pkg: "protocol/wire", test: "TestDecodeRefuses",
	},
	{
		name: "K2 decoded size not counted", file: "protocol/wire/walk.go",
		old: "\tw.memory += n\n", new: "",
		pkg: "protocol/wire", test: "TestLargeProduceOfTinyPartitions",
	},
	{
		name: "K3 strings borrow from the frame", file: "protocol/wire/decode.go",
		old: "req.ReadFrom(h.Body)", new: "req.(kmsg.UnsafeReadFrom).UnsafeReadFrom(h.Body)",
		pkg: "protocol/wire", test: "TestProduceRecordsBorrowFromTheFrame",
	},
	{
		name: "K4 decompression without a limit", file: "protocol/record/stream.go",
		old: "\ts.left -= int64(n)\n", new: "",
		pkg: "protocol/record", test: "TestBombsAreRefusedInLittleMemory",
	},
	{
		name: "frame size believed", file: "protocol/wire/frame.go",
		old: "if size < frameSizeMin || size > limit {", new: "if size < frameSizeMin {",
		pkg: "protocol/wire", test: "TestReadFrameRefuses",
	},
	{
		name: "missing CRC check: batch from a client", file: "protocol/record/validate.go",
		old: "if err := b.CheckCRC(); err != nil {", new: "if err := error(nil); err != nil {",
		pkg: "protocol/record", test: "TestEveryBitFlipFromClientIsCaught",
	},
	{
		name: "sequence does not wrap", file: "protocol/record/batch.go",
		old: "return n - (math.MaxInt32 - sequence) - 1", new: "return n - (math.MaxInt32 - sequence)",
		pkg: "protocol/record", test: "TestSequenceWraps",
	},
}

// partitionBugs break what clients are promised.
var partitionBugs = []bug{
	{
		name: "fetch above the high watermark", file: "broker/partition/read.go",
		old: "limit := r.HW\n", new: "limit := end\n",
		pkg: "broker/partition", test: "TestNothingAboveTheHighWatermarkIsServed",
	},
	{
		name: "latest offset is the log end", file: "broker/partition/read.go",
		old: "\tstart, hw, lso, _ := p.Offsets()\n\tlimit := hw\n", new: "\tstart, hw, lso, limit := p.Offsets()\n",
		pkg: "broker/partition", test: "TestNothingAboveTheHighWatermarkIsServed",
	},
	{
		name: "duplicate answered before its batch is committed", file: "broker/partition/append.go",
		old: "\tcase d.pending != nil:\n\t\treturn d.pending, nil\n",
		new: "\tcase d.pending != nil:\n\t\ta.answer = Appended{BaseOffset: d.pending.row[0].BaseOffset, LogAppendTimeMs: none}\n\t\treturn a, nil\n",
		pkg: "broker/partition", test: "TestRetryOfABatchInFlightIsThatBatch",
	},
	{
		name: "buffer of a duplicate leaks", file: "broker/partition/append.go",
		old: "\t\t\trelease()\n\t\t\treturn answer\n", new: "\t\t\treturn answer\n",
		pkg: "broker/partition", test: "TestDuplicateInFlightWaitsForTheCommit",
	},
	{
		name: "duplicate in flight is written again", file: "broker/partition/producers.go",
		old: "\t\t\treturn &duplicate{pending: a}\n", new: "\t\t\treturn nil\n",
		pkg: "broker/partition", test: "TestDuplicateInFlightWaitsForTheCommit",
	},
	{
		name: "duplicate answered at once, acks=all", file: "broker/partition/append.go",
		old: "\tcase d.pending != nil:\n\t\treturn d.pending, nil\n",
		new: "\tcase d.pending != nil:\n\t\ta.answer = Appended{BaseOffset: 0, LogAppendTimeMs: none}\n\t\treturn a, nil\n",
		pkg: "broker/partition", test: "TestDuplicateInFlightWaitsForTheCommit",
	},
	{
		name: "duplicate answered with its last offset", file: "broker/partition/append.go",
		old: "BaseOffset: d.committed.lastOffset - int64(d.committed.offsetDelta)", new: "BaseOffset: d.committed.lastOffset",
		pkg: "broker/partition", test: "TestDuplicateIsAnsweredWithItsBaseOffset",
	},
	{
		name: "producers not restored from the snapshot", file: "broker/partition/snapshot.go",
		old: "\t\t\tps = decodeProducers(entries)\n", new: "\t\t\t_ = decodeProducers(entries)\n",
		pkg: "broker/partition", test: "TestDuplicatesAcrossRestarts",
	},
	{
		name: "only the last batch of a producer restored", file: "broker/partition/snapshot.go",
		old: "\t\t\tps.addRecent(st.recent, p.manager.options.Now())\n", new: "",
		pkg: "broker/partition", test: "TestDuplicatesAcrossRestarts",
	},
	{
		name: "wrapped sequence is out of order", file: "broker/partition/producers.go",
		old: " && (first != 0 || lastSequence != math.MaxInt32):", new: " && math.MaxInt32 > 0:",
		pkg: "broker/partition", test: "TestProducerTranscripts",
	},
	{
		name: "wrapped sequence not restored", file: "broker/partition/snapshot.go",
		old: "\t\treturn int32(int64(sequence) - int64(n) + (1 << 31))", new: "\t\treturn 0",
		pkg: "broker/partition", test: "TestProducerTranscripts",
	},
	{
		name: "given-up batch stays in the sequence", file: "broker/partition/append.go",
		old: "\tp.mu.producers.end(a.producerID, a)\n", new: "",
		pkg: "broker/partition", test: "TestVoidRollsTheSequenceBack",
	},
	{
		name: "last stable offset passes an open transaction", file: "broker/partition/producers.go",
		old: "\t\tps.openTxn--\n", new: "\t\tps.openTxn = 0\n",
		pkg: "broker/partition", test: "TestTransactionsHoldTheLastStableOffset",
	},
	{
		name: "retention ahead of the snapshot", file: "broker/partition/retention.go",
		old: "below := min(snap.LogStart, p.group.Storage().RetainFrom())", new: "below := max(snap.LogStart, p.logStart.Load())",
		pkg: "broker/partition", test: "TestRetentionBySize",
	},
	{
		name: "deleted records come back", file: "broker/partition/partition.go",
		old: "\tp.logStart.Store(offset)\n", new: "",
		pkg: "broker/partition", test: "TestDeleteRecordsSurvivesRestart",
	},
	{
		name: "stale leader epoch of a client accepted", file: "broker/partition/partition.go",
		old: "case requested == none || requested == current:", new: "case requested <= current:",
		pkg: "broker/partition", test: "TestListOffset",
	},
	{
		name: "acks=all answered by the leader alone", file: "broker/handler/produce.go",
		old: "if r.acks == acksAll {\n\t\treturn a.Done()", new: "if r.acks == acksAll {\n\t\treturn a.Stored()",
		pkg: "broker/handler", test: "TestAcksWaitForWhatTheyPromise",
	},
	{
		name: "metadata entry applied twice", file: "broker/controller/machine.go",
		old: "if index <= m.mu.applied {", new: "if index < m.mu.applied {",
		pkg: "broker/controller", test: "TestApply",
	},
	{
		name: "producer ids given out again after a restart", file: "broker/controller/save.go",
		old: "uint64(m.mu.nextPID)", new: "uint64(0)",
		pkg: "broker/controller", test: "TestRestarts",
	},
	{
		name: "deleted topic stays in meta.db", file: "broker/controller/machine.go",
		old: "\tm.writeLocked(bucketTopics, t.ID[:], nil)\n", new: "",
		pkg: "broker/controller", test: "TestRestarts",
	},
	{
		name: "frame not held for the partition", file: "broker/handler/produce.go",
		old: "\t\tr.Frame.Retain()\n", new: "",
		pkg: "broker/handler", test: "TestAcksNone",
	},
}
