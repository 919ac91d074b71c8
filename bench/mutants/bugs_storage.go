package main

// journalBugs break the guard around tidwall/wal (hazards W1 to W8).
var journalBugs = []bug{
	{
		name: "skipped sync: journal", file: "storage/journal/owner.go",
		old: "if err := o.lib.Sync(); err != nil {", new: "if err := error(nil); err != nil {",
		pkg: "storage/journal", test: "TestPowerLoss", short: true,
	},
	{
		name: "acknowledged before the sync", file: "storage/journal/owner.go",
		old: "\t\t\tif !batch[i].sync {\n", new: "\t\t\tif next > 0 {\n",
		pkg: "storage/journal", test: "TestPowerLoss", short: true,
	},
	{
		name: "W1 journal goes on after a failed write", file: "storage/journal/owner.go",
		old: "\tif err != nil {\n\t\terr = j.fail(err)\n\t}\n", new: "\tif err != nil {\n\t\terr = fmt.Errorf(\"%w: %w\", ErrFailed, err)\n\t}\n",
		pkg: "storage/journal", test: "TestGuardW1FailedWriteIsNeverRetried",
	},
	{
		name: "W2 failed sync is only logged", file: "storage/journal/owner.go",
		old: "\tif err := o.lib.Sync(); err != nil {\n\t\treturn fmt.Errorf(\"sync %s: %w\", j.lastFile(), err)", new: "\tif err := o.lib.Sync(); err != nil {\n\t\tj.opts.Logger.Error(\"sync\", \"err\", err)",
		pkg: "storage/journal", test: "TestGuardW2FailedSyncIsFatal",
	},
	{
		name: "W3 torn tail stays", file: "storage/journal/repair.go",
		old: "\t\tfile, pos, from, ok := s.cutAt()\n\t\tif !ok {", new: "\t\tfile, pos, from, ok := s.cutAt()\n\t\tif ok = false; !ok {",
		pkg: "storage/journal", test: "TestGuardW3TornTail",
	},
	{
		name: "W3 acknowledged records cut as a torn tail", file: "storage/journal/damage.go",
		old: "\ts.mark = max(s.mark, h.mark)\n", new: "",
		pkg: "storage/journal", test: "TestMarkOutlivesWhatIsCut",
	},
	{
		name: "W3 mark of meta.db not believed", file: "storage/journal/repair.go",
		old: "mark := max(j.opts.Mark, j.opts.FirstKept-1)", new: "mark := j.opts.FirstKept - 1",
		pkg: "storage/journal", test: "TestGuardW3TornTailBelowTheMarkIsDamage",
	},
	{
		name: "W2 failed sync aside is passed over", file: "storage/journal/owner.go",
		old: "\tif err != nil {\n\t\treturn fmt.Errorf(\"sync %s: %w\", j.lastFile(), err)\n\t}\n", new: "",
		old2: "\terr := file.Sync()\n", new2: "\t_ = file.Sync()\n",
		pkg: "storage/journal", test: "TestGuardW2FailedSyncAsideIsFatal",
	},
	{
		name: "sync aside covers what was written meanwhile", file: "storage/journal/owner.go",
		old: "o.synced, o.carried = written, max(o.carried, mark)", new: "written = o.written\n\to.synced, o.carried = written, max(o.carried, mark)",
		pkg: "storage/journal", test: "TestSyncAsideCoversOnlyWhatWasWrittenBefore",
	},
	{
		name: "W3 mark forgotten with what is cut", file: "storage/journal/repair.go",
		old: "\t\tmark = s.mark // ", new: "\t\t// ",
		pkg: "storage/journal", test: "TestMarkOutlivesWhatIsCut",
	},
	{
		name: "W4 missing CRC check: journal body", file: "storage/journal/scan.go",
		old: "crc32.Checksum(raw[HeaderLen:], castagnoli) == r.bodyCRC", new: "crc32.Checksum(raw[HeaderLen:], castagnoli) >= 0",
		pkg: "storage/journal", test: "TestGuardW4EveryFlippedByteIsFound",
	},
	{
		name: "W4 missing CRC check: journal header", file: "storage/journal/format.go",
		old: "if binary.BigEndian.Uint32(b[132:]) != crc {", new: "if binary.BigEndian.Uint32(b[132:]) == 0 {",
		pkg: "storage/journal", test: "TestGuardW4EveryFlippedByteIsFound",
	},
	{
		name: "W4 record of another history believed", file: "storage/journal/scan.go",
		old: " && (!p.crcKnown || h.crcBefore == p.crcBefore)", new: "",
		pkg: "storage/journal", test: "TestRecordOfAnotherHistoryIsNotBelieved",
	},
	{
		name: "W4 missing last file not noticed", file: "storage/journal/damage.go",
		old: "if p.next > durable {", new: "if p.next > 0 {",
		pkg: "storage/journal", test: "TestGuardW4MissingFiles",
	},
	{
		name: "sequences of a lost tail used again", file: "storage/journal/damage.go",
		old: "\treturn durable + 1\n", new: "\treturn p.next\n",
		pkg: "storage/journal", test: "TestTailLostBelowTheCheckpoint",
	},
	{
		name: "damage in front of a file taken for a torn tail", file: "storage/journal/damage.go",
		old: "{ return max(s.mark, s.rolled) }", new: "{ return s.mark }",
		pkg: "storage/journal", test: "TestDamageInFrontOfTheLastFileIsNeverCut",
	},
	{
		name: "W4 missing middle file not noticed", file: "storage/journal/walk.go",
		old: "\t\t\tv.missing(i, p.next, f.first-1)\n", new: "",
		pkg: "storage/journal", test: "TestGuardW4MissingFiles",
	},
	{
		name: "W5 library called by whoever appends", file: "storage/journal/journal.go",
		old: "\tif j.enqueue(t, recs, sync) {\n\t\tj.signal()\n",
		new: "\tif j.enqueue(t, recs, sync) {\n\t\tif sync {\n\t\t\t_ = j.owner.lib.Sync()\n\t\t}\n\t\tj.signal()\n",
		pkg: "storage/journal", test: "TestGuardW5OneCallAtATime",
	},
	{
		name: "W5 library called beside who is on duty", file: "storage/journal/owner.go",
		old: "\tif !j.duty.TryLock() {\n\t\tj.signal()\n\t\treturn\n\t}\n", new: "",
		old2: "\tj.duty.Unlock()\n\tj.mu.Lock()\n", new2: "\tj.mu.Lock()\n",
		pkg: "storage/journal", test: "TestGuardW5OneCallAtATime",
	},
	{
		name: "W7 folder not synced behind a new file", file: "storage/journal/owner.go",
		old: "\tif err := j.syncDir(); err != nil {\n\t\treturn errors.Join(err, f.Close())\n\t}\n\tlib, err :=", new: "\tlib, err :=",
		pkg: "storage/journal", test: "TestGuardW7FolderIsSyncedBeforeANewFileCounts",
	},
	{
		name: "W8 unlinked files come back", file: "storage/journal/repair.go",
		old: "for len(files) > 1 && files[1].first <= j.opts.FirstKept {", new: "for len(files) > 1 && files[1].first < 1 {",
		pkg: "storage/journal", test: "TestGuardW8UnlinkedFilesComeBack",
	},
	{
		name: "journal truncated one record too far", file: "storage/journal/truncate.go",
		old: "len(l) > 1 && l[1].first <= keep {", new: "len(l) > 1 && l[1].first <= keep+1 {",
		pkg: "storage/journal", test: "TestTruncateFrontUnlinksWholeFiles",
	},
	{
		name: "mark written ahead of a payload", file: "storage/journal/owner.go",
		old: "\t\tj.hold(sequence)\n", new: "",
		pkg: "storage/journal", test: "TestPayloadHoldsTheMark",
	},
	{
		name: "mark follows the newest payload, not the oldest", file: "storage/journal/journal.go",
		old: "for n < len(p) && p[n].synced {", new: "for n < len(p) && (p[n].synced || n < lo) {",
		pkg: "storage/journal", test: "TestPayloadHoldsTheMark",
	},
	{
		name: "records above the mark believed from the page cache", file: "storage/journal/repair.go",
		old: "if j.owner.written <= s.mark {", new: "if j.owner.written >= 0 {",
		pkg: "storage/journal", test: "TestPowerLossBehindARepair",
	},
	{
		name: "roll without a descriptor not tried again", file: "storage/journal/owner.go",
		old: "if !scarce || j.opts.Reclaim == nil", new: "if scarce || j.opts.Reclaim == nil",
		pkg: "storage/journal", test: "TestRollWithoutADescriptor",
	},
	{
		name: "last mark left unsynced below a new file", file: "storage/journal/repair.go",
		old: "if j.owner.written <= s.mark {", new: "if s.newest <= s.mark {",
		pkg: "storage/journal", test: "TestUnsyncedMarkIsSyncedBeforeAFileFollows",
	},
	{
		name: "mark passes recovered payloads", file: "storage/journal/repair.go",
		old: "if s.refers > s.mark {", new: "if s.refers > s.mark+1<<20 {",
		pkg: "storage/journal", test: "TestRecoveredPayloadsHoldTheMark",
	},
}

// segmentBugs break storage/log: one partition's files.
var segmentBugs = []bug{
	{
		name: "folder not synced after create", file: "storage/log/log.go",
		old: "err = l.fsys.SyncDir(path.Dir(l.dir))", new: "err = nil",
		pkg: "storage", test: "TestSyncedEntriesSurvivePowerLoss",
	},
	{
		name: "name of a new segment not synced", file: "storage/log/append.go",
		old: "\tl.mu.dirDirty = true\n\treturn before", new: "\treturn before",
		pkg: "storage", test: "TestSyncedEntriesSurvivePowerLoss",
	},
	{
		name: "rolled segment not synced", file: "storage/log/sync.go",
		old: "\t\tif !s.gone {\n", new: "\t\tif !s.gone && s == l.lastLocked() {\n",
		pkg: "storage", test: "TestSyncedEntriesSurvivePowerLoss",
	},
	{
		name: "replayed payloads not synced", file: "storage/log/recover.go",
		old: "\tl.dirtyLocked(s) // by reference too", new: "\t// by reference too",
		pkg: "storage", test: "TestReplayedPayloadsAreSynced",
	},
	{
		name: "failed sync is tried again", file: "storage/log/log.go",
		old: "\tif l.mu.err == nil {\n\t\tl.mu.err = fmt.Errorf(\"%w: %w\", ErrFailed, err)\n\t}\n\treturn l.mu.err",
		new: "\treturn fmt.Errorf(\"%w: %w\", ErrFailed, err)",
		pkg: "storage/log", test: "TestFailureIsFinal",
	},
	{
		name: "missing CRC check: batch read for the first time", file: "storage/log/scan.go",
		old: "if got != h.crc {", new: "if got != h.crc && h.length < 0 {",
		pkg: "storage/log", test: "TestFlippedBits",
	},
	{
		name: "missing CRC check: payload by reference", file: "storage/log/recover.go",
		old: "\t\tif sum != t.CRC {\n", new: "\t\tif sum != t.CRC && t.Length == 0 {\n",
		pkg: "storage/log", test: "TestCrashAtEveryCall",
	},
	{
		name: "missing CRC check: inline payload", file: "storage/log/recover.go",
		old: "len(payload) != int(t.Length) || crc32.Checksum(payload, entry.Castagnoli) != t.CRC",
		new: "len(payload) != int(t.Length) || crc32.Checksum(payload, entry.Castagnoli) < 0",
		pkg: "storage/log", test: "TestRecoverRefusesAnotherPayload",
	},
	{
		name: "missing CRC check: producer snapshot", file: "storage/log/snapshot.go",
		old: "binary.BigEndian.Uint32(b[snapshotCRCPos:]); got != want {", new: "binary.BigEndian.Uint32(b[snapshotCRCPos:]); got != want && len(b) < 0 {",
		pkg: "storage/log", test: "TestProducerSnapshots",
	},
	{
		name: "missing segment not noticed", file: "storage/log/open.go",
		old: "n == 0 && len(r.beyond) > 0:", new: "n >= 0:",
		pkg: "storage/log", test: "TestMissingLastSegmentIsNoticed",
	},
	{
		name: "index entry off by one", file: "storage/log/index.go",
		old: "offsetEntry{int32(h.last - x.base), int32(h.pos)}", new: "offsetEntry{int32(h.last - x.base + 1), int32(h.pos)}",
		pkg: "storage/log", test: "TestFilesAreKafkas",
	},
	{
		name: "index entry of the first offset", file: "storage/log/index.go",
		old: "offsetEntry{int32(h.last - x.base), int32(h.pos)}", new: "offsetEntry{int32(h.base - x.base), int32(h.pos)}",
		pkg: "storage/log", test: "TestFilesAreKafkas",
	},
	{
		name: "truncation keeps one batch too many", file: "storage/log/truncate.go",
		old: "if !ok || h.last >= offset {", new: "if !ok || h.last > offset {",
		pkg: "storage/log", test: "TestTruncateCutsAtTheBatch",
	},
	{
		name: "truncation cuts by base offset", file: "storage/log/truncate.go",
		old: "if !ok || h.last >= offset {", new: "if !ok || h.base >= offset {",
		pkg: "storage/log", test: "TestTruncateCutsAtTheBatch",
	},
	{
		name: "places of truncated batches remembered", file: "storage/log/truncate.go",
		old: "\tl.mu.recent.reset()\n\tl.mu.moved++\n\tinFlight", new: "\tl.mu.moved++\n\tinFlight",
		pkg: "storage/log", test: "TestTruncateCutsAtTheBatch",
	},
	{
		name: "truncated leader epoch remembered", file: "storage/log/truncate.go",
		old: "if l.mu.epochs.truncateEnd(l.mu.end) {", new: "if l.mu.epochs.truncateEnd(l.mu.end + 1) {",
		pkg: "storage/log", test: "TestTruncateCutsAtTheBatch",
	},
	{
		name: "batch across the limit is read", file: "storage/log/locate.go",
		old: "\tif h.last >= w.limit {\n\t\treturn false\n\t}\n", new: "\tif h.base >= w.limit {\n\t\treturn false\n\t}\n",
		pkg: "storage/log", test: "TestReadLimits",
	},
	{
		name: "segment deleted with the log start in it", file: "storage/log/retention.go",
		old: "l.mu.segments[1].base > offset {", new: "l.mu.segments[0].base > offset {",
		pkg: "storage/log", test: "TestRetention",
	},
}

// storeBugs break what holds journal, segments and meta.db together.
var storeBugs = []bug{
	{
		name: "skipped sync: payload by reference", file: "storage/append.go",
		old: "logErr = g.log.Sync() // ", new: "logErr = g.log.Err() // ",
		pkg: "storage", test: "TestSyncedEntriesSurvivePowerLoss",
	},
	{
		name: "skipped sync: cached payloads before a synced entry", file: "storage/append.go",
		old: "if synced && g.write.cachedDirty {", new: "if synced && g.write.cachedDirty && g.log == nil {",
		pkg: "storage", test: "TestSyncedEntrySyncsTheCachedOnesBefore",
	},
	{
		name: "skipped sync: votes and truncations", file: "storage/append.go",
		old: "g.store.journal.Append(g.write.records, true)", new: "g.store.journal.Append(g.write.records, false)",
		pkg: "storage", test: "TestVoteSurvivesPowerLoss",
	},
	{
		name: "skipped sync: created", file: "storage/lifecycle.go",
		old: "s.journal.Append(rec, true)", new: "s.journal.Append(rec, false)",
		pkg: "storage", test: "TestCreatedGroupSurvivesPowerLoss",
	},
	{
		name: "skipped sync: deleted", file: "storage/lifecycle.go",
		old: "s.journal.Append([]journal.Record{{Kind: journal.Deleted, Group: id}}, true)",
		new: "s.journal.Append([]journal.Record{{Kind: journal.Deleted, Group: id}}, false)",
		pkg: "storage", test: "TestDeletedGroupStaysDeletedAfterPowerLoss",
	},
	{
		name: "payload reported synced before the sync", file: "storage/append.go",
		old: "\t\tlogErr = g.log.Sync() // ",
		new: "\t\tif first, err := ticket.Wait(); err == nil {\n\t\t\tg.payloadsSynced(g.write.records, first)\n\t\t}\n\t\tlogErr = g.log.Sync() // ",
		pkg: "storage", test: "TestMarkWaitsForThePayload",
	},
	{
		name: "checkpoint row without a segment sync", file: "storage/snapshot.go",
		old: "switch err := g.store.flush(g.log); {", new: "switch err := g.log.Err(); {",
		pkg: "storage", test: "TestCheckpointVouchesForSyncedBytesOnly",
	},
	{
		name: "checkpoint row written before the segment sync", file: "storage/snapshot.go",
		old: "\tif g.log != nil {\n\t\tswitch err := g.store.flush(g.log); {\n",
		new: "\tif err := g.commit(snap, base, end); err != nil {\n\t\treturn err\n\t}\n\tif g.log != nil {\n\t\tswitch err := g.store.flush(g.log); {\n\t\tcase err == nil:\n\t\t\treturn nil\n",
		pkg: "storage", test: "TestCheckpointVouchesForSyncedBytesOnly",
	},
	{
		name: "superseded inline payload replayed", file: "storage/recover.go",
		old: "\t\tg.note(rec)\n",
		new: "\t\tg.note(rec)\n\t\tif rec.Placement == journal.Inline {\n" +
			"\t\t\tif b, err := r.journal.Inline(rec); err == nil {\n" +
			"\t\t\t\tname := path.Join(r.store.dirs[g.dir].path, g.folder, fmt.Sprintf(\"%020d.log\", rec.Segment))\n" +
			"\t\t\t\tif f, err := r.store.opts.FS.OpenFile(name, os.O_RDWR, 0); err == nil {\n" +
			"\t\t\t\t\t_, _ = f.WriteAt(b, rec.Pos)\n\t\t\t\t\t_ = f.Close()\n\t\t\t\t}\n\t\t\t}\n\t\t}\n",
		pkg: "storage", test: "TestSupersededInlinePayloadIsNotReplayed",
	},
	{
		name: "replaced suffix comes back", file: "storage/replay.go",
		old: "\tcase journal.DeleteRange, journal.Dropped:\n", new: "\tcase journal.DeleteRange:\n\tcase journal.Dropped:\n",
		pkg: "storage", test: "TestTruncationIsRecordedBeforeTheSegmentsChange",
	},
	{
		name: "segments truncated before the journal says so", file: "storage/append.go",
		old: "\tseq, err := g.append(journal.DeleteRangeRecord(g.id, from, last))\n",
		new: "\tif bytes {\n\t\tif err := g.log.Truncate(offset); err != nil {\n\t\t\treturn g.fail(err)\n\t\t}\n\t\t_ = g.log.Sync()\n\t}\n" +
			"\tseq, err := g.append(journal.DeleteRangeRecord(g.id, from, last))\n",
		pkg: "storage", test: "TestTruncationIsRecordedBeforeTheSegmentsChange",
	},
	{
		name: "replay one entry short", file: "storage/replay.go",
		old: "r.entries[n-1].Index >= from {", new: "r.entries[n-1].Index >= from-1 {",
		pkg: "storage", test: "TestTruncateSuffix",
	},
	{
		name: "page cache believed above the mark", file: "storage/recover.go",
		old: "rec.Placement != journal.ByReference || rec.Class == entry.Synced && rec.Sequence <= r.mark", new: "r.mark >= 0",
		pkg: "storage", test: "TestPayloadAboveTheMarkIsWrittenAgain",
	},
	{
		name: "missing payload below the mark voided", file: "storage/recover.go",
		old: "e.Class == entry.Synced && (e.Sequence <= r.mark || e.Carried) {", new: "e.Class == entry.Synced && e.Sequence < 1 {",
		pkg: "storage", test: "TestEveryByteOfASegmentDamaged", short: true,
	},
	{
		name: "deleted group resurrected", file: "storage/replay.go",
		old: "*r = replay{id: r.id, kept: r.kept, folder: r.folder, dir: r.dir}", new: "*r = replay{id: r.id, folder: r.folder, dir: r.dir, cp: r.cp, exists: r.cp != nil}",
		pkg: "storage", test: "TestDeletedGroupStaysDeletedAfterPowerLoss",
	},
	{
		name: "deleted group's row kept", file: "storage/mark.go",
		old: "meta.Commit{Removed: removed, ", new: "meta.Commit{Removed: removed[:0], ",
		pkg: "storage", test: "TestDeletedGroupStaysDeletedAfterPowerLoss",
	},
	{
		name: "deletion takes the next incarnation's folder", file: "storage/recover.go",
		old: "if d.folder == \"\" || taken[d.folder] {", new: "if d.folder == \"\" || len(taken) < 0 {",
		pkg: "storage", test: "TestDeletionSparesTheNextIncarnation",
	},
	{
		name: "failed entries come back", file: "storage/store.go",
		old: "s.journal.Append(drop, true)", new: "s.journal.Append(drop[:0], true)",
		pkg: "storage", test: "TestOneLogDirFails",
	},
	{
		name: "deleted group takes a snapshot", file: "storage/lifecycle.go",
		old: "g.write.closed, g.save.gone = true, true", new: "g.write.closed = true",
		pkg: "storage", test: "TestDeletedGroupTakesNoSnapshot",
	},
	{
		name: "append under way not kept in the journal", file: "storage/group.go",
		old: "[]uint64{g.mu.pending, g.mu.voteAt, g.mu.bornAt, g.mu.pin}", new: "[]uint64{g.mu.voteAt, g.mu.bornAt, g.mu.pin}",
		pkg: "storage", test: "TestAppendUnderWayPinsTheJournal",
	},
	{
		name: "vote not kept in the journal", file: "storage/group.go",
		old: "[]uint64{g.mu.pending, g.mu.voteAt, g.mu.bornAt, g.mu.pin}", new: "[]uint64{g.mu.pending, g.mu.bornAt, g.mu.pin}",
		pkg: "storage", test: "TestVotePinsTheJournal",
	},
	{
		name: "first entry above the snapshot not kept", file: "storage/group.go",
		old: "if above := max(g.mu.snapshot.Index+1, g.mu.first);", new: "if above := max(g.mu.snapshot.Index+2, g.mu.first);",
		pkg: "storage", test: "TestCheckpointKeepsTheEntriesAboveTheSnapshot",
	},
	{
		name: "clean flag stays while the store is open", file: "storage/store.go",
		old: "jc.Clean = false\n", new: "_ = jc.Clean\n",
		pkg: "storage", test: "TestCleanFlagIsGoneOnceTheStoreIsOpen",
	},
	{
		name: "missing CRC check: meta.db", file: "storage/meta/value.go",
		old: "crc != binary.BigEndian.Uint32(b) {", new: "crc != binary.BigEndian.Uint32(b) && len(b) == 0 {",
		pkg: "storage/meta", test: "TestDamagedGroupHurtsOnlyItself",
	},
}
