package main

// clientsBugs break what clients see of two sites.
var clientsBugs = []bug{
	{name: "clients of two sites: acknowledged without the lease", file: "broker/handler/produce.go", pkg: "broker/handler",
		test: "TestNothingIsAcknowledgedWithoutTheLease", old: "if !r.safe { //", new: "if !r.safe && r.expired { //"},
	{name: "clients of two sites: commit acknowledged without the lease", file: "broker/handler/sites.go", pkg: "broker/handler",
		test: "TestNothingIsAcknowledgedWithoutTheLease", old: "if err == nil && !s.mayAcknowledge() {", new: "if err == nil && !s.serves() {"},
	{name: "clients of two sites: topic acknowledged without the lease", file: "broker/handler/sites.go", pkg: "broker/handler",
		test: "TestNothingIsAcknowledgedWithoutTheLease", old: "if h.sites.mayAcknowledge() {\n\t\t\treturn results", new: "if h.sites.serves() {\n\t\t\treturn results"},
	{name: "clients of two sites: a standby takes a produce", file: "broker/handler/produce.go", pkg: "broker/handler",
		test: "TestStandbyTakesNoProduce", old: "h.locateLed(topic, out.id); out.code", new: "h.locate(topic, out.id); out.code"},
	{name: "clients of two sites: closed at once", file: "broker/handler/sites.go", pkg: "broker/handler",
		test: "TestStandbyTakesNoProduce", old: "\tif first == 0 {\n", new: "\tif first < 0 {\n"},
	{name: "clients of two sites: a standby creates topics by itself", file: "broker/handler/metadata.go", pkg: "broker/handler",
		test: "TestStandbyLeavesTheMetadataAlone", old: "if !h.sites.serves() || !h.config.AutoCreateTopics ||", new: "if !h.config.AutoCreateTopics ||"},
	{name: "clients of two sites: a standby changes configs", file: "broker/handler/alter_configs.go", pkg: "broker/handler",
		test: "TestStandbyLeavesTheMetadataAlone", old: "return !a.change.Resource.Broker || a.change.Resource.Name == \"\"",
		new: "return !a.change.Resource.Broker"},
	{name: "clients of two sites: a standby coordinates", file: "broker/handler/sites.go", pkg: "broker/handler",
		test: "TestStandbyCoordinatesNothing", old: "\tif !o.sites.serves() {\n\t\treturn nil, group.ErrNotCoordinator\n\t}\n", new: ""},
	{name: "clients of two sites: replica of unknown lag in sync", file: "broker/handler/metadata.go", pkg: "broker/handler",
		test: "TestMetadataOfTwoSites", old: "h.sites.InSync(away, hw) {", new: "h.sites.InSync(away, hw) || true {"},
}
