package main

// serverBugs are about buffers that idle connections give back, and about turns between connections.
var serverBugs = []bug{
	{
		name: "input: bytes given up with the buffer", file: "broker/server/input.go",
		old: "in.wait != nil && in.buffered() == 0", new: "in.wait != nil",
		pkg: "broker/server", test: "TestInputReadsWhatIsThere",
	},
	{
		name: "input: buffer kept while idle", file: "broker/server/input.go",
		old: "\t\tin.turns = 0\n\t\tin.release()\n", new: "\t\tin.turns = 0\n",
		pkg: "broker/server", test: "TestInputHoldsNoBufferWhileItWaits",
	},
	{
		name: "output: buffer given back with bytes in it", file: "broker/server/writer.go",
		old: "w.kept != nil && len(w.buf) == 0", new: "w.kept != nil",
		pkg: "broker/server", test: "TestWriterGivesItsBufferBack",
	},
	{
		name: "output: begins anew where the kernel sends no more of a file", file: "broker/server/writer.go",
		old: "pos, n = pos+sent, n-sent", new: "n -= 0 * sent",
		pkg: "broker/server", test: "TestFiles",
	},
	{
		name: "input: a client that never pauses keeps its turn", file: "broker/server/input.go",
		old: "\t\tin.yield()\n", new: "",
		pkg: "broker/server", test: "TestInputLetsOthersRun",
	},
	{
		name: "collector: garbage of idle clients grows fourfold", file: "cmd/tandem/collector.go",
		old: "room -= min(room, m.live+m.stacks)", new: "room -= min(room, m.live)",
		pkg: "cmd/tandem", test: "TestCollectorPaceFollowsTheLiveHeapAndTheStacks",
	},
}
