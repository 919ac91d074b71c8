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
		old: "tls.RequireAndVerifyClientCert", new: "tls.RequireAnyClientCert",
		pkg: "broker/config", test: "TestSitesTrustOnlyWhomTheyAreTold",
	},
	{
		name: "site without a host to compare trusts every authority", file: "broker/config/site_tls.go",
		old: "c.InsecureSkipVerify, c.VerifyConnection = true, k.checkServer", new: "c.InsecureSkipVerify = true",
		pkg: "broker/config", test: "TestSitesTrustOnlyWhomTheyAreTold",
	},
}
