package wire

import (
	"context"
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
	return decode(h)
}

// DecodeWithin is Decode after reserving in m what the decoded request takes; it waits until that is free. The caller owes
// m.Release(reserved) once it is done with the request. On an error, ctx's among them, nothing is reserved.
func DecodeWithin(ctx context.Context, m *Memory, h RequestHeader) (req kmsg.Request, reserved int64, err error) {
	walked, err := measure(h.Key, h.Version, h.Body)
	if err != nil {
		return nil, 0, err
	}
	if err := m.Acquire(ctx, walked.memory); err != nil {
		return nil, 0, err
	}
	if req, err = decode(h); err != nil {
		m.Release(walked.memory)
		return nil, 0, err
	}
	return req, walked.memory, nil
}

// decode decodes a body that was checked.
func decode(h RequestHeader) (kmsg.Request, error) {
	req := kmsg.RequestForKey(h.Key)
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
