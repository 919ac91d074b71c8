package dr

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/site"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func at(n int64) *int64 { return &n }

// fakeDR is a pair of sites, east active and west standby, that carries out orders in two steps.
type fakeDR struct {
	mu       sync.Mutex
	facts    operator.Facts
	order    operator.Order
	orders   int // begun
	lines    []string
	step     int64 // bytes of a page
	differ   bool
	archives []operator.LostArchive
	removed  []string
	fail     error
}

func newFake() *fakeDR {
	f := &fakeDR{step: 70}
	f.facts = operator.Facts{
		Now: noon, Here: operator.Site{Name: "west", Known: true}, There: operator.Site{Name: "east", Known: true, Role: site.Active, Serving: true},
		Connected: true, LastContact: noon, SilenceMax: time.Minute,
		Metadata: operator.Metadata{Active: "0.7", Standby: "0.7"},
	}
	for i := range int32(2) {
		f.facts.Partitions = append(f.facts.Partitions, operator.Partition{Topic: "orders", Index: i, Led: true, Copied: true,
			Shipped: operator.End{Offset: 99, At: noon.Add(-3 * time.Second)}, Active: operator.End{Offset: 100 + int64(i), At: noon.Add(-2 * time.Second)},
			Lag: operator.Lag{Records: at(1 + int64(i)), Bytes: at(100), Ms: at(20)}})
	}
	record := func(offset int64, key []byte, value, transaction string) {
		b, _ := json.Marshal(operator.LostRecord{Topic: "orders", Partition: 1, Offset: offset, Timestamp: noon.UnixMilli(), Key: key, Value: []byte(value),
			Headers: []operator.LostHeader{{Key: "h", Value: []byte("<&>")}}, Transaction: transaction})
		f.lines = append(f.lines, string(b))
	}
	record(99, []byte("k1"), "first", "none")
	record(100, nil, strings.Repeat("long ", 20), "committed")
	record(101, []byte("k2"), "never seen", "aborted")
	record(102, []byte("k3"), "perhaps", "undecided")
	record(103, []byte("k1"), "last", "none")
	f.archives = []operator.LostArchive{{ID: "orders-1.4.99.AAAAAAAAAAAAAAAAAAAAAA", Site: "east", Node: 1, Topic: "orders", Partition: 1, FirstOffset: 99, LastOffset: 103,
		Records: 5, Bytes: 700, Archived: noon.Add(time.Hour)}}
	return f
}

// lose cuts contact.
func (f *fakeDR) lose(silence time.Duration) {
	f.facts.Connected, f.facts.LastContact = false, noon.Add(-silence)
}

func (f *fakeDR) Status(context.Context) (operator.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.facts.Status(), f.fail
}

// begin starts an order that may begin; the same id again is the same order.
func (f *fakeDR) begin(kind operator.OrderKind, id, to string, dry bool, plan operator.Plan, refused *operator.Error) (operator.Order, error) {
	o := operator.Order{ID: id, Kind: kind, From: "east", To: to, State: operator.Planned, Partitions: 2, Plan: &plan}
	switch {
	case id == f.order.ID && !dry && id != "":
		return f.order, nil
	case refused != nil:
		return o, refused
	case dry:
		return o, nil
	}
	o.State, o.Step = operator.Running, "draining"
	if kind == operator.Failover {
		o.Step = "promoting"
	}
	f.order = o
	f.orders++
	return o, f.fail
}

func (f *fakeDR) Switchover(_ context.Context, o operator.SwitchoverOrder) (operator.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	active := f.facts
	active.Here, active.There = f.facts.There, f.facts.Here
	plan, refused := active.DecideSwitchover(o)
	return f.begin(operator.Switchover, o.ID, o.To, o.DryRun, plan, refused)
}

func (f *fakeDR) Failover(_ context.Context, o operator.FailoverOrder) (operator.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	plan, refused := f.facts.DecideFailover(o)
	return f.begin(operator.Failover, o.ID, o.To, o.DryRun, plan, refused)
}

func (f *fakeDR) Abort(context.Context) (operator.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.order.State != operator.Running {
		return operator.Order{}, operator.Explain(site.ErrNoFailover)
	}
	f.order.State = operator.Aborted
	return f.order, nil
}

// Progress brings an order forward by a partition.
func (f *fakeDR) Progress(_ context.Context, id string) (operator.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != f.order.ID {
		return operator.Order{}, fmt.Errorf("no order %q", id)
	}
	if f.order.State != operator.Running {
		return f.order, nil
	}
	if f.order.PartitionsDone++; f.order.PartitionsDone == 2 {
		f.order.State, f.order.SiteEpoch = operator.Done, 5
		report := operator.NewReport(&f.facts, operator.Promotion{Kind: f.order.Kind, SiteEpoch: 5, At: noon.Add(time.Second),
			Resumes: func(_ string, p int32) (int64, bool) { return 5<<42 + int64(p), true }})
		f.order.Report = &report
	}
	return f.order, nil
}

func (f *fakeDR) History(context.Context) (operator.History, error) {
	report := operator.NewReport(&f.facts, operator.Promotion{Kind: operator.Failover, SiteEpoch: 5, At: noon, Resumes: func(string, int32) (int64, bool) { return 0, false }})
	return operator.History{Events: []operator.Event{{At: noon.Add(-time.Hour), Site: "east", What: "joined"},
		{At: noon, Site: "west", What: "failover", From: "east", SiteEpoch: 5, Report: &report}}}, nil
}

func (f *fakeDR) LostList(context.Context) (operator.LostList, error) {
	return operator.LostList{Archives: f.archives}, nil
}

// LostShow gives small pages, that end within lines.
func (f *fakeDR) LostShow(_ context.Context, p operator.LostPlace) (operator.LostPage, error) {
	for i := range f.lines {
		if offset := int64(99 + i); offset == p.Offset || p.Offset == 0 {
			rest := (strings.Join(f.lines[i:], "\n") + "\n")[p.Byte:]
			page := operator.LostPage{Lines: []byte(rest[:min(len(rest), int(f.step))])}
			if len(rest) > len(page.Lines) {
				next := p
				next.Offset, next.Byte = offset, p.Byte+f.step
				page.Next = &next
			}
			return page, nil
		}
	}
	return operator.LostPage{}, fmt.Errorf("no record %d", p.Offset)
}

func (f *fakeDR) LostRemove(_ context.Context, p operator.LostPlace) error {
	f.removed = append(f.removed, p.ID)
	return nil
}

func (f *fakeDR) Verify(_ context.Context, o operator.VerifyOrder) (operator.Verification, error) {
	return operator.Verification{ID: o.ID, State: operator.Running, Partitions: 2}, nil
}

func (f *fakeDR) VerifyProgress(_ context.Context, id string) (operator.Verification, error) {
	v := operator.Verification{ID: id, State: operator.Done, Partitions: 2, PartitionsDone: 2, Batches: 40, Bytes: 4000}
	if f.differ {
		v.Difference = &operator.Difference{Topic: "orders", Partition: 1, Offset: 77, Here: "epoch 3, crc 01", There: "epoch 3, crc 02"}
	}
	return v, nil
}

func (f *fakeDR) VerifySum(context.Context, operator.VerifyRange) (operator.VerifySum, error) {
	return operator.VerifySum{}, nil
}

func (f *fakeDR) Undelete(_ context.Context, topic string) error {
	if topic != "orders" {
		return &operator.Error{Code: operator.CodeRefused, Text: "no topic " + topic + " is about to be deleted", Next: "tandem dr status"}
	}
	return nil
}

// serveFake answers on loopback as a broker does, until the test ends. Each connection ends after answersMax answers; 0 = never.
func serveFake(t *testing.T, dr operator.DR, answersMax int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			tasks.Go(func() { answer(t, c, dr, answersMax) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		tasks.Wait()
	})
	return l.Addr().String()
}

func answer(t *testing.T, c net.Conn, dr operator.DR, answersMax int) {
	defer c.Close()
	pool := wire.NewPool(wire.PoolOptions{})
	in := bufio.NewReader(c)
	for n := 0; ; n++ {
		frame, err := wire.ReadFrame(in, 1<<20, pool)
		if err != nil {
			return
		}
		h, err := wire.ParseHeader(frame.Bytes())
		if err != nil {
			t.Error(err)
			return
		}
		body, err := wire.Decode(h)
		if err != nil {
			t.Error(err)
			return
		}
		resp := operator.Serve(context.Background(), dr, body.(*wire.OperatorRequest))
		frame.Release()
		if answersMax > 0 && n == answersMax {
			return // it was carried out, and nobody hears of it
		}
		if _, err := c.Write(wire.AppendResponse(nil, h.CorrelationID, h.Version, resp)); err != nil {
			return
		}
	}
}

func (f *fakeDR) Recopy(_ context.Context, o operator.RecopyOrder) (operator.Recopied, error) {
	r, refused := f.facts.DecideRecopy(o)
	if refused != nil {
		return r, refused
	}
	r.From, r.End, r.Begun = 95, 99, !o.DryRun
	return r, nil
}

func (f *fakeDR) ProducerIDs(context.Context) (operator.ProducerIDs, error) {
	return operator.ProducerIDs{}, nil
}

func (f *fakeDR) Lineage(context.Context, operator.LineageQuestion) (operator.LineageAnswer, error) {
	return operator.LineageAnswer{}, nil
}
