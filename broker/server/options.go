package server

import (
	"cmp"
	"log/slog"
	"math"
	"time"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/protocol/wire"
)

// Metrics counts what the server does. Methods are called on hot paths and must be fast.
type Metrics interface {
	// Request counts a request that was answered: api is its name, took the time from its last byte to its answer.
	Request(api string, took time.Duration)
	// Rejected counts a connection that the broker closed; reason is one of a few fixed words.
	Rejected(reason string)
}

// Options configures a Server. Listeners is required; the zero value of everything else works.
type Options struct {
	Listeners []config.Listener
	Limits    config.Network // zero fields get Kafka's defaults, or ours where Kafka has no limit

	// PipelineMax is how many pipelined requests of one connection may be unanswered; 0 = 16.
	PipelineMax int
	// PipelineBytesMax is how many bytes of them; one is always let in. 0 = 16 MiB.
	PipelineBytesMax int64
	// FrameTimeout is how long a frame may take from its first bytes to its last, plus one second a mebibyte; 0 = 30 s.
	FrameTimeout time.Duration
	// WriteTimeout is how long a client may leave the next mebibyte of an answer unread; 0 = 30 s.
	WriteTimeout time.Duration

	Pool    *wire.Pool // frames and copies; nil = one of its own
	Metrics Metrics    // nil = nothing is counted
	Logger  *slog.Logger
	Now     func() time.Time
}

const (
	pipelineDefault      = 16
	pipelineBytesDefault = 16 << 20
	frameTimeoutDefault  = 30 * time.Second
	writeTimeoutDefault  = 30 * time.Second

	requestBytesDefault   = 100 << 20 // socket.request.max.bytes
	queuedBytesDefault    = 256 << 20
	decodeBytesDefault    = 256 << 20
	idleDefault           = 10 * time.Minute // connections.max.idle.ms
	connectionsMaxDefault = math.MaxInt32

	// Frames and decoded requests above these sizes draw on budgets of their own (budget.go).
	largeFrame  = 2 << 20
	largeDecode = 4 << 20
)

func (o Options) withDefaults() Options {
	o.PipelineMax = cmp.Or(o.PipelineMax, pipelineDefault)
	o.PipelineBytesMax = cmp.Or(o.PipelineBytesMax, pipelineBytesDefault)
	o.FrameTimeout = cmp.Or(o.FrameTimeout, frameTimeoutDefault)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, writeTimeoutDefault)
	if o.Pool == nil {
		o.Pool = wire.NewPool(wire.PoolOptions{})
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &o.Limits
	l.RequestBytesMax = cmp.Or(l.RequestBytesMax, requestBytesDefault)
	l.QueuedBytesMax = cmp.Or(l.QueuedBytesMax, queuedBytesDefault)
	l.DecodeBytesMax = cmp.Or(l.DecodeBytesMax, decodeBytesDefault)
	l.ConnectionsMax = cmp.Or(l.ConnectionsMax, connectionsMaxDefault)
	l.ConnectionsPerIPMax = cmp.Or(l.ConnectionsPerIPMax, connectionsMaxDefault)
	l.IdleMax = cmp.Or(l.IdleMax, idleDefault)
	l.SendBufferBytes = cmp.Or(l.SendBufferBytes, -1)
	l.ReceiveBufferBytes = cmp.Or(l.ReceiveBufferBytes, -1)
	return o
}

type noMetrics struct{}

func (noMetrics) Request(string, time.Duration) {}
func (noMetrics) Rejected(string)               {}
