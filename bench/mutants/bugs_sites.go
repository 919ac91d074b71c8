package main

// siteBugs break the protocol between two sites.
var siteBugs = []bug{
	promise("site epoch that the other site owns", "epoch.go",
		"return e + (index+Sites-e%Sites)%Sites", "return e"),
	promise("site epoch not raised by a promotion", "promote.go", "rec.Role, rec.Epoch, rec.Seen, rec.Planned = Active, epoch,", "rec.Role, rec.Epoch, rec.Seen, rec.Planned = Active, rec.Epoch,"),
	promise("switchover without a fence in the log", "sender.go",
		"if f := log.Durable.FenceTarget; tick && f != entry.NoFence && f == v.Fencing && !v.Abandoned && v.PeerBoot != 0 {", "if f := v.Fencing; tick && f != 0 && v.PeerBoot != 0 {"),
	promise("shipping resumed one record too far", "sender.go",
		"acked: m.End, sent: m.End,", "acked: m.End, sent: Position{m.End.Next + 1, m.End.Epoch},"),
	promise("standby tells of one record more than it has", "receiver.go",
		"End: end(durable), LogStart: logStart,", "End: Position{durable.NextOffset + 1, durable.LastEpoch}, LogStart: logStart,"),
	logPromise("promote takes an offset", "sites.go",
		"s.Shared = UnknownOffset\n\tcase Follow:", "s.Shared = UnknownOffset\n\t\ts.NextOffset++\n\tcase Follow:"),
	logPromise("leader epoch without the site epoch", "admit.go",
		"return int32(s.SiteEpoch<<LeaderEpochBits | uint32(low)), true", "return int32(low), true"),
	logRule("produce at a log that follows", "sites.go", "TestSiteRulesRefuse",
		"\t\tif s.Role == Following {\n\t\t\treturn VoidRole\n\t\t}\n\tcase EpochBase:", "\tcase EpochBase:"),
	siteRule("all is shipped again to a standby that is slow", "sender.go", "TestSlowStandbyIsNotShippedAllAgain",
		"o.asked < askedMax {", "o.asked > askedMax {"),
	siteRule("standby does not say that what was sent is lost", "link.go", "TestStandbySaysWhetherAnythingIsUnderWay",
		"l.in.rejected || l.in.pending == 0 && end(&log.Tip) == end(&log.Durable)", "l.in.rejected"),
	siteRule("switchover that is given up goes on draining", "sender.go", "TestNothingIsDrainedForASwitchoverThatIsGivenUp",
		"f == v.Fencing && !v.Abandoned &&", "f == v.Fencing &&"),
	siteRule("abort of a switchover said once", "site.go", "TestSwitchoverIsGivenUpWithTheStandbysWordOnly",
		"s.rec.Fencing == s.abandoned\n", "s.rec.Fencing < s.abandoned\n"),
	siteRule("what is never taken goes over as fast as it is refused", "sender.go", "TestWhatIsNeverTakenIsNotShippedAgainAtOnce",
		"\tif o.lossy {\n", "\tif o.lossy && window == 0 {\n"),
	lostRule("damaged batches are not told of", "broker/sites/peers.go", "TestDamagedBatchHoldsUpItsPartitionAndIsSaid",
		"p.driver.Damaged(m.Partition, m.Err)", "_ = m.Err"),
	driverRule("link that catches up rests", "pace.go", "TestPaceFollowsWhatIsShipped",
		"p.flow >= flowMin && !p.full", "p.flow >= flowMin"),
	{
		name: "two sites: rows by headers that cannot be", file: "storage/entry/rows.go",
		old: "b.Magic() != 2 || length < record.HeaderLen || b.IsControl()", new: "b.IsControl()", pkg: "storage/entry", test: "TestRowOfAHeader",
	},
	driverRule("nobody leaves a site epoch that is used up", "band.go", "TestSpentSiteEpochIsLeft",
		"s != nil && s.spent(view.Epoch)", "s == nil && s.spent(view.Epoch)"),
	driverRule("a link that stands still uses up all site epochs", "band.go", "TestSpent",
		"|| entry.SiteEpochOf(s.epoch) != siteEpoch", ""),
	siteRule("switchover given up without the standby's word", "promote.go", "TestSwitchoverIsGivenUpWithTheStandbysWordOnly",
		"s.abandoned = s.rec.Fencing\n\treturn []Effect{Send{Refuse{s.abandoned}}}, nil", "rec := s.rec\n\trec.Fencing = 0\n\treturn s.store(rec), nil"),
	promise("promotion before all partitions are drained", "promote.go",
		"if s.drained[p] != target {", "if s.drained[p] != target && s.drained[p] != 0 {"),
	siteRule("partitions of one switchover taken for those of the next", "promote.go", "TestPartitionsOfOneSwitchoverAreNotThoseOfTheNext",
		"target := s.fenced.Target", "target := s.drained[s.fenced.IDs[0]]"),
	siteRule("switchover without partitions does not end", "promote.go", "TestPartitionsOfOneSwitchoverAreNotThoseOfTheNext",
		"s.fenced.Target == 0 {", "len(s.fenced.IDs) == 0 {"),
	driverRule("records taken for which there is no room", "room.go", "TestWhatHasNoRoomIsNotTaken",
		"d.options.Room(d.proposed.Load() + n)\n\tif err == nil {", "d.options.Room(0)\n\tif err == nil {"),
	driverRule("room for one Append ends a shortage", "room.go", "TestWhatHasNoRoomIsNotTaken", "+ 2*n)", "+ n)"),
	driverRule("records shipped that the other site cannot take", "link.go", "TestWhatHasNoRoomIsNotTaken",
		"if r.d.options.Held() {", "if false {"),
	driverRule("last contact in the future believed", "contact.go", "TestStandbyRemembersItsLastContact",
		" || c.At.After(now) ", " "),
	driverRule("copies of other topics taken for these", "contact.go", "TestStandbyRemembersItsLastContact",
		"c.Copied && version == c.Version", "c.Copied"),
	driverRule("archive job of an old link goes on beside the next", "jobs.go", "TestArchiveOfAnOldLinkIsGivenUp",
		"\t\tbefore.cancel()\n", "\t\tbefore = nil\n"),
	driverRule("cached data ships when its link happens to look", "link.go", "TestCachedDataShipsSoon",
		"log.Tip.NextOffset == log.Durable.NextOffset && r.link.Quiet", "r.link.Quiet"),
	driverRule("what is shipped is overwritten before it is written", "link.go", "TestLostSiteReturnsAndItsTailIsArchived",
		"\tr.d.network.Send(m, func(sent bool) {\n\t\trelease()\n", "\trelease()\n\tr.d.network.Send(m, func(sent bool) {\n"),
	driverRule("failover amid a switchover told as its success", "orders.go", "TestOrdersThatWereOvertakenEnd",
		"case !takes && view.Role == site.Standby && view.Epoch != target:", "case !takes && view.Role == site.Standby && view.Epoch < target:"),
	{
		name: "two sites: deleted topics keep their data for good", file: "broker/sites/pair.go",
		old: "p.tasks.Go(p.purge)", new: "_ = p.purge", pkg: "broker", test: "TestDataOfADeletedTopicGoesAfterTheDelay",
	},
	driverRule("ticks pile up at a busy worker", "link.go", "TestTicksDoNotPileUp", "if r.mu.ticked {", "if false {"),
	siteRule("promotion by switchover after the refusal", "promote.go", "TestRefusalIsDurableBeforeItIsSaid",
		"if target <= max(s.rec.Epoch, s.rec.Seen, s.rec.Refused) ||", "if target <= max(s.rec.Epoch, s.rec.Seen) ||"),
	promise("promotion goes on at the log end offset", "sender.go",
		"base := entry.BandStart(v.Epoch)", "base := log.Tip.NextOffset"),
	promise("switchover goes on at the log end offset, not at the base", "sender.go",
		"Next: log.Durable.NextWrite(),", "Next: log.Durable.NextOffset,"),
	promise("acknowledged before the standby's sync", "receiver.go",
		"return l.acknowledge(v, durable, log", "return l.acknowledge(v, tip, log"),
	promise("shipped before the active's sync", "sender.go",
		"if l.writes(v, &log.Durable) {\n\t\teffects", "if log.Durable = *tip; l.writes(v, tip) {\n\t\teffects"),
	promise("link append that does not continue the log", "receiver.go",
		"if m.Prev != at {", "if m.Prev.Next < at.Next {"),
	promise("tail cut before it is archived", "receiver.go",
		"return []Effect{ArchiveTail{Cut: l.in.cut, LogCut: d.Cut}}",
		"return l.propose(entry.TruncateTo, v.Epoch, entry.Truncation{Offset: from, LeaderEpoch: d.LastEpoch}.Append(nil))"),
	promise("archive never sealed", "receiver.go",
		"return []Effect{SealArchive{d.Cut}}", "return []Effect{SealArchive{entry.Cut{}}}"),
	promise("earlier archive thrown away", "receiver.go",
		"Cut: l.in.cut, LogCut: d.Cut}}", "Cut: l.in.cut}}"),
	promise("no lag when it is not known", "sender.go", "\t\treturn 0, false", "\t\treturn 0, true"),
	promise("restarted active serves at once", "site.go",
		"s.leased = rec.Role == Active && options.Lease > 0\n", "s.leased = rec.Role == Active && options.Lease > 0\n\ts.confirmed = rec.Role == Active\n"),
	promise("confirmed by an answer to an earlier run", "site.go", "if m.Nonce != s.boot {", "if m.Nonce == 0 {"),
	siteRule("confirmed by a site that is taking over", "site.go", "TestRestartedActiveIsNotConfirmedByASiteThatIsTakingOver",
		"m.Epoch <= s.rec.Epoch && !m.Failing {", "m.Epoch <= s.rec.Epoch {"),
	siteRule("lease counted from the answer", "site.go", "TestLeaseEndsBeforeTheStandbyTakesOver",
		"return s.receive(in.Message), nil", "defer func() { s.leaseUntil = now + s.options.Lease }()\n\t\treturn s.receive(in.Message), nil"),
	promise("lease not looked at", "site.go", "return s.Serving() && (!s.leased || now < s.leaseUntil)", "return s.Serving()"),
	promise("lease renewed while the standby waits", "site.go", "return s.rec.StopRenew || s.next != nil", "return s.next != nil"),
	siteRule("no time for drifting clocks", "promote.go", "TestLeaseEndsBeforeTheStandbyTakesOver",
		"now >= s.waitFrom+s.options.Lease+s.options.Drift", "now >= s.waitFrom+s.options.Lease"),
	promise("wait for a lease that nobody has", "promote.go", "s.rec.Role != Standby || !s.giver:", "s.rec.Role != Standby:"),
	promise("wait that goes on after a restart", "site.go",
		"s.leased = rec.Role == Active && options.Lease > 0\n", "s.leased = rec.Role == Active && options.Lease > 0\n\ts.waiting = rec.StopRenew\n"),
	promise("step-down before it is durable", "site.go",
		"rec.Planned, rec.Fencing, rec.StopRenew = false, 0, false\n", "rec.Planned, rec.Fencing, rec.StopRenew = false, 0, false\n\ts.rec = rec\n"),
	siteRule("compared with a log that lacks the promote", "link.go", "TestLineageIsToldOnlyOfAPromotedLog",
		"|| !l.writes(v, &log.Durable) || m.Epoch != v.Epoch {\n\t\treturn nil\n\t}\n\treturn []Effect{Send{Compared", "|| v.Role != Active || m.Epoch != v.Epoch {\n\t\treturn nil\n\t}\n\treturn []Effect{Send{Compared"),
	promise("follows without an entry in the log", "link.go",
		"s.SiteEpoch == v.Epoch && s.Role == entry.Following && s.Shared != entry.UnknownOffset", "s.Role == entry.Following"),
	promise("producer id given out twice", "epoch.go", "return int64(siteEpoch)<<entry.ProducerIDBits | n", "return n"),
	logRule("own base kept when the log follows", "sites.go", "TestPromotionBeginsAtItsBase", "f.SiteEpoch, Following, 0, NoFence", "f.SiteEpoch, Following, s.Base, NoFence"),
	logPromise("cut one record late", "lineage.go", "at = end\n", "at = end + 1\n"),
	logRule("position of a foreign epoch believed", "lineage.go", "TestResume", "\t\t\treturn min(offset, s.Shared)", "\t\t\treturn offset"),
	logPromise("fence not looked at when an entry is stored", "admit.go", "case s.FenceTarget != NoFence:", "case s.FenceTarget == 0:"),
	siteRule("fence forgotten at a restart", "site.go", "TestFenceOutlivesARestart",
		"s := &Site{options: options, boot: boot, rec: rec,", "rec.Fencing = 0\n\ts := &Site{options: options, boot: boot, rec: rec,"),
	siteRule("word of refusal given before it is durable", "promote.go", "TestRefusalIsDurableBeforeItIsSaid",
		"effects := s.store(rec)\n\ts.reply = Refused(m)\n\treturn effects", "return append(s.store(rec), Send{Refused(m)})"),
	siteRule("word of refusal while the promotion is being stored", "promote.go", "TestNoRefusalWhilePromoting",
		"s.rec.Epoch >= m.Target && s.rec.Role == Active || s.next != nil:", "s.rec.Epoch >= m.Target && s.rec.Role == Active:"),
	siteRule("failover below a target that was handed out", "promote.go", "TestFailoverGoesAboveEveryTarget",
		"max(s.rec.Epoch, s.rec.Seen, s.rec.Refused, s.rec.LastTarget))", "max(s.rec.Epoch, s.rec.Seen, s.rec.Refused))"),
	siteRule("target of a switchover used twice", "promote.go", "TestTargetsAreUsedOnce",
		"max(rec.Epoch, rec.Seen, rec.LastTarget))", "max(rec.Epoch, rec.Seen))"),
	siteRule("lease promised by a site that is about to have none", "site.go", "TestNoLeaseIsPromisedWhileFailingOver",
		"s.Serving() && s.leased && !failing}", "s.Serving() && s.leased}"),
	siteRule("drained mark of an earlier run, at the site", "site.go", "TestDrainedMarksAreOfThisRunAndTarget",
		"if in.Boot == s.boot && s.rec.Role == Standby {", "if s.rec.Role == Standby {"),
	siteRule("drained mark of an earlier run, at the link", "receiver.go", "TestDrainIsForThisRunAndThisEnd",
		"m.Boot != v.Boot || ", ""),
	siteRule("fence taken away by an older view", "sender.go", "TestFenceIsNotTakenAwayByAnOlderView",
		" && tip.FenceTarget <= v.LastTarget:", ":"),
	siteRule("topic created anew is appended to", "link.go", "TestTopicCreatedAnewIsNotAppendedTo",
		"return id == l.id }", "return id.Partition == l.id.Partition }"),
	logRule("link append that comes after the promotion", "admit.go", "TestSiteRulesRefuse",
		"case h.SiteEpoch < s.SiteEpoch:", "case h.SiteEpoch < s.SiteEpoch && !h.Linked():"),
	logRule("link append at a log that writes", "sites.go", "TestSiteRulesRefuse",
		"if s.Role != Following || s.Shared == UnknownOffset {", "if s.Shared == UnknownOffset && s.Role == Following {"),
	logRule("followed epoch's records cut", "sites.go", "TestTruncateSparesTheFollowedEpoch",
		"case SiteEpochOf(s.LastEpoch) >= s.SiteEpoch && s.LastEpoch >= 0:", "case s.LastEpoch < -1:"),
	logRule("position behind the shipped end believed", "lineage.go", "TestResume", "return min(offset, end)", "return offset"),
	siteRule("void proposed again without end", "link.go", "TestVoidControlEntryWaitsForATick",
		"l.control, l.voided = false, in.Reason != entry.Admitted", "l.control = false"),
	siteRule("log start above the standby's end", "receiver.go", "TestLogStartOfTheStandby",
		"start := min(m.Offset, log.Durable.NextOffset)", "start := m.Offset"),
	siteRule("log start said once", "sender.go", "TestLogStartIsSaidUntilTheStandbyHasIt",
		"start == o.toldOf && now-o.told < l.options.Resend", "start == o.toldOf"),
	siteRule("log start of another epoch", "receiver.go", "TestLogStartOfTheStandby",
		"if m.Epoch != v.Epoch || !l.linked(v, &log.Tip) || !l.linked(v, &log.Durable) || l.control || in.starting {", "if l.control || in.starting {"),
	siteRule("gap by retention passed over", "sender.go", "TestSenderHalts",
		"o.acked.Epoch >= 0 && log.Lineage.LogStart > log.Purged:", "o.acked.Epoch >= 0 && false:"),
	siteRule("gap passed over for a part of it", "link.go", "TestGapThatIsWantedIsNone",
		"log.Lineage.LogStart <= log.Purged {", "log.Purged > 0 {"),
	{
		name: "two sites: purpose of a deletion forgotten in the checkpoint", file: "broker/partition/snapshot.go",
		old: "p.purged.Store(st.purged)", new: "p.purged.Store(0)", pkg: "broker/partition", test: "TestPurposeOfADeletionIsKept",
	},
	{
		name: "two sites: retention counts as deleted on purpose", file: "broker/partition/partition.go",
		old: "if purge {", new: "if purge || err == nil {", pkg: "broker/partition", test: "TestPurposeOfADeletionIsKept",
	},
	{
		name: "two sites: last batch of an emptied log goes", file: "broker/partition/retention.go",
		old: "below = min(below, p.hw.Load()-1)", new: "_ = below", pkg: "broker/partition", test: "TestLastBatchStaysForTheOtherSite",
	},
	holdRule("retention does not wait for the other site", "TestRetentionWaitsForTheOtherSite",
		"if !ships || start <= acked {", "if acked = start; !ships || start <= acked {"),
	holdRule("unknown counts as all", "TestRetentionWaitsForTheOtherSite",
		"offset = p.logStart.Load() // unknown", "offset = p.hw.Load() // unknown"),
	holdRule("retention waits before anything is known", "TestRetentionWaitsForTheOtherSite",
		"return p.logStart.Load(), true", "return p.hw.Load(), true"),
	holdRule("retention holds without limit", "TestRetentionHoldsNoMoreThanItMay",
		"bytes+s.Size > budget", "budget < 0"),
	{
		name: "two sites: compaction ahead of the other site", file: "broker/partition/cleaner.go",
		old: "hw = min(hw, acked)", new: "_ = acked", pkg: "broker/partition", test: "TestCompactionStaysBelowWhatIsShipped",
	},
	{
		name: "two sites: bounded takes an unknown lag for none", file: "broker/sites/lag.go",
		old: "return !l.begun || now-l.since > limit", new: "return false", pkg: "broker/sites", test: "TestUnknownLagCountsFromWhenItBegan",
	},
	{
		name: "two sites: bounded forgets how long nothing was known", file: "broker/sites/lag.go",
		old: "first = l.since", new: "first = now", pkg: "broker/sites", test: "TestUnknownLagCountsFromWhenItBegan",
	},
	{
		name: "two sites: bounded topic takes produces without limit", file: "broker/handler/produce_bounded.go",
		old: "if !h.sites.Exceeds(id, limit) {\n\t\treturn nil", new: "if true {\n\t\treturn nil", pkg: "broker/handler", test: "TestBoundedProduceWaitsForTheOtherSite",
	},
	logRule("kinds of two sites at level 1", "admit.go", "TestLevelOneRefusesSites",
		"if s.Level >= LevelSites && h.Kind&MaySkip == 0 {", "if h.Kind&MaySkip == 0 {"),
}

// promise is a bug of replication/site that some seed of the two-site model meets.
func promise(name, file, old, new string) bug {
	return bug{name: "two sites: " + name, file: "replication/site/" + file, old: old, new: new, pkg: "replication/site", test: "TestSitesKeepTheirPromises"}
}

// logPromise is a bug of the log's own rules that the two-site model meets.
func logPromise(name, file, old, new string) bug {
	return bug{name: "two sites: " + name, file: "storage/entry/" + file, old: old, new: new, pkg: "replication/site", test: "TestSitesKeepTheirPromises"}
}

// siteRule is a bug of replication/site that takes more luck to meet; a test of the one rule is there for it.
func siteRule(name, file, test, old, new string) bug {
	return bug{name: "two sites: " + name, file: "replication/site/" + file, old: old, new: new, pkg: "replication/site", test: test}
}

// logRule is the same for the log's own rules.
func logRule(name, file, test, old, new string) bug {
	return bug{name: "two sites: " + name, file: "storage/entry/" + file, old: old, new: new, pkg: "storage/entry", test: test}
}

// holdRule is a bug of what retention holds for the other site.
func holdRule(name, test, old, new string) bug {
	return bug{name: "two sites: " + name, file: "broker/partition/hold.go", old: old, new: new, pkg: "broker/partition", test: test}
}

// driverRule is a bug of what drives replication/site.
func driverRule(name, file, test, old, new string) bug {
	return bug{name: "two sites: " + name, file: "broker/sites/" + file, old: old, new: new, pkg: "broker/sites", test: test}
}
