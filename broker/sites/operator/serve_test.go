package operator

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/site"
)

// fakeDR notes what it is asked.
type fakeDR struct {
	asked string
	err   error
}

func (f *fakeDR) note(format string, args ...any) error {
	f.asked = fmt.Sprintf(format, args...)
	return f.err
}

func (f *fakeDR) Status(context.Context) (Status, error) {
	return Status{Green: true}, f.note("status")
}
func (f *fakeDR) Switchover(_ context.Context, o SwitchoverOrder) (Order, error) {
	return Order{ID: "1"}, f.note("switchover %+v", o)
}
func (f *fakeDR) Failover(_ context.Context, o FailoverOrder) (Order, error) {
	return Order{ID: "1"}, f.note("failover %+v", o)
}
func (f *fakeDR) Abort(context.Context) (Order, error) { return Order{}, f.note("abort") }
func (f *fakeDR) Progress(_ context.Context, id string) (Order, error) {
	return Order{}, f.note("progress %s", id)
}
func (f *fakeDR) History(context.Context) (History, error)   { return History{}, f.note("history") }
func (f *fakeDR) LostList(context.Context) (LostList, error) { return LostList{}, f.note("list") }
func (f *fakeDR) LostShow(_ context.Context, p LostPlace) (LostPage, error) {
	return LostPage{Lines: []byte("{}\n"), Next: &p}, f.note("show %+v", p)
}
func (f *fakeDR) LostRemove(_ context.Context, p LostPlace) error { return f.note("remove %+v", p) }
func (f *fakeDR) Verify(_ context.Context, o VerifyOrder) (Verification, error) {
	return Verification{}, f.note("verify %v", o.Topics)
}
func (f *fakeDR) VerifyProgress(_ context.Context, id string) (Verification, error) {
	return Verification{}, f.note("verified %s", id)
}
func (f *fakeDR) VerifySum(_ context.Context, r VerifyRange) (VerifySum, error) {
	return VerifySum{}, f.note("sum %d %d", r.From, r.To)
}
func (f *fakeDR) Undelete(_ context.Context, topic string) error { return f.note("undelete %s", topic) }

func TestServeAsksTheDR(t *testing.T) {
	for op, c := range map[Operation]struct{ document, asked string }{
		OpStatus:         {`{}`, "status"},
		OpSwitchover:     {`{"to":"west","dry_run":true}`, "switchover {ID: To:west DryRun:true}"},
		OpFailover:       {`{"to":"west","active_is_down":true}`, "failover {ID: To:west ActiveIsDown:true AcceptDataLoss:false DryRun:false}"},
		OpAbort:          {`{}`, "abort"},
		OpProgress:       {`{"id":"7"}`, "progress 7"},
		OpHistory:        {`{}`, "history"},
		OpLostList:       {`{}`, "list"},
		OpLostShow:       {`{"site":"east","id":"a","offset":3,"byte":4}`, "show {Site:east Node:0 ID:a Offset:3 Byte:4}"},
		OpLostRemove:     {`{"id":"a"}`, "remove {Site: Node:0 ID:a Offset:0 Byte:0}"},
		OpVerify:         {`{"topics":["t"]}`, "verify [t]"},
		OpVerifyProgress: {`{"id":"7"}`, "verified 7"},
		OpVerifySum:      {`{"from":1,"to":2}`, "sum 1 2"},
		OpUndelete:       {`{"topic":"t"}`, "undelete t"},
		OpRecopy:         {`{"topic":"t","partition":3,"dry_run":true}`, "recopy {Topic:t Partition:3 DryRun:true}"},
		OpLineage:        {`{"topic_id":"00000000-0000-0000-0000-000000000007","partition":3}`, "lineage of 3"},
		OpProducerIDs:    {`{}`, "producer ids"},
	} {
		dr := &fakeDR{}
		resp := Serve(t.Context(), dr, &wire.OperatorRequest{Operation: int16(op), Document: []byte(c.document)})
		if resp.Code != 0 || dr.asked != c.asked {
			t.Errorf("operation %d: code %d %q, asked %q, want %q", op, resp.Code, resp.Message, dr.asked, c.asked)
		}
	}
	if len(operations) != 16 {
		t.Errorf("%d operations: some are not tried", len(operations))
	}
	page := LostPage{}
	resp := Serve(t.Context(), &fakeDR{}, &wire.OperatorRequest{Operation: int16(OpLostShow), Document: []byte(`{"offset":9}`)})
	if err := ReadAnswer(resp, &page); err != nil || string(page.Lines) != "{}\n" || page.Next == nil || page.Next.Offset != 9 {
		t.Errorf("%+v: %v", page, err)
	}
}

// TestServeRefusesWhatItDoesNotKnow: an option that is passed over could cost data.
func TestServeRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, document := range []string{``, `{`, `[]`, `{"to":1}`, `{"to":"west","dryrun":true}`, `{"to":"west"} {}`, `{"to":"west"}x`} {
		dr := &fakeDR{}
		resp := Serve(t.Context(), dr, &wire.OperatorRequest{Operation: int16(OpSwitchover), Document: []byte(document)})
		if Code(resp.Code) != CodeUsage || dr.asked != "" {
			t.Errorf("%q: code %d, asked %q", document, resp.Code, dr.asked)
		}
	}
}

func TestErrorsNameTheNextStep(t *testing.T) {
	for _, err := range []error{site.ErrBusy, site.ErrNotActive, site.ErrServes, site.ErrNotLeased, site.ErrSwitching, site.ErrNoFailover, site.ErrExhausted} {
		resp := Serve(t.Context(), &fakeDR{err: Explain(fmt.Errorf("order: %w", err))}, &wire.OperatorRequest{Operation: int16(OpAbort), Document: []byte(`{}`)})
		var told *Error
		if got := ReadAnswer(resp, nil); !errors.As(got, &told) || told.Code != CodeRefused || told.Next == "" || strings.Contains(told.Text, "site:") {
			t.Errorf("%v: %+v", err, got)
		}
	}
	if err := errors.New("x"); Explain(err) != err {
		t.Error("another error is not left alone")
	}
	resp := Serve(t.Context(), &fakeDR{err: errors.New("disk on fire")}, &wire.OperatorRequest{Operation: int16(OpAbort), Document: []byte(`{}`)})
	if Code(resp.Code) != CodeFailed || !strings.Contains(resp.Message, "on fire") {
		t.Errorf("%+v", resp)
	}
}

func FuzzServe(f *testing.F) {
	f.Add(int16(3), []byte(`{"to":"west","active_is_down":true}`))
	f.Add(int16(8), []byte(`{"id":"a","offset":-1}`))
	f.Fuzz(func(t *testing.T, op int16, document []byte) {
		resp := Serve(t.Context(), &fakeDR{}, &wire.OperatorRequest{Operation: op, Document: document})
		var back wire.OperatorResponse
		if err := back.ReadFrom(resp.AppendTo(nil)); err != nil || back.Code != resp.Code {
			t.Fatalf("%+v: %v", resp, err)
		}
		var any map[string]any
		if err := ReadAnswer(&back, &any); err != nil && reflect.TypeOf(err) != reflect.TypeFor[*Error]() {
			t.Fatal(err)
		}
	})
}

func (f *fakeDR) Recopy(_ context.Context, o RecopyOrder) (Recopied, error) {
	return Recopied{}, f.note("recopy %+v", o)
}

func (f *fakeDR) ProducerIDs(context.Context) (ProducerIDs, error) {
	return ProducerIDs{}, f.note("producer ids")
}

func (f *fakeDR) Lineage(_ context.Context, q LineageQuestion) (LineageAnswer, error) {
	return LineageAnswer{}, f.note("lineage of %d", q.Partition)
}
