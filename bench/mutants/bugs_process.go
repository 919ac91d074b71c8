package main

// processBugs break how a broker ends and starts.
var processBugs = []bug{
	{
		name: "fatal: the last line waits for its reader", file: "cmd/tandem/serve.go",
		old: "\t\t\ttime.AfterFunc(lastLineLimit, func() { os.Exit(exitFatal) })\n", new: "\t\t\t_ = lastLineLimit\n",
		old2: "\t\"time\"\n", new2: "\t\"time\"\n\t_ \"math\"\n",
		pkg: "cmd/tandem", test: "TestUnreadLogDoesNotKeepTheProcess",
	},
	{
		name: "fatal: storage goes on", file: "storage/store.go",
		old: "\t\t\ts.opts.OnFatal(err)\n", new: "\t\t\tgo s.opts.OnFatal(err)\n",
		pkg: "cmd/tandem", test: "TestFailedWriteEndsTheProcess",
	},
	{
		name: "fatal: a failure like any other", file: "cmd/tandem/serve.go",
		old: "\n\t\t\tos.Exit(exitFatal)\n", new: "\n\t\t\tos.Exit(exitFailed)\n",
		pkg: "cmd/tandem", test: "TestFailedWriteEndsTheProcess",
	},
	{
		name: "ready before interrupted creations are finished", file: "broker/controller/lifecycle.go",
		old: "\t\t\tcase <-t.tried:\n\t\t\tcase <-l.ctx.Done():\n\t\t\t\treturn\n\t\t\t}\n\t\t}\n\t\tclose(l.reconciled)",
		new: "\t\t\tdefault:\n\t\t\t\t_ = t\n\t\t\t}\n\t\t}\n\t\tclose(l.reconciled)",
		pkg: "broker/controller", test: "TestInterruptedCreation",
	},
	{
		name: "stop given up while the disk goes on", file: "broker/stop.go",
		old: "took >= l.patience && disk >= l.hung", new: "took >= l.patience",
		pkg: "broker", test: "TestStopLimits",
	},
	{
		name: "stop that hangs with the disk", file: "broker/stop.go",
		old: "if b.stopLimits.over(took, disk) {", new: "if b.stopLimits.over(took, 0*disk) {",
		pkg: "broker", test: "TestStopWithADiskThatHangs",
	},
}
