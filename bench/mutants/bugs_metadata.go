package main

// metadataBugs break what the records of two sites owe to their metadata: that it comes first, and that nothing of a topic goes unseen.
var metadataBugs = []bug{
	siteRule("records taken before the metadata that they were written under", "receiver.go", "TestAppendWaitsForTheMetadataThatItNames",
		"if m.Metadata > v.Metadata {", "if false {"),
	siteRule("records that waited for metadata come a second later", "receiver.go", "TestAppendWaitsForTheMetadataThatItNames",
		"l.in.short, l.in.ackDue, l.in.rejected = 0, true, true", "l.in.short = 0"),
	driverRule("metadata of another site epoch lets records in", "driver.go", "TestAppendsWaitForTheirMetadata",
		"v.Role == site.Standby && f.Epoch == v.Epoch", "v.Role == site.Standby"),
	driverRule("appends name no metadata", "link.go", "TestAppendsWaitForTheirMetadata", "Metadata: needs,", "Metadata: 0 * needs,"),
	metadataBug("lost topic deleted before it is archived", "hidden.go", "TestLoserKeepsWhatOnlyItHad", "h.lost && !h.archived {", "false {"),
	metadataBug("lost partitions deleted before they are archived", "hidden.go", "TestLoserKeepsWhatOnlyItHad",
		"len(t.Extra) > 0 && t.ExtraArchived && c.due", "len(t.Extra) > 0 && c.due"),
	lostRule("lost topics are not archived", "broker/sites/purge.go", "TestWhatOnlyTheLostSiteHadIsArchivedAndThenDeleted",
		"return part.ArchiveWhole(p.ctx, h.Name, epoch)", "_ = epoch; return nil"),
	lostRule("records of an undeleted topic stay in archives", "broker/sites/purge.go", "TestTopicThatOnlyTheLostSiteHadComesBack",
		"return part.Withdraw(topic)", "return nil"),
	lostRule("records archived twice", "broker/partition/whole.go", "TestPartitionThatBothSitesAddedIsArchivedOnce",
		"for i := range held {\n\t\tif err := p.manager", "for i := range held[:0] {\n\t\tif err := p.manager"),
	lostRule("archives withdrawn while the metadata says that they are there", "broker/sites/purge.go", "TestRefusedUndeleteLeavesArchives",
		"p.options.Controller.LostIsWithdrawn(ctx, *newest)", "p.ctx.Err()"),
	metadataBug("partition made anew is taken for the one that has gone", "follow_plan.go", "TestLoserKeepsWhatOnlyItHad",
		"placed[i].Incarnation = uint32(p.Revision)", "placed[i].Incarnation = 0"),
	metadataBug("archives withdrawn of what is being deleted", "hidden.go", "TestLoserKeepsWhatOnlyItHad",
		"\t\t\treturn refuse(ErrUnknownTopicID, \"Nothing of the topic with id %s is kept since then.\", id), nil", "\t\t\treturn nil, nil"),
	metadataBug("withdrawn archives still count", "hidden.go", "TestLoserKeepsWhatOnlyItHad",
		"next.ExtraArchived = !c.Withdrawn", "next.ExtraArchived = true"),
	{
		name: "two sites: archive of an earlier log taken for one of this", file: "broker/partition/whole.go",
		old: "return rows[0].LastOffset == offset &&", new: "return true ||", pkg: "broker/partition", test: "TestArchiveOfAnEarlierLogStays",
	},
	{
		name: "two sites: archive of another log found", file: "storage/archive/whole.go",
		old: "n.key == p.key() && n.cut.Offset == wholeBase+int64(incarnation)", new: "n.key == p.key()", pkg: "storage/archive", test: "TestLogThatGoesAsAWhole",
	},
	siteRule("tail cut in front of this log", "receiver.go", "TestReturnBehindAGapIsCopiedAnew", "from < log.Lineage.LogStart ||", ""),
	siteRule("tail cut in front of the active's log", "receiver.go", "TestReturnBehindAGapIsCopiedAnew", "|| from < m.Lineage.LogStart", ""),
	logRule("what retention has deleted counts as divergent", "lineage.go", "TestDivergenceLooksAtWhatIsLeft", "if s.End > l.LogStart {", "if s.End > 0 {"),
	logRule("what retention has deleted is never compared", "lineage.go", "TestDivergenceLooksAtWhatIsLeft",
		"return max(parted, 0), parted >= 0", "return 0, false"),
	siteRule("acknowledgement of a dropped log believed", "sender.go", "TestLogBegunAnewIsShippedWhole",
		"if o.known && !another && m.Log < o.log {", "if false {"),
	siteRule("link stays halted for a log that is no more", "link.go", "TestLogBegunAnewIsShippedWhole", "ack.Log > l.refused {", "false {"),
	siteRule("link that has halted runs again by the same log", "link.go", "TestLogBegunAnewIsShippedWhole", "ack.Log > l.refused {", "ack.Log > 0 {"),
	metadataBug("incarnation of a log begun anew is given out again", "recopy.go", "TestLogBegunAnewHasAnIncarnationOfItsOwn",
		"\t\tm.putSiteLocked(&next)\n", "\t\t_ = next\n"),
	metadataBug("incarnation of a log begun anew is only the next one", "recopy.go", "TestLogBegunAnewHasAnIncarnationOfItsOwn",
		"p.Incarnation = uint32(s.Revision)", "p.Incarnation++"),
	metadataBug("copy of a topic that is set aside forgotten", "recopy.go", "TestLogBegunAnewHasAnIncarnationOfItsOwn", "\t\tadd(h.topic)\n", "\t\t_ = h\n"),
	{
		name: "two sites: archive of a dropped log thrown away by the next one", file: "broker/partition/shipping.go", pkg: "broker/partition",
		test: "TestArchiveOfADroppedLogCountsOnceItIs", old: "\tif err := s.withdraw(); err != nil {\n\t\treturn none, err",
		new: "\tif err := p.Withdraw(p.Topic()); err != nil {\n\t\treturn none, err",
	},
	lostRule("half a copy counts as whole", "broker/sites/recopy.go", "TestPartitionIsCopiedAnewByOrder",
		"\t_, _, anew := t.Partitions[id.Partition].RecopiedFrom()\n\treturn anew", "\treturn false"),
	lostRule("log dropped without an archive", "broker/sites/recopy.go", "TestHaltedLinkRunsAgainAfterARecopy",
		"err := shipped.StageAnew(ctx, from, epoch); err != nil", "err := error(nil); err != nil"),
	{
		name: "two sites: green with a topic that the standby has not heard of", file: "broker/sites/operator/health.go",
		old: "case !f.Metadata.current():", new: "case false:", pkg: "broker/sites/operator", test: "TestStatusIsGreenOnlyWhenAllIsWell",
	},
}

// lostRule is a bug in what becomes of what only the lost site had.
func lostRule(name, file, test, old, new string) bug {
	return bug{name: "two sites: " + name, file: file, old: old, new: new, pkg: "broker", test: test}
}
