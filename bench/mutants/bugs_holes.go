package main

// holeBugs lose parts of a log that nothing in its segments misses.
var holeBugs = []bug{
	{
		name: "files of a replacement that may be registered removed", file: "storage/log/clean_finish.go",
		old: "f.ours = errors.Is(err, ErrReplacing)", new: "f.ours = false",
		pkg: "storage/log", test: "TestCleanKeepsTheFilesOfWhatMayBeRegistered",
	},
	{
		name: "row of a replacement that failed taken for not stored", file: "storage/snapshot.go",
		old: "return fmt.Errorf(\"%w: %w\", log.ErrReplacing, err) // a", new: "return err // a",
		pkg: "storage", test: "TestReplacementWhoseRowFailedMayBeDurable",
	},
	{
		name: "checkpoint on a full disk is final", file: "storage/log/log.go",
		old: "\tif errors.Is(err, ErrNoSpace) {\n\t\treturn err\n", new: "\tif errors.Is(err, ErrClosed) {\n\t\treturn err\n",
		pkg: "storage", test: "TestCheckpointOnAFullDiskIsTriedAgain",
	},
	{
		name: "failed sync on a full disk passed over", file: "storage/log/log.go",
		old: "\tif errors.Is(err, ErrNoSpace) {\n\t\treturn err\n", new: "\tif errors.Is(err, ErrNoSpace) || isFull(err) {\n\t\treturn err\n",
		pkg: "storage/log", test: "TestFlushFailsForGoodWhereItMustBeSure",
	},
	{
		name: "leader epochs that a full disk refused taken for stored", file: "storage/log/sync.go",
		old: "\t\tl.mu.epochsSaved = false\n", new: "",
		pkg: "storage/log", test: "TestFlushOnAFullDiskIsTriedAgain",
	},
	{
		name: "index that a full disk cut short appended to", file: "storage/log/index.go",
		old: "now.stale = now.stale || errors.Is(err, ErrNoSpace)", new: "",
		pkg: "storage/log", test: "TestFlushOnAFullDiskIsTriedAgain",
	},
	{
		name: "meta.db written after a failed sync", file: "storage/meta/db.go",
		old: "if errors.Is(err, syscall.ENOSPC) && errors.As(err, &write) {", new: "if errors.As(err, &write); errors.Is(err, syscall.ENOSPC) {",
		pkg: "storage/meta", test: "TestCommitOnAFullDiskIsTriedAgain",
	},
	{
		name: "commit that a full disk may have let through taken for refused", file: "storage/meta/db.go",
		old: "if viewed == nil && newest < id {", new: "if viewed == nil && newest <= id {",
		pkg: "storage/meta", test: "TestCommitOnAFullDiskIsTriedAgain",
	},
	{
		name: "copies without their end counted at the next start", file: "storage/replay.go",
		old: "return !end.Counts(c.Sequence)", new: "return !end.Counts(c.Sequence) && r.kept > rec.Sequence",
		pkg: "storage", test: "TestCarryBehindOneThatWasCutShort",
	},
	{
		name: "copies without their end carried", file: "storage/journal/carry.go",
		old: "\t\t\tif e.Counts(c.sequence) {\n", new: "\t\t\tif e.Counts(c.sequence) || e.First > 0 {\n",
		pkg: "storage/journal", test: "TestCarryPassesOverCopiesWithoutTheirEnd",
	},
	{
		name: "write given up where all descriptors are in use", file: "storage/log/descriptors.go",
		old: "wait && try < waitsMax", new: "wait && try < 0",
		pkg: "storage/log", test: "TestDescriptorsInUseAreWaitedFor",
	},
	{
		name: "mark not stored between checkpoints", file: "storage/mark.go",
		old: "t.ready.at <= t.known {", new: "t.ready.at > 0 {",
		pkg: "storage", test: "TestMarkIsStoredBetweenCheckpoints",
	},
	{
		name: "metadata made anew where the journal lost it", file: "storage/damage.go",
		old: "set[entry.MetadataGroup] || !contains(", new: "set[entry.MetadataGroup] && !contains(",
		pkg: "storage", test: "TestMetadataLostWithAnOlderDirectory",
	},
	{
		name: "tails stored ahead of the mark", file: "storage/tails.go",
		old: "|| mark < t.taken.at {", new: "|| mark == 0 {",
		pkg: "storage", test: "TestTailsWaitForTheMark",
	},
	{
		name: "tails of Raft groups that need something dropped", file: "storage/tails.go",
		old: "row.Need > t.ready.at ||", new: "row.Need > 0 ||",
		pkg: "storage", test: "TestLostEndHurtsOnlyItsRaftGroups", short: true,
	},
	{
		name: "records behind the tails relied on", file: "storage/tails.go",
		old: "\t\t\trow.Need = t.ready.need[id]\n", new: "",
		pkg: "storage", test: "TestTailsKeepWhatOnlyNewerRecordsMakeSuperfluous",
	},
	{
		name: "tail of a deleted Raft group kept", file: "storage/tails.go",
		old: " || row.Last < first {", new: " {",
		pkg: "storage", test: "TestLostEndWithADeletionAndACreation",
	},
	{
		name: "tail moved back by what a start has found", file: "storage/tails.go",
		old: "max(last, old.Last, t.lost[id])", new: "max(last, t.lost[id])",
		pkg: "storage", test: "TestLostEndHurtsOnlyItsRaftGroups", short: true,
	},
	{
		name: "record that took entries away not needed", file: "storage/tails.go",
		old: "at != 0 && at >= first && ", new: "at != 0 && at < first && ",
		pkg: "storage", test: "TestLostEndWithATruncation",
	},
	{
		name: "record that took entries away needed for good", file: "storage/tails.go",
		old: " && g.mu.cutTo > g.mu.snapshot.Index {", new: " {",
		pkg: "storage", test: "TestLostEndBehindATruncationThatACheckpointCovers",
	},
	{
		name: "entries taken away back behind a snapshot", file: "storage/replay.go",
		old: "\t\tr.cut(rec.Index) // what was", new: "\t\t// what was",
		pkg: "storage", test: "TestTruncationThatTheCheckpointCoversIsNotMissed",
	},
	{
		name: "suspicion not stored", file: "storage/damage.go",
		old: "\t\t\tr.store.tails.lost[id] = max(r.store.tails.lost[id], d.To)\n", new: "",
		pkg: "storage", test: "TestLostEndOfAnOlderDirectory",
	},
	{
		name: "loss not charged to whose newest record is in it", file: "storage/damage.go",
		old: "d.From <= t.Last && t.Last <= d.To", new: "d.From <= t.Last && t.Last < d.From",
		pkg: "storage", test: "TestLostEndWithADeletionAndACreation",
	},
	{
		name: "tails clear nobody", file: "storage/damage.go",
		old: "|| d.To <= r.tails.At && (", new: "|| d.To > r.tails.At && (",
		pkg: "storage", test: "TestLostEndHurtsOnlyItsRaftGroups", short: true,
	},
	{
		name: "tails believed where they are not complete", file: "storage/damage.go",
		old: "|| d.To <= r.tails.At && (", new: "|| (",
		pkg: "storage", test: "TestLostEndOfAnOlderDirectory",
	},
	{
		name: "loss of what the checkpoints cover charged", file: "storage/damage.go",
		old: "(t.Last < d.From || d.To < t.Need)", new: "(t.Last < d.From)",
		pkg: "storage", test: "TestLostEndThatCheckpointsCover",
	},
	{
		name: "folder of a lost creation left behind", file: "storage/recover.go",
		old: "\tr.findFolders()\n", new: "",
		pkg: "storage", test: "TestLostEndWithADeletionAndACreation",
	},
	{
		name: "start refused for a partition whose name is lost", file: "broker/partition/manager.go",
		old: "if g.Folder() == \"\" && g.Offline() != nil {", new: "if g.Folder() == \"\" && g.Offline() == nil {",
		pkg: "broker", test: "TestLostJournalEndStopsOnlyItsPartition",
	},
	{
		name: "commands taken for repetitions of lost ones", file: "broker/controller/controller.go",
		old: "c.machine.outlive(c.opts.Host.Store()); err != nil", new: "error(nil); err != nil",
		pkg: "broker", test: "TestCommandsLostBehindTheMarkAreNotTakenForRepeated",
	},
	{
		name: "failed journal says where Raft groups end", file: "storage/journal/tails.go",
		old: "if j.Err() != nil {", new: "if j.dir == \"\" {",
		pkg: "storage/journal", test: "TestTailsOfAFailedJournal",
	},
	{
		name: "Raft group with newer records not listed again", file: "storage/journal/owner.go",
		old: "\t\tif !t.listed {\n", new: "\t\tif t.sequence == 0 {\n",
		pkg: "storage/journal", test: "TestTailsListWhatChanged",
	},
	{
		name: "Raft groups that meta.db does not know not listed at a start", file: "storage/journal/repair.go",
		old: "t.sequence > j.opts.TailsKnown; t.listed", new: "t.sequence > s.mark; t.listed",
		pkg: "storage/journal", test: "TestTailsListWhatChanged",
	},
	{
		name: "missing middle segment taken for a gap", file: "storage/log/open.go",
		old: "\tif err := r.checkSealed(); err != nil {\n\t\treturn err\n\t}\n", new: "",
		pkg: "storage", test: "TestMissingMiddleSegmentIsDamage",
	},
	{
		name: "sealed segment cut at a batch not noticed", file: "storage/log/sealed.go",
		old: "\tcase s.size < want.Size:\n", new: "\tcase s.size < 0:\n",
		pkg: "storage", test: "TestMissingMiddleSegmentIsDamage",
	},
	{
		name: "segment that retention unlinked taken for lost", file: "storage/log/sealed.go",
		old: "if upper <= r.cp.LogStart {", new: "if upper < 0 {",
		pkg: "storage", test: "TestPowerLossDuringRetention",
	},
	{
		name: "replacement of segments not registered", file: "storage/snapshot.go",
		old: "\tif err := g.store.commits.commit(g.id, cp); err != nil {\n\t\tif err =", new: "\tif err := g.store.Failed(); err != nil && cp != nil {\n\t\tif err =",
		pkg: "storage", test: "TestPowerLossDuringReplacement",
	},
	{
		name: "interrupted replacement of segments not finished", file: "storage/log/sealed.go",
		old: "return r.cp.Replacing.finish(r.l.fsys, r.l.dir, bases)", new: "return nil",
		pkg: "storage", test: "TestPowerLossDuringReplacement",
	},
	{
		name: "journal dropped although a group needs it carried", file: "storage/carry.go",
		old: "g.moveRecords(carried[i].First)", new: "g.moveRecords(carried[i].First + 1)",
		pkg: "storage", test: "TestPowerLossWhileCarrying",
	},
	{
		name: "copies count without their end", file: "storage/replay.go",
		old: "\tif rec.Carried {\n", new: "\tif rec.Carried && r.cp == nil {\n",
		pkg: "storage", test: "TestPowerLossWhileCarrying",
	},
	{
		name: "carried payloads voided as if never promised", file: "storage/recover.go",
		old: "(e.Sequence <= r.mark || e.Carried)", new: "e.Sequence <= r.mark",
		pkg: "storage", test: "TestPowerLossWhileCarrying",
	},
	{
		name: "reason of damage not carried", file: "storage/carry.go",
		old: "Hurt: g.hurt}", new: "}",
		pkg: "storage", test: "TestDamagedGroupDoesNotPinTheJournal",
	},
	{
		name: "stuck group pins the journal", file: "storage/checkpoint.go",
		old: "return errors.Join(err, s.carry())", new: "return err",
		pkg: "storage", test: "TestStuckGroupDoesNotPinTheJournal",
	},
	{
		name: "rest of older copies taken for damage", file: "storage/journal/carry.go",
		old: "return uint64(found) == e.Count || e.First < from && uint64(found) < e.Count", new: "return uint64(found) == e.Count",
		pkg: "storage", test: "TestStuckGroupDoesNotPinTheJournal",
	},
	{
		name: "group with a lost record carried as whole", file: "storage/journal/carry.go",
		old: "if c.Hurt == \"\" && l.broken != nil {", new: "if c.Hurt == \"\" && l == nil {",
		pkg: "storage/journal", test: "TestCarryRefusesAHole",
	},
	{
		name: "file with unsynced bytes closed", file: "storage/log/descriptors.go",
		old: "case s.used.Swap(false) || s.dirty || !l.mu.open", new: "case s.used.Swap(false) || !l.mu.open",
		pkg: "storage/log", test: "TestUnsyncedFilesStayOpen",
	},
	{
		name: "idle files stay open", file: "storage/log/descriptors.go",
		old: "if len(d.mu.open) > d.most {", new: "if len(d.mu.open) > 1<<20 {",
		pkg: "storage/log", test: "TestDescriptorsAreBounded",
	},
	{
		name: "no descriptor left ends the log", file: "storage/log/descriptors.go",
		old: "try < reclaimsMax && isScarce(err) && r.descriptors.Reclaim(); try++", new: "try < 0 && isScarce(err); try++",
		old2: "\t\tr.descriptors.Reclaim()\n", new2: "",
		pkg: "storage/log", test: "TestNoDescriptorLeft",
	},
	{
		name: "unsynced files keep all descriptors", file: "storage/log/descriptors.go",
		old: "\t\tf.log.trySync()\n", new: "\t\t_ = f\n",
		pkg: "storage/log", test: "TestNoDescriptorLeft",
	},
	{
		name: "missing CRC check: leader epochs", file: "storage/log/open.go",
		old: "cp.EpochsCRC != 0 && slices", new: "cp.EpochsCRC == 1 && slices",
		pkg: "storage", test: "TestDamagedLeaderEpochs",
	},
	{
		name: "hung sync of a segment not told", file: "storage/log/sync.go",
		old: "slot := l.options().DiskWatch.Begin()", new: "slot := -1",
		pkg: "storage", test: "TestDiskHangs",
	},
	{
		name: "hung write of a segment not told", file: "storage/log/append.go",
		old: "slot := l.options().DiskWatch.Begin()", new: "slot := -1",
		pkg: "storage", test: "TestDiskHangs",
	},
	{
		name: "hung write of the journal not told", file: "storage/journal/owner.go",
		old: "\tslot := j.opts.DiskWatch.Begin()\n\terr = o.lib.WriteBatch(&o.batch)\n", new: "\tslot := -1\n\terr = o.lib.WriteBatch(&o.batch)\n",
		pkg: "storage", test: "TestDiskHangs",
	},
	{
		name: "hung sync of the journal not told", file: "storage/journal/owner.go",
		old: "\tdefer j.opts.DiskWatch.End(j.opts.DiskWatch.Begin())\n", new: "",
		pkg: "storage", test: "TestDiskHangs",
	},
}
