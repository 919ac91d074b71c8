package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// Host runs the Raft groups of one broker. Safe for concurrent use. Starts no goroutine of its own.
type Host struct {
	store    *storage.Store
	options  Options
	nodeID   int32
	serverID string
	limiter  *limiter

	mu struct {
		sync.Mutex
		groups map[storage.GroupID]*Group
		closed bool
	}
}

// NewHost returns a Host without Raft groups. The Store stays the caller's, and is closed after the Host.
func NewHost(store *storage.Store, o Options) *Host {
	id := store.Identity()
	o = o.withDefaults()
	h := &Host{
		store: store, options: o, nodeID: id.NodeID, serverID: ServerID(id.NodeID, id.DiskID), limiter: newLimiter(o.Now),
	}
	h.mu.groups = map[storage.GroupID]*Group{}
	return h
}

// ServerID is a broker as a member of Raft groups. It names the disk, so that a broker that comes back with an empty one is a
// new member and can not vote against what the old one promised (R14). Source: docs/formats.md section 2.
func ServerID(nodeID int32, diskID string) string { return fmt.Sprintf("%d@%s", nodeID, diskID) }

func parseServerID(id string) (nodeID int32, ok bool) {
	node, _, ok := strings.Cut(id, "@")
	n, err := strconv.ParseInt(node, 10, 32)
	return int32(n), ok && err == nil
}

// ServerID is this broker's.
func (h *Host) ServerID() string { return h.serverID }

// NodeID is this broker's node.id.
func (h *Host) NodeID() int32 { return h.nodeID }

// Store is where the Raft groups are kept.
func (h *Host) Store() *storage.Store { return h.store }

// Open starts the Raft group id with m as its machine, and creates it first where the Store has none. m is restored before
// Open returns; entries above its snapshot are applied once they are known to be committed, before Leading. A Raft group of
// this broker alone elects itself at once; WaitReady tells when it serves. Calls for different ids may run concurrently, so
// that many elections share the journal's syncs. Errors: ErrOffline where the data is not usable, ErrClosed, storage's.
func (h *Host) Open(id storage.GroupID, m Machine, boot Boot) (*Group, error) {
	g, err := h.reserve(id, m)
	if err != nil {
		return nil, err
	}
	if err := g.open(boot); err != nil {
		h.forget(g)
		return nil, err
	}
	return g, nil
}

func (h *Host) reserve(id storage.GroupID, m Machine) (*Group, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.closed {
		return nil, ErrClosed
	}
	if _, ok := h.mu.groups[id]; ok {
		return nil, fmt.Errorf("raft: Raft group %s is open", id)
	}
	g := &Group{host: h, id: id, machine: m, stopped: make(chan struct{}), logger: h.options.Logger.With("group", id.String())}
	g.mu.ready, g.mu.reviewed = make(chan struct{}), make(chan struct{})
	h.mu.groups[id] = g
	return g, nil
}

func (h *Host) forget(g *Group) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.groups[g.id] == g {
		delete(h.mu.groups, g.id)
	}
}

// open starts hashicorp/raft over what storage has.
func (g *Group) open(boot Boot) error {
	h := g.host
	sg, ok := h.store.Group(g.id)
	if !ok {
		var err error
		if sg, err = h.store.CreateGroup(g.id, boot.Folder, boot.Start, boot.LogOptions); err != nil {
			return fmt.Errorf("raft: create Raft group: %w", err)
		}
	}
	g.sg, g.floor = sg, boot.EpochFloor
	if h.store.FormatLevel() >= entry.LevelSites {
		g.track = newTrack(sg)
	}
	if err := verify(sg); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOffline, sg, err)
	}
	if snap, ok := sg.Snapshot(); ok {
		if err := g.machine.Restore(snap.State); err != nil {
			return fmt.Errorf("%w: %s: restore the state at index %d: %w", ErrOffline, sg, snap.Index, err)
		}
	}
	g.snaps = &snapshotStore{sg: sg}
	g.trans = h.options.Network.join(sg, h.serverID, h.options.Timeout)
	logs, stable := newLogStore(g), &stableStore{g: g, sg: sg}
	config := h.options.config(hraft.ServerID(h.serverID), &logger{h.options.Logger, g.id.String(), h.limiter})
	r, err := start(config, g, logs, stable, boot.Voters)
	if err != nil {
		g.trans.close()
		return fmt.Errorf("raft: start %s: %w", sg, err)
	}
	g.raft.Store(r)
	r.RegisterObserver(hraft.NewObserver(nil, false, g.observe))
	if err := g.Offline(); err != nil { // between NewRaft and here
		g.shutdown()
		<-g.stopped
		return err
	}
	if servers := r.GetConfiguration().Configuration().Servers; alone(servers, h.serverID) {
		g.Elect()
	}
	return nil
}

// start bootstraps a new Raft group and starts the library.
func start(config *hraft.Config, g *Group, logs *logStore, stable *stableStore, voters []string) (*hraft.Raft, error) {
	if _, snapshot := g.sg.Snapshot(); !snapshot && g.sg.LastIndex() == 0 && g.sg.Vote().Term <= 1 {
		if voters == nil {
			voters = []string{g.host.serverID}
		}
		if err := bootstrap(g, logs, stable, voters); err != nil {
			return nil, err
		}
	}
	return hraft.NewRaft(config, &fsm{g: g}, logs, stable, g.snaps, g.trans)
}

// bootstrap writes what hraft.BootstrapCluster writes: term 1 and the first membership. Unlike that, it finishes what a crash
// between the two has left.
func bootstrap(g *Group, logs *logStore, stable *stableStore, voters []string) error {
	var c hraft.Configuration
	for _, v := range voters {
		c.Servers = append(c.Servers, hraft.Server{ID: hraft.ServerID(v), Address: hraft.ServerAddress(v)})
	}
	if err := stable.SetUint64([]byte(keyCurrentTerm), 1); err != nil {
		return err
	}
	if err := g.Offline(); err != nil { // SetUint64 does not say
		return err
	}
	return logs.StoreLog(&hraft.Log{Index: 1, Term: 1, Type: hraft.LogConfiguration, Data: hraft.EncodeConfiguration(c)})
}

// alone says whether id is the only voter.
func alone(servers []hraft.Server, id string) bool {
	voters, self := 0, false
	for _, s := range servers {
		if s.Suffrage == hraft.Voter {
			voters++
			self = self || string(s.ID) == id
		}
	}
	return voters == 1 && self
}

// Group finds an open Raft group.
func (h *Host) Group(id storage.GroupID) (*Group, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, ok := h.mu.groups[id]
	return g, ok && g.raft.Load() != nil
}

// Stop ends the Raft group and keeps its data. What is in flight fails with ErrClosed. Errors: ErrUnknown.
func (h *Host) Stop(id storage.GroupID) error {
	g, ok := h.Group(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknown, id)
	}
	g.stop()
	h.forget(g)
	return nil
}

// Remove ends the Raft group, if it runs, and deletes it with its data: durable on return. Errors: storage's.
func (h *Host) Remove(id storage.GroupID) error {
	if err := h.Stop(id); err != nil && !errors.Is(err, ErrUnknown) {
		return err
	}
	return h.store.DeleteGroup(id)
}

// Checkpoint takes a snapshot of every Raft group that has something to save, and lets storage drop what they cover.
func (h *Host) Checkpoint(ctx context.Context) error {
	return h.store.Checkpoint(ctx, func(_ context.Context, sg *storage.Group) error {
		g, ok := h.Group(sg.ID())
		if !ok {
			return nil // not open, or not any more: what it has stays in the journal
		}
		err := g.raft.Load().Snapshot().Error()
		if errors.Is(err, hraft.ErrNothingNewToSnapshot) {
			return nil // nothing was applied since the start, no barrier either: its entries stay in the journal
		}
		return err
	})
}

// Run takes checkpoints when storage asks for them, until ctx ends.
func (h *Host) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.store.CheckpointC():
		}
		if err := h.Checkpoint(ctx); err != nil && ctx.Err() == nil {
			// The Raft groups it names keep their part of the journal; the next checkpoint tries again.
			h.options.Logger.LogAttrs(ctx, slog.LevelWarn, "checkpoint incomplete", slog.Any("err", err))
		}
	}
}

// Close takes a last checkpoint and ends all Raft groups; ctx bounds the checkpoint only. The second Close returns nil.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	closed := h.mu.closed
	h.mu.closed = true
	h.mu.Unlock()
	if closed {
		return nil
	}
	err := h.Checkpoint(ctx)
	h.mu.Lock()
	groups := make([]*Group, 0, len(h.mu.groups))
	for _, g := range h.mu.groups {
		if g.raft.Load() != nil {
			groups = append(groups, g)
		}
	}
	clear(h.mu.groups)
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(g.stop)
	}
	wg.Wait()
	return err
}
