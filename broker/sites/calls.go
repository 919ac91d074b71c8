package sites

import (
	"context"
	"errors"
	"sync"
	"time"

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

// errNoAnswer is a request that the other site has not answered; it may have carried it out all the same.
var errNoAnswer = &operator.Error{Code: operator.CodeFailed, Text: "contact with the other site was lost before it answered", Next: "tandem dr status"}

// errLate is the same, where there is contact.
var errLate = &operator.Error{Code: operator.CodeFailed, Text: "the other site has not answered in time", Next: "tandem dr status"}

// unanswered says that err is not what the other site has said.
func unanswered(err error) bool { return errors.Is(err, errNoAnswer) || errors.Is(err, errLate) }

// forward has the other site carry out a request, and reads its answer into out; nil = of no interest. Errors: an *operator.Error, errNoAnswer
// as soon as contact is lost.
func (p *Pair) forward(ctx context.Context, op operator.Operation, in, out any) error {
	a, err := p.call(ctx, op, in)
	if err != nil {
		return err
	}
	return operator.ReadAnswer(&wire.OperatorResponse{Code: a.Code, Message: a.Message, Document: a.Document, Data: a.Data}, out)
}

// call sends a request to the other site and waits for its answer, whatever that is. Errors: those of forward.
func (p *Pair) call(ctx context.Context, op operator.Operation, in any) (answer, error) {
	peers := *p.peers.Load()
	if len(peers) == 0 {
		return answer{}, &operator.Error{Code: operator.CodeRefused, Text: "the other site has to answer this, and cannot be reached from here",
			Next: "ask a broker of the other site: --bootstrap-server HOST:PORT"}
	}
	req, err := operator.NewRequest(op, in)
	if err != nil {
		return answer{}, err
	}
	id, ch := p.calls.begin()
	defer p.calls.end(id)
	m, err := p.codec.pack(messageRequest, question{ID: id, Operation: req.Operation, Document: req.Document})
	if err != nil {
		return answer{}, err
	}
	p.transport.Send(peers[0], m, nil)
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case a := <-ch:
			return a, nil
		case <-look.C:
			if p.Connected() && p.silence() < reachablePatience {
				continue
			}
			return answer{}, errNoAnswer
		case <-ctx.Done():
			return answer{}, errLate
		case <-p.ctx.Done():
			return answer{}, &operator.Error{Code: operator.CodeFailed, Text: "the broker stops", Next: "ask another broker"}
		}
	}
}

// lookInterval is how often a request that is not answered looks whether the other site is still there.
const lookInterval = 100 * time.Millisecond

// answersTimeout bounds the question whether the other site is there; on a long line, where a lost packet costs some of them, so many round trips more.
const (
	answersTimeout = 2 * time.Second
	answersTrips   = 4
)

// answers asks the other site something, whatever it says to that: connections outlive what they led to for a while.
func (p *Pair) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answersTimeout+answersTrips*time.Duration(p.rtt.Load()))
	defer cancel()
	_, err := p.call(ctx, operator.OpProgress, identified{})
	return err == nil
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
