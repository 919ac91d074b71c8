package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tandembroker/tandem/protocol/wire"
)

// identified names what was started before.
type identified struct {
	ID string `json:"id"`
}

type named struct {
	Topic string `json:"topic"`
}

type nothing struct{}

// operations says what each of them asks of a DR.
var operations = map[Operation]func(ctx context.Context, dr DR, document []byte) (any, error){
	OpStatus:     with(func(ctx context.Context, dr DR, _ nothing) (Status, error) { return dr.Status(ctx) }),
	OpSwitchover: with(func(ctx context.Context, dr DR, o SwitchoverOrder) (Order, error) { return dr.Switchover(ctx, o) }),
	OpFailover:   with(func(ctx context.Context, dr DR, o FailoverOrder) (Order, error) { return dr.Failover(ctx, o) }),
	OpAbort:      with(func(ctx context.Context, dr DR, _ nothing) (Order, error) { return dr.Abort(ctx) }),
	OpProgress:   with(func(ctx context.Context, dr DR, o identified) (Order, error) { return dr.Progress(ctx, o.ID) }),
	OpHistory:    with(func(ctx context.Context, dr DR, _ nothing) (History, error) { return dr.History(ctx) }),
	OpLostList:   with(func(ctx context.Context, dr DR, _ nothing) (LostList, error) { return dr.LostList(ctx) }),
	OpLostShow:   with(func(ctx context.Context, dr DR, p LostPlace) (LostPage, error) { return dr.LostShow(ctx, p) }),
	OpLostRemove: with(func(ctx context.Context, dr DR, p LostPlace) (nothing, error) {
		return nothing{}, dr.LostRemove(ctx, p)
	}),
	OpVerify: with(func(ctx context.Context, dr DR, o VerifyOrder) (Verification, error) { return dr.Verify(ctx, o) }),
	OpVerifyProgress: with(func(ctx context.Context, dr DR, o identified) (Verification, error) {
		return dr.VerifyProgress(ctx, o.ID)
	}),
	OpRecopy:      with(func(ctx context.Context, dr DR, o RecopyOrder) (Recopied, error) { return dr.Recopy(ctx, o) }),
	OpLineage:     with(func(ctx context.Context, dr DR, q LineageQuestion) (LineageAnswer, error) { return dr.Lineage(ctx, q) }),
	OpProducerIDs: with(func(ctx context.Context, dr DR, _ nothing) (ProducerIDs, error) { return dr.ProducerIDs(ctx) }),
	OpVerifySum:   with(func(ctx context.Context, dr DR, r VerifyRange) (VerifySum, error) { return dr.VerifySum(ctx, r) }),
	OpUndelete: with(func(ctx context.Context, dr DR, o named) (nothing, error) {
		return nothing{}, dr.Undelete(ctx, o.Topic)
	}),
}

// with reads the document of an operation. What it does not know is refused: an option that is passed over could cost data.
func with[In, Out any](fn func(context.Context, DR, In) (Out, error)) func(context.Context, DR, []byte) (any, error) {
	return func(ctx context.Context, dr DR, document []byte) (any, error) {
		var in In
		decoder := json.NewDecoder(bytes.NewReader(document))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			return nil, &Error{CodeUsage, fmt.Sprintf("the document of the request: %v", err), ""}
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return nil, &Error{CodeUsage, "the document of the request does not end where it should", ""}
		}
		return fn(ctx, dr, in)
	}
}

// Serve carries out a request. dr nil: this broker belongs to no site. It waits for dr as long as ctx lets it.
func Serve(ctx context.Context, dr DR, req *wire.OperatorRequest) *wire.OperatorResponse {
	run, known := operations[Operation(req.Operation)]
	switch {
	case req.Format != wire.OperatorFormat:
		return answerError(&Error{CodeUnsupported, fmt.Sprintf("the broker reads format %d of operator requests, this one has %d", wire.OperatorFormat, req.Format),
			"use the tandem of the broker's version"})
	case !known:
		return answerError(&Error{CodeUnsupported, fmt.Sprintf("the broker does not know operation %d", req.Operation), "use the tandem of the broker's version"})
	case dr == nil:
		return answerError(errNoSite)
	}
	out, err := run(ctx, dr, req.Document)
	if err != nil {
		return answerError(err)
	}
	resp := &wire.OperatorResponse{}
	if page, ok := out.(LostPage); ok {
		resp.Data = page.Lines
	}
	if resp.Document, err = json.Marshal(out); err != nil {
		return answerError(fmt.Errorf("encode the answer: %w", err))
	}
	if n := len(resp.Document) + len(resp.Data); n > wire.OperatorAnswerMax {
		return answerError(fmt.Errorf("an answer of %d bytes, at most %d can be sent", n, wire.OperatorAnswerMax))
	}
	return resp
}

// advice is the document of an error.
type advice struct {
	Next string `json:"next,omitempty"`
}

const errorTextMax = 4 << 10 // bytes

func answerError(err error) *wire.OperatorResponse {
	e := &Error{Code: CodeFailed, Text: err.Error()}
	var told *Error
	switch {
	case errors.As(err, &told):
		e = told
	case errors.Is(err, context.DeadlineExceeded):
		e.Text, e.Next = "it took too long: "+e.Text, nextStatus
	}
	document, err := json.Marshal(advice{e.Next[:min(len(e.Next), errorTextMax)]})
	if err != nil {
		document = nil
	}
	return &wire.OperatorResponse{Code: int16(e.Code), Message: e.Text[:min(len(e.Text), errorTextMax)], Document: document}
}

// NewRequest encodes a request. in nil = an empty document.
func NewRequest(op Operation, in any) (*wire.OperatorRequest, error) {
	if in == nil {
		in = nothing{}
	}
	document, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	if len(document) > wire.OperatorDocumentMax {
		return nil, &Error{CodeUsage, fmt.Sprintf("the request is too long: %d bytes, at most %d can be sent", len(document), wire.OperatorDocumentMax), ""}
	}
	return &wire.OperatorRequest{Format: wire.OperatorFormat, Operation: int16(op), Document: document}, nil
}

// ReadAnswer reads the answer of a broker into out; nil = its document is of no interest. Errors: an *Error that the broker sent, or that says
// why it cannot be read.
func ReadAnswer(resp *wire.OperatorResponse, out any) error {
	if resp.Code != int16(CodeDone) {
		var a advice
		_ = json.Unmarshal(resp.Document, &a) // without it the text alone has to do
		return &Error{Code(resp.Code), resp.Message, a.Next}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(resp.Document, out); err != nil {
		return &Error{CodeFailed, fmt.Sprintf("the broker's answer cannot be read: %v", err), "use the tandem of the broker's version"}
	}
	if page, ok := out.(*LostPage); ok {
		page.Lines = resp.Data
	}
	return nil
}
