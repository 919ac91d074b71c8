package main

// holeBugs lose parts of a log that nothing in its segments misses.
var holeBugs = []bug{
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
		old: "\tif err := g.store.commits.commit(g.id, cp); err != nil {\n\t\treturn g.store.fatal(err)\n\t}\n\tswitch", new: "\t_ = cp\n\tswitch",
		pkg: "storage", test: "TestPowerLossDuringReplacement",
	},
	{
		name: "interrupted replacement of segments not finished", file: "storage/log/sealed.go",
		old: "return r.cp.Replacing.finish(r.l.fsys, r.l.dir, bases)", new: "return nil",
		pkg: "storage", test: "TestPowerLossDuringReplacement",
	},
}
