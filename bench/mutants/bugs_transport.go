package main

// transportBugs break the connections between two sites.
var transportBugs = []bug{
	transportRule("body's checksum not checked", "frame.go", "TestFlippedBitIsNeverDelivered",
		"if crc32.Checksum(body, entry.Castagnoli) != h.crc {", "if h.crc != h.crc|crc32.Checksum(nil, entry.Castagnoli) {"),
	transportRule("length believed without its checksum", "frame.go", "TestFlippedBitIsNeverDelivered",
		"if crc32.Checksum(b[:12], entry.Castagnoli) != binary.BigEndian.Uint32(b[12:]) {", "if len(b) < 16 {"),
	transportRule("sender ignores the credit", "writer.go", "TestSenderStopsAtTheCredit",
		"if len(m.big) == 0 || c.sent >= m.allowed {", "if len(m.big) == 0 {"),
	transportRule("receiver takes more than it gave credit for", "conn.go", "TestOverrunningTheCreditEndsTheSession",
		"if c.received >= granted {", "if granted == 0 {"),
	transportRule("credit held back for ever", "conn.go", "TestSlowReceiverStopsTheSender",
		"if now-c.mu.granted >= (window+7)/8 {", "if now-c.mu.granted > 2*window {"),
	transportRule("credit without a release", "conn.go", "TestSlowReceiverStopsTheSender",
		"c.received += uint64(cost)\n", "c.received += uint64(cost)\n\tc.release(cost)\n"),
	transportRule("payload reused before its release", "conn.go", "TestSlowReceiverStopsTheSender",
		"\tc.t.options.Receive(c.s.id, m, c.releaser(buffer, cost))\n", "\tc.t.options.Receive(c.s.id, m, c.releaser(nil, cost))\n\tbuffer.Release()\n"),
	transportRule("peer's refusal ignored", "accept.go", "TestNothingIsBelievedBeforeTheVerdicts",
		"if verdict = c.readVerdict(); verdict == nil {", "if _ = c.readVerdict(); verdict == nil {"),
	transportRule("own refusal ignored", "accept.go", "TestNothingIsBelievedBeforeTheVerdicts",
		"if err := t.welcomes(mine, peer, \"\"); err != nil {", "if err := t.welcomes(mine, peer, \"\"); err != nil && peer.index > 0 {"),
	transportRule("another cluster is welcome", "handshake.go", "TestRefusalsAreShownOnBothSides",
		" && self.ClusterID != peer.ClusterID:", " && false:"),
	transportRule("node ids of both sites", "handshake.go", "TestRefusalsAreShownOnBothSides",
		"if n == self.Node || slices.Contains(self.Nodes, n) {", "if n == -1 {"),
	transportRule("data connection of another boot", "session.go", "TestDataConnectionNeedsItsSession",
		"return formingKey{s.id, uint64(s.peer.Boot), s.peer.session}", "return formingKey{s.id, 0, s.peer.session}"),
	transportRule("each side prefers its own", "session.go", "TestBothSidesPreferTheSameSession",
		"return s.dialled == s.lower\n", "return s.dialled || s.lower && false\n"),
	transportRule("sessions of a peer overlap", "session.go", "TestSessionsOfAPeerFollowEachOther",
		"<-s.before.ended // or", "_ = s.before.ended // or"),
	transportRule("silence is not noticed", "conn.go", "TestHalfOpenIsNoticed",
		"if c.s != nil { // else", "if c.s == nil { // else"),
	transportRule("slow link given up", "writer.go", "TestSlowLinkIsNotGivenUp",
		"n := min(len(head), writeBytesMax)\n\t\tm := min(len(tail), writeBytesMax-n)", "n, m := len(head), len(tail)"),
	transportRule("no end of silent strangers", "accept.go", "TestStrangersHoldNothing",
		"if len(t.mu.opening) >= handshakesMax {", "if len(t.mu.opening) < 0 {"),
	transportRule("zstd unpacks without a bound", "compress.go", "TestZstdIsBounded",
		"zstd.WithDecodeAllCapLimit(true)", "zstd.WithDecodeAllCapLimit(false)"),
	transportRule("data in front of control messages", "transport.go", "TestControlIsNeverBehindData",
		"return s.conns[0].queue(m, done)", "return s.conns[1].queueBig(outgoing{m, brokerHeadLen, done})"),
	{
		name: "site link: spans of a lineage in any order", file: "replication/site/codec.go",
		old: "s.SiteEpoch < epochsMax && (i == 0 || s.SiteEpoch > l.Spans[i-1].SiteEpoch)", new: "(i == 0 || s.SiteEpoch < epochsMax)",
		pkg: "replication/site", test: "TestDecodeRefuses",
	},
}

func transportRule(name, file, test, old, new string) bug {
	return bug{name: "site link: " + name, file: "replication/transport/" + file, old: old, new: new, pkg: "replication/transport", test: test}
}
