package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// newcomers starts a new producer of each family, with one record, as of now, when the operator's command is given. wait waits for its
// acknowledgements and prints how long they took, programs' start included.
func (p *pair) newcomers(ctx context.Context) (wait func() error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	began := time.Now()
	took, errs := make([]time.Duration, len(p.flows)), make([]error, len(p.flows))
	var all sync.WaitGroup
	for i, f := range p.flows {
		all.Go(func() {
			errs[i] = f.writeOne(ctx, p.addresses())
			took[i] = time.Since(began)
		})
	}
	return func() error {
		all.Wait()
		cancel()
		for i, f := range p.flows {
			if errs[i] == nil {
				fmt.Printf("    failover: the first record of a new %s was acknowledged %d ms after the command\n", f.name, took[i].Milliseconds())
			}
		}
		return errors.Join(errs...)
	}
}

// writeOne runs a producer of its own until its only record is acknowledged.
func (f *flow) writeOne(ctx context.Context, addresses string) error {
	args := f.program.(flowProgram).flow(addresses, f.topic, f.idempotent)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = append(os.Environ(), f.env...)
	var problems lockedBuffer
	c.Stderr = &problems
	input, err1 := c.StdinPipe() // stays open: some give up what is not acknowledged when they are told to end
	output, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start a new producer of %s: %w", f.name, err)
	}
	if _, err := fmt.Fprintf(input, "%s %s\n", encode([]byte("new")), encode([]byte("comer"))); err != nil {
		return fmt.Errorf("a new producer of %s: %w", f.name, err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	_ = c.Process.Kill() // what it does at its end is not of interest
	_ = c.Wait()
	if strings.HasPrefix(line, "ack ") {
		return nil
	}
	return fmt.Errorf("a new producer of %s: %w\n%s%s", f.name, errors.Join(errors.New("its record is not acknowledged"), err, ctx.Err()), line, tail(problems.String()))
}
