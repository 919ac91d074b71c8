package dr

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/protocol/wire"
)

// Pause between two tries to reach any broker.
const retryPause = 200 * time.Millisecond

const answerFrameMax = wire.OperatorAnswerMax + 64<<10 // bytes

// client asks brokers, one at a time, over one connection. Not safe for concurrent use.
type client struct {
	addresses []string
	timeout   time.Duration // of a request, all tries together
	dial      func(ctx context.Context, address string) (net.Conn, error)
	sleep     func(ctx context.Context, d time.Duration) error

	conn        net.Conn // nil = none
	at          int      // of addresses: the next one to dial
	formatter   *kmsg.RequestFormatter
	correlation int32
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// noAnswer is that no broker has answered.
type noAnswer struct {
	told *operator.Error
	sent bool // a broker may have got the request
}

func (n *noAnswer) Error() string { return n.told.Text }
func (n *noAnswer) Unwrap() error { return n.told }

// ask sends a request and reads its answer into out. All requests may be sent again: those that begin something have an id of their own. So
// it goes on to the next broker when a connection fails, until the timeout. Errors: an *operator.Error,
// or a *noAnswer with one.
func (c *client) ask(ctx context.Context, op operator.Operation, in, out any) error {
	req, err := operator.NewRequest(op, in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	sent := false
	for tries := 1; ; tries++ {
		resp, err := c.try(ctx, req)
		sent = sent || c.conn != nil
		if err == nil {
			return operator.ReadAnswer(resp, out)
		}
		c.close()
		if refused := (*operator.Error)(nil); errors.As(err, &refused) {
			return err
		}
		// The first round is for addresses that are down for good; who is there is asked again only where it was there before.
		if tries >= len(c.addresses) && c.correlation == 0 || ctx.Err() != nil || c.sleep(ctx, retryPause) != nil {
			return &noAnswer{sent: sent, told: &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("no answer from %s: %v", c.address(), err),
				Next: "is a broker there? --bootstrap-server takes any broker of either site, or several: HOST:PORT,HOST:PORT"}}
		}
	}
}

// address is who was asked last.
func (c *client) address() string {
	return c.addresses[(c.at+len(c.addresses)-1)%len(c.addresses)]
}

// try asks one broker. An error other than an *operator.Error ends the connection.
func (c *client) try(ctx context.Context, req *wire.OperatorRequest) (*wire.OperatorResponse, error) {
	if c.conn == nil {
		address := c.addresses[c.at%len(c.addresses)]
		c.at++
		conn, err := c.dial(ctx, address)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	fresh := c.correlation == 0
	if _, err := conn.Write(c.formatter.AppendRequest(nil, req, c.correlation+1)); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	frame, err := readFrame(conn)
	if errors.Is(err, io.EOF) && fresh {
		return nil, &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("%s closed the connection: it is stopping, or too old, or no Tandem broker", c.address()),
			Next: "--bootstrap-server takes any broker of either site"}
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	c.correlation++
	return parse(frame, c.correlation)
}

// readFrame reads an answer without its size.
func readFrame(r io.Reader) ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	size := int64(binary.BigEndian.Uint32(prefix[:]))
	if size > answerFrameMax {
		return nil, fmt.Errorf("an answer of %d bytes, at most %d are read", size, int64(answerFrameMax))
	}
	var b bytes.Buffer // grows with what arrives
	if _, err := io.CopyN(&b, r, size); err != nil {
		return nil, fmt.Errorf("an answer of %d bytes ends after %d", size, b.Len())
	}
	return b.Bytes(), nil
}

// parse reads header and body of an answer.
func parse(frame []byte, correlation int32) (*wire.OperatorResponse, error) {
	const header = 4 + 1 // correlation id and an empty tag section
	if len(frame) < header || int32(binary.BigEndian.Uint32(frame)) != correlation || frame[4] != 0 {
		return nil, errors.New("the answer is to another request, or none of Tandem's")
	}
	resp := new(wire.OperatorResponse)
	if err := resp.ReadFrom(frame[header:]); err != nil {
		return nil, err
	}
	return resp, nil
}
