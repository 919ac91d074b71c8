package controller

import (
	"context"
	"fmt"
	"reflect"

	"github.com/tandembroker/tandem/storage/meta"
)

// Endpoint is what clients of a listener are told to connect to.
type Endpoint struct {
	Listener string `json:"name"`
	Host     string `json:"host"`
	Port     int32  `json:"port"`
}

// register tells the metadata who this broker is, where that has changed.
func (c *Controller) register(ctx context.Context, endpoints []Endpoint) error {
	id := c.opts.Host.Store().Identity()
	b := registerBroker{
		Node: id.NodeID, Disks: []string{id.DiskID}, Rack: c.opts.Config.Rack,
		LevelMin: meta.FormatLevelMin, LevelMax: meta.FormatLevel, Endpoints: endpoints,
	}
	if known, ok := c.machine.broker(b.Node); ok && reflect.DeepEqual(known, b) {
		return nil
	}
	f, err := c.propose(commandRegisterBroker, b)
	if err != nil {
		return err
	}
	if _, err := outcome[any](ctx, f); err != nil {
		return fmt.Errorf("controller: register broker %d: %w", b.Node, err)
	}
	return nil
}
