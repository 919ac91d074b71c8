package main

// compactionBugs break Kafka's rules of compaction, or what makes a crash in the middle of it harmless.
var compactionBugs = []bug{
	{
		name: "compaction: a tombstone goes although an unread batch may hold its key", file: "storage/log/clean_rewrite.go",
		old: "case k.Tombstone && expired && !c.hidden:", new: "case k.Tombstone && expired:",
		pkg: "storage/log", test: "TestCleanKeepsTombstonesBehindAnUnreadableBatch",
	},
	{
		name: "compaction: all segments held open", file: "storage/log/clean.go",
		old: "\t\t_ = file.release() // thousands", new: "\t\tdefer file.release() // thousands",
		pkg: "storage/log", test: "TestCleanOpensFewFiles",
	},
	{
		name: "compaction: an older value stays", file: "storage/log/clean_rewrite.go",
		old: "return k.Offset >= c.found[place]", new: "return k.Offset >= c.found[place]-1",
		old2: "\t\treturn last\n", new2: "\t\treturn last || k.Offset >= c.o.Map.Get(k.Key)-1\n",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: records behind the map go", file: "storage/log/clean_rewrite.go",
		old: "case k.Offset > c.o.Map.Latest():", new: "case k.Offset > c.o.Map.Latest()+1:",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: the map takes in aborted records", file: "storage/log/clean_map.go",
		old: "} else if !f.txns.data(b) && b.LastOffset() >= c.dirty.First {", new: "} else if (!f.txns.data(b) || true) && b.LastOffset() >= c.dirty.First {",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: a map that got full beside is not noticed", file: "storage/log/clean_map.go",
		old: "\t\treturn errFull\n", new: "\t\treturn nil\n",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: the last keys are not put", file: "storage/log/clean_map.go",
		old: "return errors.Join(f.hand(), f.await())", new: "return f.await()",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: a marker goes with the records still there", file: "storage/log/clean_rewrite.go",
		old: "\t\ta.seen = true\n", new: "\t\ta.seen = false\n",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: a marker goes before its horizon", file: "storage/log/clean_rewrite.go",
		old: "discard := idle && (!b.IsControl() || expired)", new: "discard := idle",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: tombstones stay for ever", file: "storage/log/clean_rewrite.go",
		old: "case k.Tombstone && expired && !c.hidden:", new: "case k.Tombstone && expired && k.Offset < 0:",
		pkg: "broker/partition", test: "TestCompactionOfTombstones",
	},
	{
		name: "compaction: tombstones go at once", file: "storage/log/clean.go",
		old: "return c.now + c.o.DeleteRetentionMs", new: "return c.now",
		pkg: "broker/partition", test: "TestCompactionOfTombstones",
	},
	{
		name: "compaction: the horizon moves with each round", file: "protocol/record/filter.go",
		old: "r.Horizon != NoTimestamp && !b.HasDeleteHorizon() &&", new: "r.Horizon != NoTimestamp &&",
		pkg: "protocol/record", test: "TestFilterKeepsTheHorizon",
	},
	{
		name: "compaction: timestamps move with the horizon", file: "protocol/record/filter.go",
		old: "d := binary.AppendVarint(delta[:0], from+old-to)", new: "d := binary.AppendVarint(delta[:0], old)",
		pkg: "protocol/record", test: "TestFilter",
	},
	{
		name: "compaction: the log ends in a hole", file: "storage/log/clean_rewrite.go",
		old: "rule := record.Rule{KeepLast: h.last == c.keepLast,", new: "rule := record.Rule{KeepLast: h.last < -1,",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: joined across bands", file: "storage/log/clean_plan.go",
		old: "|| s.base>>bandBits != first.base>>bandBits {", new: "|| s.base < first.base {",
		old2: "s.last-first.base > math.MaxInt32", new2: "s.last-first.base > math.MaxInt64-1",
		pkg: "storage/log", test: "TestCleanGroups",
	},
	{
		name: "compaction: a batch of a wrong CRC gets a right one", file: "storage/log/clean_read.go",
		old: "if err := b.CheckCRC(); err != nil {", new: "if err := b.CheckCRC(); err != nil && h.length < 0 {",
		pkg: "storage/log", test: "TestCleanOfDamage",
	},
	{
		name: "compaction: not behind the checkpoint's end", file: "storage/compaction.go",
		old: "below := g.save.end.Segment", new: "below := g.save.end.Segment + 1<<40",
		pkg: "broker/partition", test: "TestCompaction",
	},
	{
		name: "compaction: behind an open transaction", file: "broker/partition/cleaner.go",
		old: "Below: min(hw, lso, p.group", new: "Below: min(hw, max(lso, hw), p.group",
		pkg: "broker/partition", test: "TestCompactionOfTransactions",
	},
	{
		name: "compaction: its checkpoint is not written", file: "storage/log/clean.go",
		old: "return c.l.saveCleaned(end)", new: "return nil",
		pkg: "broker/partition", test: "TestCompaction",
	},
	{
		name: "compaction: a segment that is not synced replaces others", file: "storage/log/clean_finish.go",
		old: "errs[i] = syncFile(f.l, file)", new: "errs[i], _ = error(nil), file",
		pkg: "storage/log", test: "TestCleanCrashes",
	},
	{
		name: "compaction: a segment replaces others although the one in front of it could not", file: "storage/log/clean_finish.go",
		old: "if before.err != nil {", new: "if before.err != nil && last < 0 {",
		pkg: "storage/log", test: "TestCleanReplacesInOrder",
	},
	{
		name: "compaction: two segments replace others at a time", file: "storage/log/clean_finish.go",
		old: "\t\t<-before.done //", new: "\t\t//",
		pkg: "storage/log", test: "TestCleanReplacesInOrder",
	},
	{
		name: "compaction: a round replaces segments of a log that was cut under it", file: "storage/log/sealed.go",
		old: "if l.cutSinceCleaning() {", new: "if false {",
		pkg: "storage/log", test: "TestCleanEndsWhereTheLogIsCut",
	},
	{
		name: "compaction: offsets above a cut count as compacted", file: "storage/log/clean_plan.go",
		old: "if l.cutSinceCleaning() {", new: "if false {",
		pkg: "storage/log", test: "TestCleanEndsWhereTheLogIsCut",
	},
	{
		name: "compaction: a cut leaves the round under way alone", file: "storage/log/cut.go",
		old: "\tl.cutCleaning()\n", new: "",
		pkg: "storage/log", test: "TestCleanEndsWhereTheLogIsCut",
	},
	{
		name: "compaction: a damaged file of a replacement leaves it registered", file: "storage/log/sealed.go",
		old: "fmt.Errorf(\"%w: %w\", ErrInvalid, &CorruptError{File: name, Pos: bad", new: "fmt.Errorf(\"%w\", &CorruptError{File: name, Pos: bad",
		pkg: "storage", test: "TestReplacementWithADamagedFileIsRefused",
	},
	{
		name: "compaction: a round ends before its last segment is in place", file: "storage/log/clean.go",
		old: "\t\tsources = sources[n:]\n\t}\n\treturn c.finishAll()", new: "\t\tsources = sources[n:]\n\t}\n\treturn nil",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: a write beside that failed is believed", file: "storage/log/clean_io.go",
		old: "\tw.writing = nil\n\treturn err", new: "\tw.writing = nil\n\t_ = err\n\treturn nil",
		pkg: "storage/log", test: "TestCleanEveryCallFails",
	},
	{
		name: "compaction: a read ahead that failed is believed", file: "storage/log/clean_read.go",
		old: "if b.err != nil {", new: "if b.err != nil && len(b.bytes) == 0 {",
		pkg: "storage/log", test: "TestCleanEveryCallFails",
	},
	{
		name: "compaction: no room while a segment is being replaced ends a round", file: "storage/log/clean_rewrite.go",
		old: "errors.Join(c.finishAll(), c.room(size))", new: "errors.Join(c.room(size), c.finishAll())",
		pkg: "storage/log", test: "TestCleanNeedsRoomForOneSegment",
	},
	{
		name: "compaction: falls behind what is written while appends are slow", file: "broker/partition/pace.go",
		old: "rest := min(p.temper.rest(worked), max(p.credit, 0))", new: "rest := p.temper.rest(worked)",
		pkg: "broker/partition", test: "TestCompactionKeepsUp",
	},
	{
		name: "compaction: takes what appends take beside it for what they take alone", file: "broker/partition/temper.go",
		old: "case !begin.Before(t.mu.from) && (", new: "case t.mu.rounds < 2 || !begin.Before(t.mu.from) && (",
		pkg: "broker/partition", test: "TestWhatIsWithoutCompaction",
	},
	{
		name: "compaction: renames are lost with the power", file: "storage/log/sealed.go",
		old: "err != nil && !errors.Is(err, fs.ErrNotExist) {\n\t\t\treturn err\n\t\t}\n\t}\n\t// Durable",
		new: "err != nil && !errors.Is(err, fs.ErrNotExist) {\n\t\t\treturn err\n\t\t}\n\t\tif info == nil {\n\t\t\tbreak\n\t\t}\n\t}\n\t// Durable",
		pkg: "storage/log", test: "TestCleanCrashes",
	},
	{
		name: "compaction: a deletion waits for it for ever", file: "storage/log/clean.go",
		old: "l.mu.endCleaning = cancel", new: "l.mu.endCleaning = func() {}",
		pkg: "broker/partition", test: "TestCleanerRuns",
	},
	{
		name: "compaction: two keys of one hash", file: "storage/compact/offset_map.go",
		old: "s.stored == 0 || s.lo == lo && s.hi == hi", new: "s.stored == 0 || s.lo>>52 == lo>>52",
		pkg: "storage/compact", test: "TestMapAgainstModel",
	},
	{
		name: "compaction: offsets that the map was not filled from are marked", file: "storage/log/clean_map.go",
		old: "m.Mark(c.dirty.First, last.upper)", new: "m.Mark(c.dirty.First-64, last.upper)",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: marks hide the last value of a key", file: "storage/compact/offset_map.go",
		old: "m.marks.set(p.offset)", new: "m.marks.set(p.offset &^ 1)",
		pkg: "storage/compact", test: "TestMarkAgainstModel",
	},
	{
		name: "compaction: an older value of a key keeps its mark", file: "storage/compact/offset_map.go",
		old: "m.marks.unset(last)", new: "_ = last",
		pkg: "storage/compact", test: "TestMarkAgainstModel",
	},
	{
		name: "compaction: the second of two keys gets the hash of the first", file: "storage/compact/hashed.go",
		old: "m.secret.sums(first, second)", new: "m.secret.sums(first, first)",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: the last key of an odd number of keys is not put", file: "storage/log/clean_map.go",
		old: "if held.Key != nil {", new: "if held.Key != nil && err != nil {",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: picks records by the offset of the one before", file: "storage/compact/marks.go",
		old: "uint64(first-s.first)/wordBits, uint64(first-s.first)%wordBits\n\tfor", new: "uint64(first-s.first)/wordBits, uint64(first-s.first+1)%wordBits\n\tfor",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: a batch that is picked from keeps its old max timestamp", file: "protocol/record/pick.go",
		old: "uint64(maxTime))", new: "uint64(b.MaxTimestamp()))",
		pkg: "protocol/record", test: "TestPickIsApply",
	},
	{
		name: "compaction: the map lies in Go's heap", file: "storage/compact/memory.go",
		old: "if n*EntryLen < offHeapMin {", new: "if n*EntryLen < offHeapMin<<20 {",
		pkg: "storage/compact", test: "TestMapIsNotInTheHeap",
	},
	{
		name: "compaction: nothing expires with compact,delete", file: "broker/partition/retention.go",
		old: "if !c.Delete {", new: "if !c.Delete || c.Compact {",
		pkg: "broker/partition", test: "TestCompactionAndDeletion",
	},
	{
		name: "a search by time finds a record that was compacted away", file: "storage/log/timestamp.go",
		old: "if !whole || h.last > h.base &&", new: "if !whole && h.last < h.base || h.last > h.base &&",
		pkg: "broker/partition", test: "TestReadsOverHoles",
	},
	{
		name: "compaction: tombstones in a batch that stays as a whole get no time", file: "storage/log/clean_map.go",
		old: "odd = odd || k.Tombstone ||", new: "odd = odd ||",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: a batch that cannot be opened goes", file: "storage/log/clean_map.go",
		old: "return odd || err != nil, nil", new: "return odd, nil",
		pkg: "storage/log", test: "TestCleanKeepsWhatItCannotOpen",
	},
	{
		name: "compaction: a batch of which one record goes stays as a whole", file: "storage/log/clean_whole.go",
		old: "known && n == int(b.RecordCount())", new: "known && n >= int(b.RecordCount()-1)",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
	{
		name: "compaction: the disk's reserve is used", file: "storage/log/clean_rewrite.go",
		old: "free < uint64(size+c.o.ReserveBytes)", new: "free < uint64(size)",
		pkg: "broker/partition", test: "TestCleanerRuns",
	},
	{
		name: "a gap ends at a segment without records", file: "storage/log/locate.go",
		old: "s.size > 0 && s.lastOffset() >= offset", new: "s.lastOffset() >= offset",
		pkg: "storage/log", test: "TestCleanAgainstModel",
	},
}
