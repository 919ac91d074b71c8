// Package brokertest runs whole brokers inside tests, on free ports and temporary folders.
package brokertest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker"
	"github.com/tandembroker/tandem/broker/config"
)

// Limit bounds every wait of a test: far above what anything takes, so that only what hangs meets it.
const Limit = 60 * time.Second

// Listener is the name of the broker's only listener.
const Listener = "PLAINTEXT"

// Broker is a broker under test. It stops with the test.
type Broker struct {
	t   testing.TB
	cfg *config.Config
	log io.Writer

	*broker.Broker
	cancel context.CancelFunc
	ended  chan error
}

// Start runs a broker on an empty data directory; set holds key=value settings.
func Start(t testing.TB, set ...string) *Broker {
	t.Helper()
	cfg, err := config.Load(config.Input{Set: append([]string{
		"log.dirs=" + t.TempDir(), "listeners=" + Listener + "://127.0.0.1:0", "admin.listener=", "disk.ballast.bytes=0", "disk.reserve.bytes=0",
	}, set...)})
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{t: t, cfg: cfg, log: t.Output()}
	b.run()
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return b
}

func (b *Broker) run() {
	b.t.Helper()
	var err error
	b.Broker, err = broker.New(b.cfg, broker.Options{
		Version: "test", Logger: slog.New(slog.NewTextHandler(b.log, nil)),
		OnFatal: func(err error) { b.t.Errorf("fatal: %v", err) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.ended = cancel, make(chan error, 1)
	go func() { b.ended <- b.Broker.Run(ctx) }() // ended by Stop, which waits
	for deadline := time.Now().Add(Limit); b.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not ready: %v", b.Ready())
		}
	}
}

// Stop drains and closes the broker. Twice is safe.
func (b *Broker) Stop() error {
	if b.cancel == nil {
		return nil
	}
	b.cancel()
	b.cancel = nil
	select {
	case err := <-b.ended:
		return err
	case <-time.After(Limit):
		return errors.New("broker does not stop")
	}
}

// Restart stops the broker and starts one on the same data directory, on another port.
func (b *Broker) Restart() {
	b.t.Helper()
	if err := b.Stop(); err != nil {
		b.t.Fatal(err)
	}
	b.run()
}

// Address is host:port for clients.
func (b *Broker) Address() string { return b.Addr(Listener).String() }

// Config is the broker's configuration.
func (b *Broker) Config() *config.Config { return b.cfg }

// Client returns a client that is closed with the test.
func (b *Broker) Client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Address())}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// Context ends after Limit, or with the test.
func (b *Broker) Context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	b.t.Cleanup(cancel)
	return ctx
}

// CreateTopic creates a topic with one replica and returns when it leads; configs holds key=value pairs.
func (b *Broker) CreateTopic(name string, partitions int32, configs ...string) {
	b.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(Limit.Milliseconds())
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for _, c := range configs {
		key, value, _ := strings.Cut(c, "=")
		nc := kmsg.NewCreateTopicsRequestTopicConfig()
		nc.Name, nc.Value = key, &value
		t.Configs = append(t.Configs, nc)
	}
	req.Topics = append(req.Topics, t)
	req.SetVersion(req.MaxVersion())
	resp := b.Dial().Do(req).(*kmsg.CreateTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		message := ""
		if resp.Topics[0].ErrorMessage != nil {
			message = *resp.Topics[0].ErrorMessage
		}
		b.t.Fatalf("create topic %s: error code %d: %s", name, code, message)
	}
}

// Dial opens a raw connection that is closed with the test.
func (b *Broker) Dial() *Conn {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.Address())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(Limit)); err != nil {
		b.t.Fatal(err)
	}
	return NewConn(b.t, nc)
}

// Conn is a raw connection to a broker.
type Conn struct {
	net.Conn
	t    testing.TB
	next int32
	mu   sync.Mutex
}

// NewConn is a connection that the caller has opened, and closes.
func NewConn(t testing.TB, nc net.Conn) *Conn { return &Conn{Conn: nc, t: t} }

// Frame encodes a request with its size, header and correlation id.
func (c *Conn) Frame(req kmsg.Request) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, c.next)
}

// Send writes raw bytes.
func (c *Conn) Send(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// Do sends req in the version that it has and decodes the answer into its response.
func (c *Conn) Do(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.Send(c.Frame(req))
	return c.Response(req)
}

// Response reads the next answer, as that to req.
func (c *Conn) Response(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	body := c.Receive()
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	body = body[4:] // correlation id
	if resp.IsFlexible() && resp.Key() != 18 {
		body = body[1:] // header tags, of which there are none
	}
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("decode %T version %d: %v\n%x", resp, req.GetVersion(), err, body)
	}
	return resp
}

// Receive reads the next frame without its size.
func (c *Conn) Receive() []byte {
	c.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	body := make([]byte, int(size[0])<<24|int(size[1])<<16|int(size[2])<<8|int(size[3]))
	if _, err := io.ReadFull(c, body); err != nil {
		c.t.Fatalf("receive %d bytes: %v", len(body), err)
	}
	return body
}

// Closed fails the test unless the broker closes the connection without another byte.
func (c *Conn) Closed() {
	c.t.Helper()
	var b [1]byte
	n, err := c.Read(b[:])
	var timeout net.Error
	if n > 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatalf("connection not closed: read %d bytes, %v", n, err)
	}
}
