package wire

import "fmt"

// RequestHeader is a request's header and its undecoded body. Header version 2, with tags, belongs to flexible versions, 1 to
// all others; 0, without a client id, only to the ControlledShutdown 0 of old brokers, which nobody serves.
type RequestHeader struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string // a null client id reads as ""
	Body          []byte // borrowed from the frame
}

// ParseHeader splits a frame (without its size prefix) into header and body; Body borrows from b.
//
// Errors: ErrMalformed; ErrUnknownAPI; ErrUnsupportedVersion, with every field set when the API is ApiVersions: then the
// caller does not look at Body and answers with NewAPIVersionsResponse, which knows the rule of KIP-511, instead of closing
// the connection.
func ParseHeader(b []byte) (RequestHeader, error) {
	r := reader{src: b}
	h := RequestHeader{Key: r.int16(), Version: r.int16(), CorrelationID: r.int32()}
	if r.bad {
		return h, fmt.Errorf("%w: header of %d bytes", ErrMalformed, len(b))
	}
	api, ok := Lookup(h.Key)
	if !ok {
		return h, fmt.Errorf("%w: key %d version %d", ErrUnknownAPI, h.Key, h.Version)
	}
	var unserved error
	if !api.Serves(h.Version) {
		unserved = fmt.Errorf("%w: %s version %d, served are %d to %d", ErrUnsupportedVersion, api.Name, h.Version, api.AcceptMin, api.Max)
		if h.Key != keyAPIVersions {
			return h, unserved
		}
	}
	// The client id keeps its int16 length in flexible versions too, so that a broker can read the header of an ApiVersions
	// request that is newer than itself (KIP-482).
	if length := r.int16(); length >= 0 {
		h.ClientID = string(r.span(int(length)))
	} else if length != -1 {
		r.fail()
	}
	if api.flexible(h.Version) {
		r.skipTags()
	}
	if r.bad {
		return h, fmt.Errorf("%w: header of %s version %d, %d bytes", ErrMalformed, api.Name, h.Version, len(b))
	}
	h.Body = r.src
	return h, unserved
}
