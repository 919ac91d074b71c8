package main

// operatorBugs break what the operator of two sites is told, and what is demanded before records are put at risk.
var operatorBugs = []bug{
	{
		name: "old report taken for how it stands now", file: "broker/sites/operator/facts.go",
		old: "f.Quiet <= quietMax && !f.late()", new: "f.Quiet <= quietMax",
		pkg: "broker/sites/operator", test: "TestLagOfASilentActiveIsUnknown",
	},
	{
		name: "operator request listed to every client", file: "protocol/wire/api_versions.go",
		old: "for _, api := range apis {", new: "for _, api := range append(APIs(), ownAPIs[:]...) {",
		pkg: "protocol/wire", test: "TestOwnAPIsAreNotAdvertised",
	},
	{
		name: "unknown option of an order passed over", file: "broker/sites/operator/serve.go",
		old: "decoder.DisallowUnknownFields()", new: "",
		pkg: "broker/sites/operator", test: "TestServeRefusesWhatItDoesNotKnow",
	},
	{
		name: "failover beside an active that can be reached", file: "broker/sites/operator/decide.go",
		old: "case f.Connected && there.Known && there.Role == site.Active:", new: "case f.Connected && !o.ActiveIsDown && there.Known && there.Role == site.Active:",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "failover waits for what only the lost site had", file: "broker/sites/orders.go",
		old: "if !ok || !t.Has(b.Index) || !p.options.Config.Ships(t.Name) {\n\t\t\tcontinue\n\t\t}", new: "if !ok || !t.Has(b.Index) {\n\t\t\tcontinue\n\t\t}",
		pkg: "cmd/tandem", test: "TestFailoverWithoutATopicThatIsLeftOut",
	},
	{
		name: "two failovers decided at a time", file: "broker/sites/dr.go",
		old: "\td.p.ordering.Lock()\n\tdefer d.p.ordering.Unlock()\n\tif known, ok := d.p.orders.known(d.p, o.ID); ok && !o.DryRun {\n\t\treturn known, nil\n\t}\n",
		new: "\tif known, ok := d.p.orders.known(d.p, o.ID); ok && !o.DryRun {\n\t\treturn known, nil\n\t}\n\td.p.orders.end(d.p, operator.Failed, \"replaced\")\n",
		pkg: "cmd/internal/dr", test: "TestSeveralOperatorsOrderTheSame",
	},
	{
		name: "no way out of a switchover to a site that is gone", file: "broker/sites/operator/decide.go",
		old: "case f.going() && !f.overrides(o):", new: "case f.going() && !(f.Here.Waiting && o.ActiveIsDown):",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "failover amid a switchover that goes on", file: "broker/sites/operator/decide.go",
		old: "!f.Connected && f.Order != nil", new: "f.Order != nil",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "site that was overtaken says that it loses nothing", file: "broker/sites/operator/facts.go",
		old: "return f.Here.Role == site.Active && !f.overtaken() }", new: "return f.Here.Role == site.Active }",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "report as new as its arrival", file: "broker/sites/talk.go",
		old: "return p.driver.began.Add(s.Echo)", new: "return p.options.Now()",
		pkg: "broker/sites", test: "TestAgeOfAReport",
	},
	{
		name: "green before lost topics are archived", file: "broker/sites/operator/health.go",
		old: "n := f.Metadata.Archiving; n > 0", new: "n := f.Metadata.Archiving; n > 2",
		pkg: "broker/sites/operator", test: "TestStatusIsGreenOnlyWhenAllIsWell",
	},
	{
		name: "green at the standby before the active has archived lost topics", file: "broker/sites/facts.go",
		old: "m.Archiving += h.Archiving", new: "m.Archiving += 0 * h.Archiving",
		pkg: "broker", test: "TestNeitherSiteIsGreenBeforeAnActiveHasArchivedWhatWasLost",
	},
	{
		name: "copy whole whatever the other site wrote before", file: "broker/sites/handover.go",
		old: "&& told.Planned", new: "",
		pkg: "broker/sites", test: "TestSiteThatHandedOverHasACopy",
	},
	{
		name: "nothing lost where nobody was asked", file: "broker/sites/operator/report.go",
		old: "case !planned && before.unasked():", new: "case false:",
		pkg: "broker/sites/operator", test: "TestReportOfAnActiveThatHasAskedNobody",
	},
	{
		name: "loss of a partition counted from a record's timestamp", file: "broker/sites/operator/report.go",
		old: "promoted.Sub(end.At)", new: "promoted.Sub(p.Shipped.At)",
		pkg: "broker/sites/operator", test: "TestReportKnowsThatWhatWasShippedExisted",
	},
	{
		name: "lag of a silent active as it was", file: "broker/sites/operator/facts.go",
		old: "return f.Connected && f.Quiet <= quietMax", new: "return f.Connected",
		pkg: "broker/sites/operator", test: "TestLagOfASilentActiveIsUnknown",
	},
	{
		name: "unknown silence taken for a short one", file: "broker/sites/operator/decide.go",
		old: "silence, known := f.silence(); !known {", new: "silence, known := f.silence(); false && !known {",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "failover of a half-copied standby unasked", file: "broker/sites/operator/decide.go",
		old: "case c.Copying > 0:\n\t\tall", new: "case c.Copying > c.All:\n\t\tall",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "failover waits for a lease that nobody has", file: "broker/sites/operator/decide.go",
		old: "!f.ActiveLeased || ", new: "",
		pkg: "broker/sites/operator", test: "TestDecideFailover",
	},
	{
		name: "unknown lag of a partition left out of the sum", file: "broker/sites/operator/facts.go",
		old: "\t\t\treturn nil\n\t\t}\n\t\tif i == 0", new: "\t\t\tcontinue\n\t\t}\n\t\tif i == 0",
		pkg: "broker/sites/operator", test: "TestUnknownLagIsNeverZero",
	},
	{
		name: "lag of before shown as that of now", file: "broker/sites/operator/health.go",
		old: "s.Lag = nil // what", new: "// what",
		pkg: "broker/sites/operator", test: "TestUnknownLagIsNeverZero",
	},
	{
		name: "replay writes records of aborted transactions", file: "cmd/internal/dr/replay.go",
		old: `if out.Transaction != "none" && out.Transaction != "committed" {`, new: `if out.Transaction == "undecided" {`,
		pkg: "cmd/internal/dr", test: "TestReplay",
	},
	{
		name: "lag at which produces are held is green", file: "broker/sites/operator/health.go",
		old: "case p.LagMax > 0 && p.Lag.Ms != nil &&", new: "case p.LagMax > lagMax && p.Lag.Ms != nil &&",
		pkg: "broker/sites/operator", test: "TestStatusIsGreenOnlyWhenAllIsWell",
	},
	{
		name: "topic that is left out is told to be watched", file: "broker/sites/operator/health.go",
		old: "\tf.leftOutReason(add)", new: "\tdefer f.leftOutReason(add)",
		pkg: "broker/sites/operator", test: "TestStatusIsGreenOnlyWhenAllIsWell",
	},
	{
		name: "active that was put back from a copy is nothing", file: "broker/sites/troubles.go",
		old: "there.Version.Compare(here) <= 0", new: "there.Version.Compare(here) != 0",
		pkg: "cmd/tandem", test: "TestActiveWithAnOldDataDirectory",
	},
	{
		name: "replay of records that are too old", file: "cmd/internal/dr/producer.go",
		old: "kgo.ManualFlushing(), ", new: "kgo.ManualFlushing(), kgo.RecordDeliveryTimeout(produceTimeout), ",
		pkg: "cmd/internal/dr", test: "TestProducerOfLostRecords",
	},
	{
		name: "replay in batches of one size", file: "cmd/internal/dr/producer.go",
		old: "n > 1 && tooLarge(err)", new: "n < 1 && tooLarge(err)",
		pkg: "cmd/internal/dr", test: "TestProducerOfLostRecords",
	},
	{
		name: "no answer taken for a yes", file: "cmd/internal/dr/command.go",
		old: `a != "yes" && a != "y"`, new: `a == "n"`,
		pkg: "cmd/internal/dr", test: "TestTranscripts",
	},
	{
		name: "sites compared beyond what is durable", file: "broker/sites/verify/sum.go",
		old: "view.Lineage.LogStart, d.NextOffset", new: "view.Lineage.LogStart, view.Tip.NextOffset",
		pkg: "broker/sites/verify", test: "TestOnlyWhatBothHaveIsCompared",
	},
	{
		name: "sites compared without leader epochs", file: "broker/sites/verify/sum.go",
		old: "binary.BigEndian.PutUint32(head[16:], uint32(row.LeaderEpoch))", new: "",
		pkg: "broker/sites/verify", test: "TestFirstDifferenceIsNamed",
	},
	{
		name: "returning site compared before its tail is cut", file: "broker/sites/verify/sum.go",
		old: "case d.Role == entry.Following && d.Shared == entry.UnknownOffset:", new: "case false:",
		pkg: "broker/sites/verify", test: "TestWhatCannotBeComparedIsTold",
	},
	{
		name: "rest of a lost record at the end of a page forgotten", file: "broker/sites/lost/lost.go",
		old: "next.Byte += int64(n)", new: "next.Offset++",
		pkg: "broker/sites/lost", test: "TestPagesOfAnySizeGiveTheSameRecords",
	},
	{
		name: "order that is sent again begun again", file: "broker/sites/orders.go",
		old: `if id == "" {
		return operator.Order{}, false
	}
	return o.find(p, id)`, new: `return operator.Order{}, false`,
		pkg: "cmd/internal/dr", test: "TestSwitchoverOfTwoSites",
	},
	{
		name: "report takes what was written since for where a site epoch began", file: "broker/sites/link.go",
		old: "return tip.Base\n", new: "return tip.NextWrite() + 1\n",
		pkg: "cmd/internal/dr", test: "TestSwitchoverOfTwoSites",
	},
	{
		name: "site that is swallowed by the network counts as there", file: "broker/sites/peers.go",
		old: "reachablePatience = 3 * time.Second", new: "reachablePatience = time.Hour",
		pkg: "cmd/internal/dr", test: "TestFailoverFromASiteThatAnswersNoMore",
	},
	{
		name: "order of an earlier run given up without a word", file: "broker/sites/orders.go",
		old: `	o.begin(kind, "", nil, now, to)
`, new: "\t_ = to\n", pkg: "broker", test: "TestOrderOfAnEarlierRunIsGivenUp",
	},
}
