package main

import (
	"bufio"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"time"
)

// TestProgramsShowTheSameRecord: a record has the same hash however a client shows it.
func TestProgramsShowTheSameRecord(t *testing.T) {
	s := &suite{java: &java{}}
	text := content{key: []byte("k"), value: []byte("a value")}
	for _, test := range []struct {
		name    string
		program memberProgram
		output  string
		want    content
	}{
		{"contract", contractProgram{}, "t 1 2 3 aw== YSB2YWx1ZQ==\n", text},
		{"contract, null and empty", contractProgram{}, "t 1 2 3 - \n", content{value: []byte{}}},
		{"contract, headers", contractProgram{}, "t 1 2 3  - Y2xpZW50=eA== bg===-\n",
			content{key: []byte{}, headers: []nameValue{{"client", []byte("x")}, {"n", nil}}}},
		{"kcat", kcatProgram{}, "t 1 2 3 1 7 \nka value\n", text},
		{"kcat, null key, binary value", kcatProgram{}, "t 1 2 3 -1 3 client=x\n\n \x00\n", content{value: []byte("\n \x00"), headers: []nameValue{{"client", []byte("x")}}}},
		{"kcat, empty key, null value", kcatProgram{}, "t 1 2 3 0 -1 \n\n", content{key: []byte{}}},
		{"kafka-console-consumer", consoleMember{s}, "CreateTime:3\tPartition:1\tOffset:2\tk\ta value\n", text},
		{"kafka-verifiable-consumer", verifiableMember{s}, `{"name":"startup_complete"}
{"timestamp":9,"name":"record_data","key":"k","value":"a value","topic":"t","partition":1,"offset":2}
`, text},
	} {
		out := bufio.NewReader(strings.NewReader(test.output + "half a reco"))
		got, err := test.program.next(out)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got.hashes != test.want.hashes() || got.partition != 1 || got.offset != 2 || got.timestamp != 3 && got.timestamp != -1 {
			t.Errorf("%s: read %+v, want the hashes of %q", test.name, got, test.want.text())
		}
		if _, err := test.program.next(out); err != io.EOF {
			t.Errorf("%s: half a record: %v", test.name, err)
		}
	}
	empty, null := content{key: []byte{}}.hashes(), content{}.hashes()
	if empty.hash == null.hash || empty.bare != null.bare || empty.bare == text.hashes().bare {
		t.Error("hashes do not tell empty from null, or the bare ones do")
	}
}

// TestCheckSentNotices holds a log against what was sent.
func TestCheckSentNotices(t *testing.T) {
	now := time.Now()
	sent := map[[sha256.Size]byte]sentRecord{}
	var records []content
	for n, value := range []string{"a", "b", "c"} {
		records = append(records, content{value: []byte(value)})
		sent[records[n].hashes().hash] = sentRecord{"cell", n}
	}
	log := func(order ...int) map[position]reading {
		readings := map[position]reading{}
		for offset, n := range order {
			at := position{"t", 0, int64(offset)}
			readings[at] = reading{at, now.UnixMilli(), records[n].hashes()}
		}
		return readings
	}
	late, foreign := log(0, 1, 2), log(0, 1, 2)
	at := position{"t", 0, 1}
	late[at] = reading{at, now.Add(time.Hour).UnixMilli(), late[at].hashes}
	at = position{"t", 1, 0}
	foreign[at] = reading{at, now.UnixMilli(), content{key: []byte("x")}.hashes()}
	for _, test := range []struct {
		name string
		log  map[position]reading
		want string
	}{
		{"all", log(0, 1, 2), ""},
		{"lost", log(0, 2), "not in the log"},
		{"twice", log(0, 1, 1, 2), "record 1 of cell is at"},
		{"out of order", log(1, 0, 2), "behind its record 1"},
		{"wrong time", late, "has time"},
		{"not sent", foreign, "nobody sent"},
	} {
		err := checkSent(test.log, sent, now)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// TestSawNotices: two members of a group that read different records at one place.
func TestSawNotices(t *testing.T) {
	at := position{"t", 0, 7}
	empty, null := content{key: []byte{}}.hashes(), content{}.hashes()
	strict, loose := &member{player: player{family: &family{}}}, &member{player: player{family: &family{emptyIsNull: true}}}
	for _, test := range []struct {
		name string
		m    *member
		r    reading
		fine bool
	}{
		{"the same", strict, reading{at, 5, empty}, true},
		{"no time", strict, reading{at, -1, empty}, true},
		{"another time", strict, reading{at, 6, empty}, false},
		{"null for empty", strict, reading{at, 5, null}, false},
		{"null for empty, from a client that does so", loose, reading{at, 5, null}, true},
	} {
		g := &group{s: &suite{matrix: &matrix{readings: map[position]reading{at: {at, 5, empty}}}}}
		g.mu.seen = map[position]*sighting{at: {reading: reading{at, 5, empty}, by: []*member{strict}}}
		if err := g.saw(test.m, test.r); (err == nil) != test.fine {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestCellsSendWhatIsEasilyGotWrong: null, empty, binary and big records are among those of every cell, where its client can.
func TestCellsSendWhatIsEasilyGotWrong(t *testing.T) {
	for _, textual := range []bool{false, true} {
		c := cell{client{family: &family{name: "f", textual: textual}}, "gzip", true}
		records, err := c.records(64)
		if err != nil {
			t.Fatal(err)
		}
		var nulls, empties, binary, big int
		distinct := map[hashes]bool{}
		for _, r := range records {
			distinct[r.hashes()] = true
			for _, field := range [][]byte{r.key, r.value} {
				switch {
				case field == nil:
					nulls++
				case len(field) == 0:
					empties++
				case strings.ContainsAny(string(field), "\x00\n"):
					binary++
				case len(field) == bigValueBytes:
					big++
				}
			}
		}
		if len(distinct) != 64 || nulls != 2 || big != 1 || (empties == 2 && binary == 1) == textual {
			t.Errorf("textual %v: %d distinct, %d null, %d empty, %d binary, %d big", textual, len(distinct), nulls, empties, binary, big)
		}
	}
}
