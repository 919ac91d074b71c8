package main

// pairBugs break what a broker does to be one of a pair of sites: its settings and its metadata.
var pairBugs = []bug{
	{
		name: "site listener serves Kafka's clients", file: "broker/config/site.go",
		old: "bound = slices.Delete(slices.Clone(bound), i, i+1)", new: "_ = bound",
		pkg: "broker/config", test: "TestSite",
	},
	{
		name: "site listener open where nothing says so", file: "broker/config/site.go",
		old: `protocol = "SSL"`, new: `protocol = "PLAINTEXT"`,
		pkg: "broker/config", test: "TestSiteRefused",
	},
	{
		name: "site takes whoever dials", file: "broker/config/site_tls.go",
		old: "ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted,", new: "ClientAuth: tls.RequireAnyClientCert, ClientCAs: trusted,",
		pkg: "broker/config", test: "TestSitesTrustOnlyWhomTheyAreTold",
	},
	{
		name: "site without a host to compare trusts every authority", file: "broker/config/site_tls.go",
		old: "c.InsecureSkipVerify, c.VerifyConnection = true, k.checkServer", new: "c.InsecureSkipVerify = true",
		pkg: "broker/config", test: "TestSitesTrustOnlyWhomTheyAreTold",
	},
	metadataBug("older metadata applied", "follow_plan.go", "TestWhatIsNotApplied",
		"case s.Followed && l.Version.Compare(now) < 0:", "case false:"),
	metadataBug("metadata of a lost active applied", "follow_plan.go", "TestWhatIsNotApplied",
		"s.Role.Role != site.Standby || l.Version.Epoch != s.Role.Epoch:", "s.Role.Role != site.Standby:"),
	metadataBug("changes applied over a gap", "follow_plan.go", "TestWhatIsNotApplied",
		"(!s.Followed || l.Base.Compare(now) > 0)", "!s.Followed"),
	metadataBug("machine takes another topic of the same name", "follow.go", "TestRecreatedTopicIsAnother",
		"ok && !removed[other.ID] || names[t.Name]", "ok && other == nil || names[t.Name]"),
	metadataBug("local facts shipped", "logical.go", "TestSitesAgreeOnTheirMetadata",
		"l.Cluster = maps.Clone(m.mu.configs[clusterResource])", "l.Cluster = maps.Clone(m.mu.configs[clusterResource])\n\t\tmaps.Copy(l.Cluster, m.mu.configs[brokerResource(m.node)])"),
	metadataBug("data of a deleted topic gone before its time", "hidden.go", "TestDeletionCanBeUndone",
		"return at+p.Delay <= p.Now", "return at <= p.Now"),
	metadataBug("deletion that came from the active is at once", "follow.go", "TestSitesAgreeOnTheirMetadata",
		"then(m.hideLocked(t, r.At, r.Lost))", "_ = r.At"),
	metadataBug("standby changes its metadata by itself", "site_record.go", "TestOnlyTheActiveSiteChangesTheMetadata",
		"case s.Role.Role != site.Active:\n\t\treturn refuse", "case false:\n\t\treturn refuse"),
	metadataBug("metadata changes behind the begin of a switchover", "site_record.go", "TestOnlyTheActiveSiteChangesTheMetadata",
		"case s.Role.Fencing != 0:", "case false:"),
	metadataBug("site record taken back", "site_record.go", "TestSiteRecordNeverGoesBack",
		"case r.Epoch < o.Epoch || r.Seen < o.Seen", "case r.Seen < o.Seen"),
	metadataBug("foreign data set aside", "follow_plan.go", "TestForeignDataIsNotTouched",
		"case !s.Joined:", "case false:"),
	metadataBug("topics that a site does not ship set aside", "follow_plan.go", "TestConflictIsReported",
		"p.Whole && p.controller.ships(t.Name))", "p.Whole)"),
	metadataBug("partition added after a promotion starts at 0", "machine.go", "TestLoserKeepsWhatOnlyItHad",
		"m.mu.site.epoch(), entry.BandStart(m.mu.site.epoch())", "m.mu.site.epoch(), 0"),
	metadataBug("new topic waits for the folder of one that was set aside", "lifecycle.go", "TestSetAsideTopicsKeepTheirData",
		"spec.OwnFolder = taken", "_ = taken"),
	metadataBug("crash brings a topic's old name back", "lifecycle.go", "TestSetAsideTopicsKeepTheirData",
		"l.rename(p, t.Name)\n\t\t\tp.SetConfig(t.Config)\n\t\t}\n\t}", "p.SetConfig(t.Config)\n\t\t}\n\t}"),
	metadataBug("settings take another site's data directory", "site_open.go", "TestFirstStartDecidesOnTheSite",
		"case ok && s.Name != r.Name:", "case false:"),
	metadataBug("plan of other metadata applied", "follow.go", "TestPlanOfOtherMetadataIsRefused",
		"if s.Revision != c.Revision {", "if false {"),
}

// metadataBug is a bug in what the sites have of each other's metadata.
func metadataBug(name, file, test, old, new string) bug {
	return bug{name: "pair: " + name, file: "broker/controller/" + file, old: old, new: new, pkg: "broker/controller", test: test}
}
