package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode checks a request's body (Check) and decodes it. Byte fields of the result, such as the records of a Produce, borrow
// from h.Body, so the frame must stay retained while the request is used; everything else is copied. Memory therefore does
// not grow with the size of records. Errors: ErrMalformed, ErrUnsupportedVersion, ErrUnknownAPI.
func Decode(h RequestHeader) (kmsg.Request, error) {
	if err := Check(h.Key, h.Version, h.Body); err != nil {
		return nil, err
	}
	req := requestFor(h.Key)
	if req == nil {
		return nil, fmt.Errorf("%w: key %d", ErrUnknownAPI, h.Key)
	}
	req.SetVersion(h.Version)
	// Not UnsafeReadFrom: its strings would borrow from a pooled buffer too, and strings travel far (hazard K3).
	if err := req.ReadFrom(h.Body); err != nil {
		return nil, fmt.Errorf("%w: key %d version %d: %w", ErrMalformed, h.Key, h.Version, err)
	}
	return req, nil
}

// requestFor returns an empty request, nil where there is no such API.
func requestFor(key int16) kmsg.Request {
	if key == KeyOperator {
		return new(OperatorRequest)
	}
	return kmsg.RequestForKey(key)
}

// DecodeMemory is Check, and returns at most how many bytes of memory Decode will take, a few hundred for a Produce of any size,
// and after it whoever answers (API.ElementMemory). It is what to reserve (Memory) before decoding. Errors: those of Check, and
// ErrTooMany.
func DecodeMemory(h RequestHeader) (int64, error) {
	got, err := measure(h.Key, h.Version, h.Body)
	if err != nil {
		return 0, err
	}
	api, _ := Lookup(h.Key)
	if api.ElementsMax > 0 && got.elements > api.ElementsMax {
		return 0, fmt.Errorf("%w: %s version %d has %d, limit %d", ErrTooMany, api.Name, h.Version, got.elements, api.ElementsMax)
	}
	return got.memory + requestMemory + int64(got.elements)*api.ElementMemory, nil
}

// requestMemory is what the request struct itself takes, in bytes.
const requestMemory = 512
