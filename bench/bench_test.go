package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The tests below run the real children, which are this very binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if child, ok := children()[os.Args[1]]; ok {
			child(os.Args[2:])
			return
		}
	}
	os.Exit(m.Run())
}

func TestBatchesAreWhatAClientSends(t *testing.T) {
	for size, records := range map[int]int{200: 1, 1 << 10: 1, 64 << 10: 63, 1 << 20: 1023} {
		raw := makeBatch(size, 7)
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		if int(b.NumRecords) != records || int(b.LastOffsetDelta) != records-1 || b.Magic != 2 || int(b.Length) != len(raw)-12 {
			t.Fatalf("%d bytes: %d records", size, b.NumRecords)
		}
		if uint32(b.CRC) != crc32.Checksum(raw[21:], castagnoli) {
			t.Fatalf("%d bytes: CRC", size)
		}
		if len(raw) > size || size-len(raw) >= recordLen {
			t.Fatalf("%d bytes wanted, %d made", size, len(raw))
		}
		rest := b.Records
		for i := range records {
			n, used := binary.Varint(rest)
			var r kmsg.Record
			if err := r.ReadFrom(rest[:used+int(n)]); err != nil || int(r.OffsetDelta) != i || r.Key != nil || len(r.Value) == 0 {
				t.Fatalf("%d bytes: record %d: %v", size, i, err)
			}
			if size > 2*recordLen && used+int(n) != recordLen {
				t.Fatalf("record %d takes %d bytes", i, used+int(n))
			}
			rest = rest[used+int(n):]
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes left over", len(rest))
		}
	}
}

func TestEndOffset(t *testing.T) {
	one := makeBatch(4<<10, 1) // three records
	two := bytes.Clone(one)
	binary.BigEndian.PutUint64(two, 40)
	next, n, err := endOffset(append(bytes.Clone(one), two...))
	if err != nil || next != 43 || n != len(one)+len(two) {
		t.Fatal(next, n, err)
	}
	next, n, err = endOffset(append(bytes.Clone(one), two[:100]...))
	if err != nil || next != 3 || n != len(one) {
		t.Fatal("a part of a batch at the end:", next, n, err)
	}
	for _, bad := range [][]byte{nil, one[:70], make([]byte, 100)} {
		if _, _, err := endOffset(bad); err == nil {
			t.Fatalf("%d bytes taken", len(bad))
		}
	}
}

func TestParseMetrics(t *testing.T) {
	got, err := parseMetrics(strings.NewReader("# HELP a b\n# TYPE a counter\na{file=\"x } y\",z=\"1\"} 2\na{file=\"\"} 3.5\nb 1e3 1700000000\n\nc{} +Inf\n"))
	if err != nil || got["a"] != 5.5 || got[`a{file=""}`] != 3.5 || got["b"] != 1000 {
		t.Fatal(got, err)
	}
	if _, err := parseMetrics(strings.NewReader("a nothing\n")); err == nil {
		t.Fatal("garbage taken")
	}
}

func TestWriteAndSyncWritesAllBytes(t *testing.T) {
	batch := makeBatch(4<<10, 1)
	for _, did := range []written{{0, 0}, {1, 0}, {7, 50_000}, {100, 40_000}} {
		if _, err := writeAndSync(t.TempDir(), batch, 10, did); err != nil {
			t.Fatal(did, err)
		}
	}
}

func TestAppendEach(t *testing.T) {
	perSecond, err := appendEach(t.TempDir(), makeBatch(smallBatch, 1), 20*time.Millisecond)
	if err != nil || perSecond <= 0 { // how many says something about the disk only
		t.Fatal(perSecond, err)
	}
}

func TestReceiveBaseline(t *testing.T) {
	batch := makeBatch(64<<10, 1)
	got, err := receiveRound(t.TempDir(), batch, load{64 << 10, 4}, 40)
	if err != nil || got.requests != 40 {
		t.Fatal(got, err)
	}
	bad := bytes.Clone(batch)
	bad[100] ^= 1
	if _, err := receiveRound(t.TempDir(), bad, load{64 << 10, 1}, 1); err == nil {
		t.Fatal("the baseline does not check the CRC")
	}
}

func TestSendfileBaseline(t *testing.T) {
	file := t.TempDir() + "/data"
	batch := makeBatch(1<<20, 1)
	total := int64(8 * len(batch))
	if err := fillFile(file, batch, total); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil || int64(len(raw)) != total {
		t.Fatal(len(raw), err)
	}
	if next, n, err := endOffset(raw); err != nil || next != 8*1023 || int64(n) != total {
		t.Fatal(next, n, err)
	}
	if took, err := sendfileRound(file, reading{1 << 20, 2}, total); err != nil || took <= 0 {
		t.Fatal(took, err)
	}
}

// A lane keeps its window full, takes its frames in turn, and matches responses by correlation id.
func TestDrive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan int, 1)
	go func() { served <- answerInBursts(l, 3) }() // ends when the client closes
	c, err := dialConn(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	frame := func() []byte { return append([]byte{0, 0, 0, 9}, make([]byte, 9)...) }
	one := &lane{conn: c, window: 3, frames: [][]byte{frame(), frame()}, check: func(body []byte) error {
		if string(body) != "ok" {
			return errors.New("body")
		}
		return nil
	}}
	got, err := drive([]*lane{one}, times(9))
	if err != nil || got.requests != 9 || got.p50 <= 0 || got.p99 < got.p50 {
		t.Fatal(got, err)
	}
	c.close()
	if n := <-served; n != 9 {
		t.Fatalf("served %d", n)
	}
}

// answerInBursts reads n requests before it answers them, which a window below n would wait for in vain.
func answerInBursts(l net.Listener, n int) int {
	c, err := l.Accept()
	if err != nil {
		return 0
	}
	defer c.Close()
	served := 0
	req := make([]byte, 13)
	for {
		var out []byte
		for range n {
			if _, err := io.ReadFull(c, req); err != nil {
				return served
			}
			out = append(out, 0, 0, 0, 6)
			out = append(out, req[posCorrelation:posCorrelation+4]...)
			out = append(out, "ok"...)
			served++
		}
		if _, err := c.Write(out); err != nil {
			return served
		}
	}
}

func TestReport(t *testing.T) {
	r := newReport(options{rounds: 3, jsonOut: "-", dir: t.TempDir()})
	for i, v := range []float64{80, 60, 100} {
		r.add(sample{Figure: "f", Case: "c", Round: i, Broker: v, Baseline: 100, Unit: "MB/s", Extra: map[string]float64{"x": v}}, target{atLeast: 0.7})
		r.add(sample{Figure: "f", Case: "absolute", Round: i, Broker: v, Unit: "ms"}, target{below: 70})
	}
	sums := r.summaries()
	if len(sums) != 2 || sums[0].Ratio != 0.8 || !sums[0].Met || sums[0].RatioMin != 0.6 || sums[0].Extra["x"] != 80 || sums[1].Met {
		t.Fatalf("%+v", sums)
	}
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "0.80") || strings.Count(text, "{\"figure\"") != 8 {
		t.Fatal(text)
	}
	r.failed("g", errors.New("no broker"))
	if err := r.write(&out); err == nil || !strings.Contains(err.Error(), "no broker") {
		t.Fatal(err)
	}
}

func TestBrokerThatDoesNotStartIsReported(t *testing.T) {
	o := options{bin: "/bin/false", dir: t.TempDir()}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := startBroker(ctx, o); err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Fatal(err)
	}
}
