package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	clientID    = "oracle"
	answerMax   = 32 << 20 // bytes
	dialLimit   = 5 * time.Second
	keyVersions = 18
)

// errClosed says that the broker closed the connection instead of an answer.
var errClosed = errors.New("connection closed")

// conn is one raw connection. Not safe for concurrent use.
type conn struct {
	net         net.Conn
	r           *bufio.Reader
	correlation int32
}

func dial(address string) (*conn, error) {
	c, err := net.DialTimeout("tcp", address, dialLimit)
	if err != nil {
		return nil, err
	}
	return &conn{net: c, r: bufio.NewReader(c)}, nil
}

func (c *conn) close() { _ = c.net.Close() }

// send writes a request in its version.
func (c *conn) send(req kmsg.Request) error {
	c.correlation++
	return c.write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, c.correlation))
}

// write sends raw bytes. A connection that is closed is told by the next read.
func (c *conn) write(frame []byte) error {
	if _, err := c.net.Write(frame); err != nil {
		return errors.Join(errClosed, err)
	}
	return nil
}

// receive returns the next answer without size and correlation id. Errors: errClosed, os.ErrDeadlineExceeded.
func (c *conn) receive(limit time.Duration) ([]byte, error) {
	if err := c.net.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, closedOr(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > answerMax {
		return nil, fmt.Errorf("answer of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, closedOr(err)
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != c.correlation {
		return nil, fmt.Errorf("answer to request %d instead of %d", got, c.correlation)
	}
	return body[4:], nil
}

func closedOr(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return errors.Join(errClosed, err)
}

// decode reads an answer to req. Headers of flexible versions have one byte of tags here, but for that of ApiVersions.
func decode(body []byte, req kmsg.Request) (kmsg.Response, error) {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if req.Key() == keyVersions && len(body) >= 2 && binary.BigEndian.Uint16(body) == 35 {
		resp.SetVersion(0) // KIP-511: who asks in a version that is not there is told so in version 0
	}
	if resp.IsFlexible() && req.Key() != keyVersions {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("header of %T", resp)
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%T version %d: %w", resp, resp.GetVersion(), err)
	}
	return resp, nil
}

// readable reports whether an answer, or the end of the connection, has arrived.
func (c *conn) readable() bool {
	if err := c.net.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return true
	}
	_, err := c.r.Peek(1)
	var timeout net.Error
	return err == nil || !errors.As(err, &timeout) || !timeout.Timeout()
}

// call sends req and waits for its answer.
func (c *conn) call(req kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	if err := c.send(req); err != nil {
		return nil, err
	}
	body, err := c.receive(limit)
	if err != nil {
		return nil, err
	}
	return decode(body, req)
}
