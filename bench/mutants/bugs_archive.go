package main

// archiveBugs lose, double or invent records in the archives of a returning site.
var archiveBugs = []bug{
	archived("batches not synced before it is staged", "copier.go", "TestPowerLossAtEveryCall",
		"if err := c.file.Sync(); err != nil {", "if err := error(nil); err != nil {"),
	archived("document not synced before it is staged", "files.go", "TestPowerLossAtEveryCall",
		"err = f.Sync()", "err = nil"),
	archived("names of its files not synced before it is staged", "stage.go", "TestPowerLossAtEveryCall",
		"if err := a.fs.SyncDir(dir); err != nil {", "if err := error(nil); err != nil {"),
	archived("folder of all archives not synced", "stage.go", "TestPowerLossAtEveryCall",
		"if err := a.fs.SyncDir(path.Dir(a.root)); err != nil {", "if err := error(nil); err != nil {"),
	archived("rename not synced", "settle.go", "TestDurableOnReturn",
		"if err == nil {\n\t\terr = a.fs.SyncDir(a.root)\n\t}\n", ""),
	archived("rename of an earlier process not synced", "archives.go", "TestSealIsDurableForAnEarlierProcess",
		"if err := a.fs.SyncDir(a.root); err != nil {", "if err := error(nil); err != nil {"),
	archived("counts without its cut", "settle.go", "TestPowerLossAtEveryCall",
		"if n.cut != logCut {", "if n.cut.Offset < 0 {"),
	archived("offset of the cut not looked at", "settle.go", "TestPowerLossAtEveryCall",
		"if n.cut != logCut {", "if n.cut.SiteEpoch != logCut.SiteEpoch {"),
	archived("site epoch of the cut not looked at", "settle.go", "TestPowerLossAtEveryCall",
		"if n.cut != logCut {", "if n.cut.Offset != logCut.Offset {"),
	archived("earlier one not settled first", "stage.go", "TestPowerLossAtEveryCall",
		"if err := a.settle(t.Partition, t.LogCut); err != nil {", "if err := error(nil); err != nil {"),
	archived("earlier one thrown away", "stage.go", "TestPowerLossAtEveryCall",
		"if err := a.settle(t.Partition, t.LogCut); err != nil {", "if err := a.settle(t.Partition, entry.Cut{Offset: -1}); err != nil {"),
	archived("copied under the name of a whole one", "stage.go", "TestPowerLossAtEveryCall",
		"dir := path.Join(a.root, id+suffixUnfinished)", "dir := path.Join(a.root, id+suffixStaged)",
		"a.renameLocked(id+suffixUnfinished, id+suffixStaged)", "a.renameLocked(id+suffixStaged, id+suffixStaged)"),
	archived("removed file by file under its own name", "settle.go", "TestPowerLossAtEveryRemoval",
		"if err := a.renameLocked(name, gone); err != nil {", "if err := a.fs.RemoveAll(path.Join(a.root, name)); err != nil {"),
	archived("copy that is short of the log end", "copier.go", "TestTailIsChecked",
		"return c.invalid(\"no batch at or above it, but the log ends at %d\", c.t.End)", "return c.finish()"),
	archived("damaged batch archived", "copier.go", "TestTailIsChecked",
		"if err := b.CheckCRC(); err != nil {", "if err := error(nil); err != nil {"),
	archived("records of the followed site archived as lost", "copier.go", "TestTailIsChecked",
		"case origin >= c.t.Cut.SiteEpoch:", "case origin > c.t.Cut.SiteEpoch:"),
	archived("reserve used up", "stage.go", "TestFullDisk", "left < a.opts.ReserveBytes {", "left < 0 {"),
	archived("space of a failed copy kept", "stage.go", "TestFullDisk",
		"a.fs.RemoveAll(path.Join(a.root, id+suffixUnfinished)); removed", "error(nil); removed"),
	archived("copy removed that is going on", "archives.go", "TestCopySurvivesAFailureOfAnotherCall",
		"case suffix == suffixUnfinished && a.mu.busy[n.key]:", "case suffix == suffixUnfinished && n.key.index < 0:"),
	archived("aborted records shown as committed", "survey.go", "TestTransactionsAreFlagged",
		"if i < len(d.aborted) && offset > d.aborted[i].from {", "if i > len(d.aborted) {"),
	archived("committed records shown as aborted", "survey.go", "TestTransactionsAreFlagged",
		"if i < len(d.aborted) && offset > d.aborted[i].from {", "if i < len(d.aborted) {"),
	archived("transactions decided beside damage", "survey.go", "TestDamageLeavesTransactionsUndecided",
		"offset > d.last || v.any() {", "offset > d.last {"),
	archived("damaged batch read", "reader.go", "TestEachDamagedByteIsNamed",
		"if err := batch.CheckCRC(); err != nil {", "if err := error(nil); err != nil {"),
	archived("damage outside the batches' own checksums not noticed", "survey.go", "TestEachDamagedByteIsNamed",
		"if err == nil && want != \"\" && crcText(sum) != want &&", "if err == nil && want == \"x\" && crcText(sum) != want &&"),
	archived("damaged document believed", "document.go", "TestDamagedDocumentHidesNoRecords", "got != want {", "got == \"\" && want != \"\" {"),
}

// archived is a bug of storage/archive; more are a second old and new text.
func archived(name, file, test, old, new string, more ...string) bug {
	b := bug{name: "archive: " + name, file: "storage/archive/" + file, old: old, new: new, pkg: "storage/archive", test: test}
	if len(more) == 2 {
		b.old2, b.new2 = more[0], more[1]
	}
	return b
}
