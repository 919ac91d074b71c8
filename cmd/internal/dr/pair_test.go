package dr

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// pair is two sites of one broker each.
type pair struct {
	t          *testing.T
	east, west *brokertest.Broker
}

func startPair(t *testing.T) *pair {
	t.Helper()
	return startPairThrough(t, func(site string) string { return site })
}

// startPairThrough has east dial west by the address that through gives.
func startPairThrough(t *testing.T, through func(site string) string) *pair {
	t.Helper()
	plain := "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"
	site := brokertest.Reserve(t) // the same after a restart
	west := brokertest.Start(t, "node.id=101", "site.name=west", "site.role=standby", plain, "listeners=PLAINTEXT://127.0.0.1:0,SITE://"+site)
	east := brokertest.Start(t, "node.id=1", "site.name=east", "site.role=active", plain, "site.peers=west@"+through(site))
	return &pair{t, east, west}
}

// dr runs a command against the real clock, and returns its exit code and standard output.
func (p *pair) dr(b *brokertest.Broker, args ...string) (int, string) {
	var out, errs bytes.Buffer
	s := surroundings(&out, &errs, "")
	s.Now, s.Produce = time.Now, NewProducer
	code := Run(p.t.Context(), append(args, "--bootstrap-server", b.Address(), "--timeout", "20s"), s)
	return code, out.String() + errs.String()
}

func (p *pair) client(b *brokertest.Broker) *client {
	s := surroundings(nil, nil, "")
	c := &client{addresses: []string{b.Address()}, timeout: brokertest.Limit, dial: s.Dial, sleep: s.Sleep, formatter: kmsg.NewRequestFormatter()}
	p.t.Cleanup(c.close)
	return c
}

func (p *pair) done(b *brokertest.Broker, args ...string) string {
	p.t.Helper()
	code, text := p.dr(b, args...)
	if code != 0 {
		p.t.Fatalf("tandem dr %s: exit %d\n%s", strings.Join(args, " "), code, text)
	}
	return text
}

func (p *pair) green(b *brokertest.Broker) {
	p.t.Helper()
	text := ""
	for deadline := time.Now().Add(brokertest.Limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var s operator.Status
		if _, text = p.dr(b, "status", "--json"); json.Unmarshal([]byte(text), &s) == nil && s.Green {
			return
		}
	}
	p.t.Fatalf("not green:\n%s", text)
}

func (p *pair) produce(b *brokertest.Broker, prefix string, n int) {
	p.t.Helper()
	c := b.Client()
	for i := range n {
		if err := c.ProduceSync(b.Context(), &kgo.Record{Topic: "t", Key: fmt.Append(nil, prefix, i), Value: []byte("v")}).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
	}
}

// TestSwitchoverOfTwoSites: any broker of either site is asked; the sites are compared before and after.
func TestSwitchoverOfTwoSites(t *testing.T) {
	p := startPair(t)
	p.east.CreateTopic("t", 2)
	p.produce(p.east, "a", 20)
	p.green(p.east)
	p.green(p.west)
	for _, b := range []*brokertest.Broker{p.east, p.west} {
		if text := p.done(b, "verify", "t"); !strings.Contains(text, "equal: ") {
			t.Errorf("%s", text)
		}
		if code, text := p.dr(b, "failover", "--to", "west", "--active-is-down", "--yes"); code != 3 || !strings.Contains(text, "switchover") {
			t.Errorf("exit %d: %s", code, text)
		}
	}
	var o operator.Order
	if err := json.Unmarshal([]byte(p.done(p.west, "switchover", "--to", "west", "--yes", "--json")), &o); err != nil || o.State != operator.Done || o.Report == nil {
		t.Fatalf("%+v: %v", o, err)
	}
	resumes := int64(0)
	for _, r := range o.Report.Partitions {
		if r.Topic == "t" {
			resumes += *r.Resumes
		}
	}
	if resumes != 20 || *o.Report.Lost.Records != 0 {
		t.Errorf("two partitions with 20 records resume at offsets whose sum is %d, lost %+v", resumes, o.Report.Lost)
	}
	// Sent again, by either site: it is the same order, and begins nothing.
	for _, b := range []*brokertest.Broker{p.east, p.west} {
		var again operator.Order
		if err := p.client(b).ask(t.Context(), operator.OpSwitchover, operator.SwitchoverOrder{ID: o.ID, To: "west"}, &again); err != nil || again.State != operator.Done || again.ID != o.ID {
			t.Errorf("%+v: %v", again, err)
		}
	}
	p.produce(p.west, "b", 20)
	p.green(p.east)
	if text := p.done(p.east, "verify", "t", "--json"); !strings.Contains(text, `"difference": null`) {
		t.Errorf("%s", text)
	}
	if text := p.done(p.east, "history"); !strings.Contains(text, "switchover") {
		t.Errorf("%s", text)
	}
	if code, text := p.dr(p.east, "switchover", "--to", "west", "--yes"); code != 3 || !strings.Contains(text, "already") {
		t.Errorf("exit %d: %s", code, text)
	}
}

// TestLostRecordsOfTwoSites: what only the lost site had is shown by either site's broker, and written back.
func TestLostRecordsOfTwoSites(t *testing.T) {
	p := startPair(t)
	p.east.CreateTopic("t", 1)
	p.produce(p.east, "a", 20)
	p.green(p.east)
	p.green(p.west) // it knows that its copy is whole
	if err := p.west.Stop(); err != nil {
		t.Fatal(err)
	}
	p.produce(p.east, "lost", 10)
	if err := p.east.Stop(); err != nil {
		t.Fatal(err)
	}
	p.west.Restart()
	if text := p.done(p.west, "failover", "--to", "west", "--active-is-down", "--yes"); !strings.Contains(text, "west is the active site") {
		t.Errorf("%s", text)
	}
	p.produce(p.west, "b", 20)
	p.east.Restart()
	p.green(p.west)
	if text := p.done(p.west, "verify"); !strings.Contains(text, "equal: ") {
		t.Errorf("%s", text)
	}
	for _, b := range []*brokertest.Broker{p.east, p.west} {
		found := 0
		for line := range strings.Lines(p.done(b, "lost", "show", "--json")) {
			var r operator.LostRecord
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			if r.Topic == "t" && string(r.Key) == fmt.Sprint("lost", found) {
				found++
			}
		}
		if found != 10 {
			t.Errorf("%d of 10 lost records are shown", found)
		}
	}
	if text := p.done(p.east, "lost", "replay", "--yes"); !strings.Contains(text, "10 records written to t") {
		t.Errorf("%s", text)
	}
	c := p.west.Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]int{}
	for records := 0; records < 50; {
		fetches := c.PollFetches(p.west.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { records++; seen[string(r.Key)]++ })
	}
	if len(seen) != 50 || seen["lost9"] != 1 {
		t.Errorf("%d keys", len(seen))
	}
}

// TestProducerOfLostRecords: in order, however old they are, and in batches of the size that the topic takes.
func TestProducerOfLostRecords(t *testing.T) {
	b := brokertest.Start(t)
	limit := "20000"
	if r, err := kadm.NewClient(b.Client()).CreateTopic(b.Context(), 1, 1, map[string]*string{"max.message.bytes": &limit}, "t"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	p, err := NewProducer([]string{b.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	records := make([]Record, 100)
	for i := range records {
		records[i] = Record{Topic: "t", LostRecord: operator.LostRecord{Key: fmt.Append(nil, i), Value: make([]byte, 1000), Timestamp: int64(i)}}
		_, _ = rand.Read(records[i].Value) // never fails
	}
	if n, err := p.Produce(b.Context(), records); n != len(records) || err != nil {
		t.Fatalf("%d records: %v", n, err)
	}
	records[1].Value = make([]byte, 30_000)
	_, _ = rand.Read(records[1].Value)
	if n, err := p.Produce(b.Context(), records[:3]); n != 1 || !tooLarge(err) {
		t.Errorf("%d records in front of one that is too large: %v", n, err)
	}
	c := b.Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for i := 0; i <= len(records); {
		fetches := c.PollFetches(b.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if want := i % len(records); string(r.Key) != fmt.Sprint(want) || r.Timestamp.UnixMilli() != int64(want) || r.Offset != int64(i) {
				t.Errorf("offset %d: key %s of %s", r.Offset, r.Key, r.Timestamp)
			}
			i++
		})
	}
}

// TestSeveralOperatorsOrderTheSame: one of the orders is carried out, and the others are refused.
func TestSeveralOperatorsOrderTheSame(t *testing.T) {
	p := startPair(t)
	p.east.CreateTopic("t", 1)
	p.produce(p.east, "a", 20)
	p.green(p.west)
	if err := p.east.Stop(); err != nil {
		t.Fatal(err)
	}
	type ended struct {
		code int
		text string
	}
	all := make(chan ended, 8)
	for range cap(all) {
		go func() {
			code, text := p.dr(p.west, "failover", "--to", "west", "--active-is-down", "--yes")
			all <- ended{code, text}
		}()
	}
	done := 0
	for range cap(all) {
		e := <-all
		if e.code == 0 {
			done++
		} else if e.code != 3 {
			t.Errorf("exit %d: %s", e.code, e.text)
		}
	}
	if done != 1 {
		t.Errorf("%d orders are done", done)
	}
}

// TestFailoverFromASiteThatAnswersNoMore: its connections stand, and nothing comes.
func TestFailoverFromASiteThatAnswersNoMore(t *testing.T) {
	var h *brokertest.Relay
	p := startPairThrough(t, func(site string) string { h = brokertest.NewRelay(t, site); return h.Addr() })
	p.east.CreateTopic("t", 1)
	p.produce(p.east, "a", 20)
	for deadline := time.Now().Add(brokertest.Limit); ; time.Sleep(5 * time.Millisecond) { // green comes before the topic does
		if part, ok := p.west.Partition("t", 0); ok && part.Log() != nil && part.Log().LogEnd() == 20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the topic does not come to west")
		}
	}
	p.green(p.west)
	order := []string{"failover", "--to", "west", "--active-is-down", "--yes"}
	if code, text := p.dr(p.west, order...); code != 3 || !strings.Contains(text, "can be reached") {
		t.Fatalf("exit %d: %s", code, text)
	}
	h.Swallow(true)
	code, text := 3, ""
	for began := time.Now(); code == 3 && time.Since(began) < 8*time.Second; time.Sleep(50 * time.Millisecond) {
		code, text = p.dr(p.west, order...)
	}
	if code != 0 || !strings.Contains(text, "west is the active site") {
		t.Errorf("exit %d: %s", code, text)
	}
}

// TestSwitchoverThatStandsStill: the network goes amid it. Whoever has ordered it is told soon, at either site what can be done there; and the
// site that hands over can take the role back for good.
func TestSwitchoverThatStandsStill(t *testing.T) {
	var h *brokertest.Relay
	p := startPairThrough(t, func(site string) string { h = brokertest.NewRelay(t, site); return h.Addr() })
	p.east.CreateTopic("t", 1)
	p.produce(p.east, "a", 20)
	p.green(p.west)
	h.Delay(150 * time.Millisecond)
	type ended struct {
		code int
		text string
	}
	order := make(chan ended, 1)
	go func() {
		code, text := p.dr(p.west, "switchover", "--to", "west", "--yes")
		order <- ended{code, text}
	}()
	for began := time.Now(); p.east.Pair().View().Fencing == 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > brokertest.Limit {
			t.Fatal("the switchover does not begin")
		}
	}
	h.Swallow(true)
	began := time.Now()
	if o := <-order; o.code != 1 || !strings.Contains(o.text, "stands still") || !strings.Contains(o.text, "tandem dr failover --to west --active-is-down") ||
		time.Since(began) > 2*stallMost {
		t.Errorf("exit %d after %s: %s", o.code, time.Since(began), o.text)
	}
	code, text := p.dr(p.east, "abort", "--yes")
	if code != 1 || !strings.Contains(text, "tandem dr failover --to east --active-is-down") {
		t.Errorf("abort without the standby's word: exit %d: %s", code, text)
	}
	if code, text := p.dr(p.east, "status"); code != 0 || !strings.Contains(text, "tandem dr failover --to east --active-is-down") {
		t.Errorf("exit %d: %s", code, text)
	}
	if text := p.done(p.east, "failover", "--to", "east", "--active-is-down", "--yes"); !strings.Contains(text, "east is the active site (site epoch 4)") {
		t.Errorf("%s", text)
	}
	p.produce(p.east, "b", 20)
}

// stallMost is how soon it should be told that an order stands still.
const stallMost = 6 * time.Second
