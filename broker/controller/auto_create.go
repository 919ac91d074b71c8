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
	running    map[string]chan struct{} // closed when the creation has ended
	closed     bool
}

// AutoCreate begins to create a topic with the broker's defaults, or __consumer_offsets with its own. The channel is closed when that has ended, well or not; nil
// means that nothing was begun: beyond a limit, the client's next request tries again. A topic that is under way is not created
// twice.
func (c *Controller) AutoCreate(name string) <-chan struct{} {
	a := &c.auto
	a.mu.Lock()
	defer a.mu.Unlock()
	if done, ok := a.running[name]; ok {
		return done
	}
	if a.closed || len(a.running) >= autoCreateMax {
		return nil
	}
	done := make(chan struct{})
	a.running[name] = done
	a.wait.Go(func() { // ends by itself within autoCreateTimeout; close waits
		a.create(name)
		a.mu.Lock()
		delete(a.running, name)
		a.mu.Unlock()
		close(done)
	})
	return done
}

// AutoCreating is closed when the creation of a topic on demand, which is under way, has ended; nil = it is not under way. The
// topic may be in the Image already, without leaders.
func (c *Controller) AutoCreating(name string) <-chan struct{} {
	a := &c.auto
	a.mu.Lock()
	defer a.mu.Unlock()
	if done, ok := a.running[name]; ok {
		return done
	}
	return nil
}

func (a *autoCreation) create(name string) {
	ctx, cancel := context.WithTimeout(a.controller.life.ctx, autoCreateTimeout)
	defer cancel()
	r := a.controller.CreateTopics(ctx, []NewTopic{a.controller.onDemand(name)}, false)[0]
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
