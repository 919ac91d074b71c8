package sites

import (
	"context"
	"sync"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/transport"
)

// calls are the requests that the other site is asked to carry out. Safe for concurrent use.
type calls struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
	serving int // requests of the other site that are carried out here
}

// servingMax bounds how many requests of the other site are carried out at a time.
const servingMax = 16

func (c *calls) begin() (id uint64, ch chan answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = map[uint64]chan answer{}
	}
	c.last++
	ch = make(chan answer, 1)
	c.waiting[c.last] = ch
	return c.last, ch
}

func (c *calls) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// answered hands an answer to whoever waits for it; nobody any more is no fault.
func (c *calls) answered(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.waiting[a.ID]; ok {
		ch <- a
		delete(c.waiting, a.ID)
	}
}

// admit says whether one more request of the other site may be carried out; done ends it.
func (c *calls) admit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving >= servingMax {
		return false
	}
	c.serving++
	return true
}

func (c *calls) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving--
}

// forward has the other site carry out a request, and reads its answer into out; nil = of no interest. Errors: an *operator.Error.
func (p *Pair) forward(ctx context.Context, op operator.Operation, in, out any) error {
	peers := *p.peers.Load()
	if len(peers) == 0 {
		return &operator.Error{Code: operator.CodeRefused, Text: "the other site has to answer this, and cannot be reached from here",
			Next: "ask a broker of the other site: --bootstrap-server HOST:PORT"}
	}
	req, err := operator.NewRequest(op, in)
	if err != nil {
		return err
	}
	id, ch := p.calls.begin()
	defer p.calls.end(id)
	m, err := p.codec.pack(messageRequest, question{ID: id, Operation: req.Operation, Document: req.Document})
	if err != nil {
		return err
	}
	p.transport.Send(peers[0], m, nil)
	select {
	case a := <-ch:
		return operator.ReadAnswer(&wire.OperatorResponse{Code: a.Code, Message: a.Message, Document: a.Document, Data: a.Data}, out)
	case <-ctx.Done():
		return &operator.Error{Code: operator.CodeFailed, Text: "the other site has not answered in time", Next: "tandem dr status"}
	case <-p.ctx.Done():
		return &operator.Error{Code: operator.CodeFailed, Text: "the broker stops", Next: "ask another broker"}
	}
}

// serve carries out a request that the other site has sent, beside everything else.
func (p *Pair) serve(from transport.PeerID, q question) {
	if !p.calls.admit() {
		return // whoever asked gives up, and asks again
	}
	p.tasks.Go(func() {
		defer p.calls.done()
		ctx, cancel := context.WithTimeout(p.ctx, recordTimeout)
		defer cancel()
		resp := operator.Serve(ctx, DR{p, true}, &wire.OperatorRequest{Format: wire.OperatorFormat, Operation: q.Operation, Document: q.Document})
		m, err := p.codec.pack(messageAnswer, answer{ID: q.ID, Code: resp.Code, Message: resp.Message, Document: resp.Document, Data: resp.Data})
		if err != nil {
			p.logger.Warn("answer to the other site", "error", err)
			return
		}
		p.transport.Send(from, m, nil)
	})
}
