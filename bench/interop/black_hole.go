package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// holeLimit is for every client to write and read again: some wait for 60 s for a broker that has gone without a word.
const holeLimit = 3 * time.Minute

// shortPatience tells the client programs to be short with a broker that does not answer (clients/goclients/main.go).
const shortPatience = "INTEROP_PATIENCE=short"

// blackHole takes every family's producer and group through the loss of the active site of which nobody is told: what is sent there vanishes.
// The clients keep the timeouts that they come with, which makes it long: not for CI.
func (s *suite) blackHole(ctx context.Context) error {
	if s.short {
		fmt.Println("    left out: the clients' own timeouts are long")
		return nil
	}
	clients, err := s.clients(ctx)
	if err != nil {
		return err
	}
	return s.vanish(ctx, "black-hole", clients)
}

// shortBlackHole is blackHole with shorter timeouts; in CI for one family.
func (s *suite) shortBlackHole(ctx context.Context) error {
	clients, err := s.clients(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(clients, func(c client) bool { return c.name == "sarama" }); s.short && i >= 0 {
		clients = clients[i : i+1]
	}
	return s.vanish(ctx, "black-hole-short", clients, shortPatience)
}

// vanish is one run; env is for the clients.
func (s *suite) vanish(ctx context.Context, name string, clients []client, env ...string) error {
	east, west, err := behindHole(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = west.end() }() // the run tells what is wrong
	p := &pair{s: s, name: name, active: "west", limit: holeLimit}
	defer p.close()
	if err := errors.Join(p.open(ctx, east, west), p.prepare(ctx, clients, env...)); err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	if err := p.start(writing); err != nil {
		return err
	}
	gone := p.disturb()
	if err := west.silence(); err != nil {
		return err
	}
	p.silence(true)
	if err := errors.Join(p.takeOver(ctx, gone), p.note(gone, name)); err != nil {
		return err
	}
	p.silence(false)
	if err := errors.Join(west.heal(), p.green(ctx), p.goOn(ctx, "the return", time.Now())); err != nil {
		return err
	}
	stop()
	return p.check(ctx)
}

// takeOver orders the failover when the standby has noticed that it hears nothing, before which it refuses one, and waits for the clients.
func (p *pair) takeOver(ctx context.Context, gone time.Time) error {
	err := p.until(ctx, "the standby hears nothing", func() (bool, error) {
		text, err := p.dr(ctx, "status", "--json")
		if err != nil {
			return false, err
		}
		var status struct{ Contact struct{ Connected bool } }
		err = json.Unmarshal([]byte(text), &status)
		return !status.Contact.Connected, err
	})
	if err != nil {
		return err
	}
	join := p.newcomers(ctx)
	if err := p.failover(ctx); err != nil {
		return errors.Join(err, join())
	}
	fmt.Printf("    failover: done %d ms after the site had gone\n", time.Since(gone).Milliseconds())
	return errors.Join(p.goOn(ctx, "the failover", time.Now()), join())
}

func (p *pair) silence(gone bool) {
	for _, f := range p.flows {
		f.silence(gone)
	}
}
