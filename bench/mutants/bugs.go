package main

// bugs are in the order of the rules that they break. Each names the test that is there to catch it.
var bugs = []bug{
	{
		name: "stale entry accepted", file: "storage/entry/admit.go",
		old: "case h.ValidatedTerm != raftTerm:", new: "case h.ValidatedTerm > raftTerm:",
		pkg: "./storage/entry", test: "TestAdmitRefuses",
	},
	{
		name: "void counts in the sequence", file: "storage/entry/admit.go",
		old: "case Void:\n\t\treturn nil", new: "case Void:",
		pkg: "./storage/entry", test: "TestVoidDoesNotAdvanceTheSequence",
	},
	{
		name: "base offset = LEO on follower", file: "storage/entry/admit.go",
		old: "if r.BaseOffset < s.NextOffset {", new: "if r.BaseOffset != s.NextOffset {",
		pkg: "./storage/entry", test: "TestAdvanceRefusesToGoBack",
	},
}
