package controller

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// autoCreateMax is how many topics may be under way because clients asked for them by name.
	autoCreateMax     = 256
	autoCreateTimeout = 30 * time.Second
)

// autoCreation creates topics in the background.
type autoCreation struct {
	controller *Controller
	wait       sync.WaitGroup
	mu         sync.Mutex
	running    map[string]struct{}
	closed     bool
}

// AutoCreate begins to create a topic with the broker's defaults and does not wait: clients ask for its metadata again. A
// topic that is under way is not created twice, and beyond a limit nothing is begun, so the client's next request tries again.
func (c *Controller) AutoCreate(name string) {
	a := &c.auto
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.running[name]; ok || a.closed || len(a.running) >= autoCreateMax {
		return
	}
	a.running[name] = struct{}{}
	a.wait.Go(func() { // ends by itself within autoCreateTimeout; close waits
		a.create(name)
		a.mu.Lock()
		delete(a.running, name)
		a.mu.Unlock()
	})
}

func (a *autoCreation) create(name string) {
	ctx, cancel := context.WithTimeout(a.controller.life.ctx, autoCreateTimeout)
	defer cancel()
	r := a.controller.CreateTopics(ctx, []NewTopic{{Name: name, Partitions: -1, ReplicationFactor: -1}}, false)[0]
	if r.Err != nil && !errors.Is(r.Err, ErrTopicExists) && a.controller.life.ctx.Err() == nil {
		a.controller.logger.Warn("topic not created on demand", "topic", name, "error", r.Err)
	}
}

// close begins nothing more and waits for what is under way.
func (a *autoCreation) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.controller.life.cancel()
	a.wait.Wait()
}
