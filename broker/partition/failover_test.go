package partition

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
)

// client is an idempotent producer as Kafka's: five batches in flight, and after an error everything from the first one that
// was not acknowledged is sent again, in order.
type client struct {
	producer int64
	acked    int32
	offsets  []int64
	errors   map[string]int
}

func (c *client) run(t *testing.T, p *Partition, until int32) {
	for deadline := time.Now().Add(patience); c.acked < until; {
		if time.Now().After(deadline) {
			t.Errorf("producer %d stays at sequence %d: %v", c.producer, c.acked, c.errors)
			return
		}
		var window []*Append
		for seq := c.acked; seq < min(c.acked+5, until); seq++ {
			window = append(window, write{producer: c.producer, sequence: seq, size: 50}.append(t, p))
		}
		failed := false
		for _, a := range window {
			<-a.Done()
			r, err := a.Result()
			switch {
			case err == nil && !failed:
				c.offsets = append(c.offsets, r.BaseOffset)
				c.acked++
			case err == nil:
				// Behind a failed one: it is written, and will be answered as a duplicate.
			case errors.Is(err, ErrNotLeader), errors.Is(err, ErrRetriable), failed && errors.Is(err, ErrOutOfOrderSequence):
				failed = true
				c.errors[err.Error()]++
			default:
				t.Errorf("producer %d, sequence %d: %v", c.producer, c.acked, err)
				return
			}
		}
		if failed {
			time.Sleep(time.Millisecond) // a client's retry.backoff.ms
		}
	}
}

// Leadership is lost and won again under load: what was checked in one leadership and stored in the next becomes a void, and
// every batch that was acknowledged is in the log once, in order, where its acknowledgement said.
func TestElectionsUnderLoad(t *testing.T) {
	const until = 400
	b := newBroker(t)
	p := b.create(t, 0)
	clients := make([]*client, 4)
	done := make(chan struct{}, len(clients))
	for i := range clients {
		clients[i] = &client{producer: int64(i + 1), errors: map[string]int{}}
		go func() {
			clients[i].run(t, p, until)
			done <- struct{}{}
		}()
	}
	elections := 0
	rng := rand.New(rand.NewPCG(1, 2))
	for left := len(clients); left > 0; {
		select {
		case <-done:
			left--
		case <-time.After(time.Duration(rng.IntN(5000)) * time.Microsecond):
			p.group.Elect()
			elections++
			if rng.IntN(4) == 0 {
				continue // the next election may come before this one's leader serves
			}
			// On a slow disk elections alone would keep it busy, and no client would ever get its turn.
			if err := p.WaitReady(waitContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.WaitReady(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		return
	}
	t.Logf("%d elections, errors of the first client: %v", elections, clients[0].errors)
	checkOnce(t, p, clients, until)
	b.kill(t)
	b.start(t)
	checkOnce(t, b.get(t, 0), clients, until)
}

// checkOnce reads the log: each producer's sequences are there once, in order, at the offsets that were acknowledged.
func checkOnce(t *testing.T, p *Partition, clients []*client, until int32) {
	t.Helper()
	next := map[int64]int32{}
	_, hw, _, _ := p.Offsets()
	for offset := int64(0); offset < hw; {
		r, err := p.Read(offset, 1<<20, ReadUncommitted, -1, true)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := r.Extent.ReadAll()
		r.Extent.Release()
		if err != nil {
			t.Fatal(err)
		}
		for len(raw) > 0 {
			batch, rest, err := record.Next(raw)
			if err != nil {
				t.Fatal(err)
			}
			id, seq := batch.ProducerID(), batch.BaseSequence()
			if seq != next[id] || batch.BaseOffset() != offset {
				t.Fatalf("offset %d: producer %d, sequence %d, want offset %d, sequence %d", batch.BaseOffset(), id, seq, offset, next[id])
			}
			if got := clients[id-1].offsets[seq]; got != offset {
				t.Fatalf("producer %d, sequence %d is at offset %d, acknowledged was %d", id, seq, offset, got)
			}
			next[id]++
			offset, raw = batch.LastOffset()+1, rest
		}
	}
	for _, c := range clients {
		if next[c.producer] != until || c.acked != until {
			t.Errorf("producer %d: %d batches in the log, %d acknowledged, want %d", c.producer, next[c.producer], c.acked, until)
		}
	}
}
