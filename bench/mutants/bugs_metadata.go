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
	{
		name: "two sites: green with a topic that the standby has not heard of", file: "broker/sites/operator/health.go",
		old: "case !f.Metadata.current():", new: "case false:", pkg: "broker/sites/operator", test: "TestStatusIsGreenOnlyWhenAllIsWell",
	},
}
