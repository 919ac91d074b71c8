package main

// budgetBugs leave one thing out of what the walk counts as the memory of a decoded request, or let more than the budget pass
// (hazard K2).
var budgetBugs = []bug{
	{
		name: "K2 budget: not enforced", file: "protocol/wire/walk.go",
		old: "if w.memory > w.budget {", new: "if w.memory > w.budget+1<<60 {",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: factor", file: "protocol/wire/walk.go",
		old: "min(decodeFactor*int64(n), decodeMax)", new: "min(2*decodeFactor*int64(n), decodeMax)",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: most", file: "protocol/wire/walk.go",
		old: "min(decodeFactor*int64(n), decodeMax)", new: "decodeFactor*int64(n)",
		pkg: "protocol/wire", test: "TestLargeProduceOfTinyPartitions",
	},
	{
		name: "K2 budget: slack", file: "protocol/wire/walk.go",
		old: "decodeMax) + decodeSlack", new: "decodeMax) + 8*decodeSlack",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: elements of arrays", file: "protocol/wire/walk.go",
		old: "\tw.charge(int64(max(count, 0)) * int64(f.memory))\n", new: "",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: strings", file: "protocol/wire/walk.go",
		old: "w.charge(int64(length) + stringOverhead)", new: "w.charge(0)",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: rounding of strings", file: "protocol/wire/walk.go",
		old: "w.charge(int64(length) + stringOverhead)", new: "w.charge(int64(length))",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: structs that may be null", file: "protocol/wire/walk.go",
		old: "\t\t\tw.charge(int64(f.memory))\n", new: "",
		pkg: "protocol/wire", test: "TestStructsThatMayBeNullAreEstimated",
	},
	{
		name: "K2 budget: map of unknown tags", file: "protocol/wire/walk.go",
		old: "w.charge(tagMapMemory)", new: "w.charge(0)",
		pkg: "protocol/wire", test: "TestFloodsStayInBudget",
	},
	{
		name: "K2 budget: unknown tags", file: "protocol/wire/walk.go",
		old: "w.charge(tagEntryMemory)", new: "w.charge(0)",
		pkg: "protocol/wire", test: "TestUnknownTagsStayInBudget",
	},
	{
		name: "K2 budget: known tags", file: "protocol/wire/walk.go",
		old: "\tinner.charge(int64(f.memory)) ", new: "\t",
		pkg: "protocol/wire", test: "TestRepeatedTagsStayInBudget",
	},
	{
		name: "K2 budget: inside of known tags", file: "protocol/wire/walk.go",
		old: "\tw.memory, w.elements = inner.memory, inner.elements\n", new: "\tw.elements = inner.elements\n",
		pkg: "protocol/wire", test: "TestRepeatedTagsStayInBudget",
	},
	{
		name: "memory of answers about many names not reserved", file: "protocol/wire/decode.go",
		old: "+ int64(got.elements)*api.ElementMemory, nil", new: ", nil",
		pkg: "broker/handler", test: "TestAnswersAboutManyNamesTakeWhatIsReserved",
	},
	{
		name: "names of inner arrays not counted", file: "protocol/wire/walk.go",
		old: "\tw.elements += max(count, 0)\n", new: "\tw.elements = max(w.elements, count)\n",
		pkg: "broker/handler", test: "TestTooManyNamesAreRefusedBeforeTheyAreDecoded",
	},
	{
		name: "records made of a commit that no batch has room for", file: "broker/group/offsets.go",
		old: "e.bytes > s.batchLimit() {", new: "e.bytes < 0 {",
		pkg: "broker/handler", test: "TestAnswersAboutManyNamesTakeWhatIsReserved",
	},
}
