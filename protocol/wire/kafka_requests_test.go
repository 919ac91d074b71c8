package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestKafkaRequests decodes requests as Kafka's own classes encode them (testdata/KafkaRequests.java), and encodes them again.
func TestKafkaRequests(t *testing.T) {
	f, err := os.Open("testdata/kafka_requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	served := make(map[requestVersion]bool)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v requestVersion
		var text string
		if _, err := fmt.Sscan(lines.Text(), &v.key, &v.version, &text); err != nil && text != "" {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		body := unhex(t, text)
		got, err := measure(v.key, v.version, body)
		if err != nil || got.bytes != len(body) {
			t.Errorf("%s: walked %d of %d bytes: %v\n%x", v, got.bytes, len(body), err, body)
			continue
		}
		if req := kmsg.RequestForKey(v.key); req == nil || v.version > req.MaxVersion() {
			continue
		}
		req, err := Decode(RequestHeader{Key: v.key, Version: v.version, Body: body})
		if err != nil {
			t.Errorf("%s: %v", v, err)
			continue
		}
		if again := req.AppendTo(nil); !bytes.Equal(again, body) {
			t.Errorf("%s: encoded again\n%x, was\n%x", v, again, body)
		}
		served[v] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, a := range APIs() {
		for version := max(a.AcceptMin, kafkaMin[a.Name]); version <= a.Max; version++ {
			if !served[requestVersion{a.Key, version}] {
				t.Errorf("no request of %s version %d", a.Name, version)
			}
		}
	}
}

// kafkaMin has the oldest versions that Kafka 4.3 can encode, of the APIs where we serve older ones.
var kafkaMin = map[string]int16{"CreateTopics": 2, "DeleteTopics": 1}
