package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/partition"
)

const (
	// workersMax is how many partitions are created or deleted at a time: enough to share syncs of the journal, few enough
	// not to drown the disk.
	workersMax = 128

	// attemptMax is how long one attempt may take before its place goes to another.
	attemptMax = 30 * time.Second

	retryMin = 200 * time.Millisecond
	retryMax = 30 * time.Second
)

// Partitions is the part of partition.Manager that the controller needs.
type Partitions interface {
	Create(ctx context.Context, spec partition.Spec) (*partition.Partition, error)
	Get(topic string, id int32) (*partition.Partition, bool)
	Delete(ctx context.Context, topicID uuid.UUID, id int32) error
	Rename(topicID uuid.UUID, id int32, topic string) error
	Incarnation(topicID uuid.UUID, id int32) (incarnation uint32, ok bool)
	All() []*partition.Partition
}

// lifecycle makes the partitions of this broker what the metadata says: it creates and deletes them, and tries again what
// fails, until it succeeds or is no longer wanted.
type lifecycle struct {
	partitions Partitions
	serverID   string
	image      func() *Image
	standby    func() bool             // this site is the standby of a pair
	taken      func(topic string) bool // a topic of this name was set aside, with its folders
	gone       func(topicID uuid.UUID) // a deleted topic has no partition here any more
	logger     *slog.Logger
	workers    chan struct{} // holds one entry for each partition in work
	ctx        context.Context
	cancel     context.CancelFunc
	wait       sync.WaitGroup

	configuring sync.Mutex // orders SetConfig of partitions

	reconciled chan struct{} // closed when everything that was missing at the start has been tried once

	mu struct {
		sync.Mutex
		tasks  map[name]*task // the newest for each folder
		closed bool
	}
}

// name is what a partition's folder is named by: a topic that was created anew has the name of the one before.
type name struct {
	topic string
	id    int32
}

// task is the creation or deletion of one partition.
type task struct {
	topicID uuid.UUID
	before  *task         // works on the same folder and must end first
	tried   chan struct{} // closed after the first attempt
	err     error         // of the first attempt
	ended   chan struct{} // closed when it succeeded, or gave up
}

func newLifecycle(serverID string, logger *slog.Logger) *lifecycle {
	l := &lifecycle{serverID: serverID, logger: logger, workers: make(chan struct{}, workersMax), reconciled: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.mu.tasks = map[name]*task{}
	return l
}

// close gives up what is under way, begins nothing more, and waits.
func (l *lifecycle) close() {
	l.mu.Lock()
	l.mu.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wait.Wait()
}

// spawn runs fn beside its caller, unless the lifecycle is closed; close waits for it.
func (l *lifecycle) spawn(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.closed {
		l.wait.Go(fn)
	}
}

// create brings the partitions of t from index first on into being where they are this broker's.
func (l *lifecycle) create(t *Topic, first int) (tasks []*task) {
	taken := l.taken(t.Name)
	for i := first; i < len(t.Partitions); i++ {
		if l.mine(t.Partitions[i]) {
			tasks = append(tasks, l.createIn(t, int32(i), taken))
		}
	}
	return tasks
}

func (l *lifecycle) createIn(t *Topic, i int32, taken bool) *task {
	spec := specOf(t, i)
	spec.OwnFolder = taken
	return l.begin(name{t.Name, i}, t.ID, func(ctx context.Context) error {
		if err := l.dropOld(t.Name, t.ID, i); err != nil {
			return err
		}
		return l.createOne(ctx, spec)
	})
}

// createPartition brings partition i of t into being.
func (l *lifecycle) createPartition(t *Topic, i int32) {
	if l.mine(t.Partitions[i]) {
		l.createIn(t, i, l.taken(t.Name))
	}
}

// dropOld deletes the log before the one that the metadata has of a partition that is copied anew: the command that began that named it.
func (l *lifecycle) dropOld(topic string, topicID uuid.UUID, i int32) error {
	of, ok := l.image().Partition(topicID, i)
	if !ok || of.Recopying == nil {
		return nil
	}
	stored, ok := l.partitions.Incarnation(topicID, i)
	if !ok || stored != of.Recopying.Dropped {
		return nil
	}
	l.logger.Info("log dropped, the partition is copied anew", "topic", topic, "partition", i, "incarnation", stored)
	return l.partitions.Delete(l.ctx, topicID, i)
}

func (l *lifecycle) mine(p Partition) bool {
	return slices.Contains(p.Servers, l.serverID)
}

func specOf(t *Topic, id int32) partition.Spec {
	return partition.Spec{
		Topic: t.Name, TopicID: t.ID, Partition: id, Incarnation: t.Partitions[id].Incarnation,
		EpochFloor: t.EpochFloor, Start: t.Partitions[id].Start, Config: t.Config,
	}
}

// createOne creates a partition, or finds it, and waits until it leads: it is this broker's alone.
func (l *lifecycle) createOne(ctx context.Context, spec partition.Spec) error {
	if _, wanted := l.image().TopicByID(spec.TopicID); !wanted {
		return nil // deleted meanwhile
	}
	p, ok := l.partitions.Get(spec.Topic, spec.Partition)
	if !ok && l.partitions.Rename(spec.TopicID, spec.Partition, spec.Topic) == nil { // it was set aside
		p, ok = l.partitions.Get(spec.Topic, spec.Partition)
	}
	if !ok || p.TopicID() != spec.TopicID || p.Offline() != nil { // of one that could not be opened, Create tries that again
		var err error
		if p, err = l.partitions.Create(ctx, spec); err != nil {
			return err
		}
	}
	l.configureOne(p)
	return l.awaitOne(ctx, p)
}

// awaitOne waits until p serves; at a standby, until this broker leads it, since its log is the active's to write.
func (l *lifecycle) awaitOne(ctx context.Context, p *partition.Partition) error {
	moved := make(chan struct{}, 1)
	defer p.Subscribe(moved)()
	for {
		err := p.WaitReady(ctx)
		if !errors.Is(err, partition.ErrNotLeader) || p.Offline() != nil {
			return err
		}
		if l.standby() && p.Led() {
			return nil
		}
		select { // its link has not taken it over yet, or the leadership has ended
		case <-moved:
		case <-time.After(retryMin):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// configure gives the partitions of t, as far as they are there, the configuration that its topic has now.
func (l *lifecycle) configure(t *Topic) {
	for i := range t.Partitions {
		if p, ok := l.partitions.Get(t.Name, int32(i)); ok && p.TopicID() == t.ID {
			l.configureOne(p)
		}
	}
}

// configureOne asks the metadata under the lock: a partition that is created while its topic's configs change gets the newest.
func (l *lifecycle) configureOne(p *partition.Partition) {
	l.configuring.Lock()
	defer l.configuring.Unlock()
	if t, ok := l.image().TopicByID(p.TopicID()); ok {
		p.SetConfig(t.Config)
	}
}

// remove deletes the partitions of a topic from this broker's disks.
func (l *lifecycle) remove(t *Topic) {
	var tasks []*task
	for i, p := range t.all() {
		if !l.mine(p) {
			continue
		}
		tasks = append(tasks, l.begin(name{t.Name, int32(i)}, t.ID, func(ctx context.Context) error {
			if _, back := l.image().TopicByID(t.ID); back {
				return nil
			}
			return l.deleteOne(ctx, t.ID, int32(i))
		}))
	}
	l.spawn(func() { // ends with the tasks, or with close
		for _, work := range tasks {
			select {
			case <-work.ended:
			case <-l.ctx.Done():
				return
			}
		}
		if l.ctx.Err() == nil { // else a task may have ended without success
			l.gone(t.ID)
			l.logger.Info("topic deleted", "topic", t.Name, "id", t.ID.String(), "partitions", len(t.Partitions))
		}
	})
}

// setAside gives the partitions of a topic, behind whatever is under way for them, the name that they have while they are kept, and
// lets them keep everything. aside is the topic with that name.
func (l *lifecycle) setAside(t, aside *Topic) {
	for i, p := range t.all() {
		if l.mine(p) {
			l.begin(name{t.Name, int32(i)}, t.ID, func(context.Context) error { return l.setAsideOne(aside, int32(i)) })
		}
	}
}

func (l *lifecycle) setAsideOne(aside *Topic, id int32) error {
	if _, back := l.image().TopicByID(aside.ID); back {
		return nil // undeleted meanwhile
	}
	err := l.partitions.Rename(aside.ID, id, aside.Name)
	if errors.Is(err, partition.ErrUnknown) {
		return nil
	}
	if p, ok := l.partitions.Get(aside.Name, id); ok && p.TopicID() == aside.ID {
		p.SetConfig(aside.Config)
	}
	return err
}

// removeExtra deletes partitions of a topic from index first on, which it does not have any more.
func (l *lifecycle) removeExtra(t *Topic, extra []Partition) {
	for i, p := range extra {
		if !l.mine(p) {
			continue
		}
		id := int32(len(t.Partitions) + i)
		l.begin(name{t.Name, id}, t.ID, func(ctx context.Context) error {
			if now, ok := l.image().TopicByID(t.ID); ok && int(id) < len(now.all()) {
				return nil // it has it again
			}
			return l.deleteOne(ctx, t.ID, id)
		})
	}
}

// deleteOne deletes a partition from this broker's disks, if it is there.
func (l *lifecycle) deleteOne(ctx context.Context, topicID uuid.UUID, id int32) error {
	err := l.partitions.Delete(ctx, topicID, id)
	if errors.Is(err, partition.ErrUnknown) {
		return nil
	}
	return err
}

// begin starts work behind whatever is under way for the same folder.
func (l *lifecycle) begin(n name, topicID uuid.UUID, work func(context.Context) error) *task {
	t := &task{topicID: topicID, tried: make(chan struct{}), ended: make(chan struct{})}
	l.mu.Lock()
	t.before = l.mu.tasks[n]
	l.mu.tasks[n] = t
	l.mu.Unlock()
	l.spawn(func() { l.run(n, t, work) }) // ended by success or close, which waits
	return t
}

func (l *lifecycle) run(n name, t *task, work func(context.Context) error) {
	defer l.end(n, t)
	if t.before != nil {
		select {
		case <-t.before.ended:
		case <-l.ctx.Done():
			return
		}
		t.before = nil
	}
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		err := l.attempt(work)
		select {
		case <-t.tried:
		default:
			t.err = err
			close(t.tried)
		}
		if err == nil || l.ctx.Err() != nil {
			return
		}
		l.logger.Error("partition is not as the metadata wants it, trying again", "topic", n.topic, "partition", n.id, "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *lifecycle) attempt(work func(context.Context) error) error {
	select {
	case l.workers <- struct{}{}:
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
	defer func() { <-l.workers }()
	ctx, cancel := context.WithTimeout(l.ctx, attemptMax)
	defer cancel()
	return work(ctx)
}

func (l *lifecycle) end(n name, t *task) {
	l.mu.Lock()
	if l.mu.tasks[n] == t {
		delete(l.mu.tasks, n)
	}
	l.mu.Unlock()
	close(t.ended)
}

// await waits until the partitions of t from index first on have been created, or one could not be at the first attempt.
func (l *lifecycle) await(ctx context.Context, t *Topic, first int) error {
	for i := first; i < len(t.Partitions); i++ {
		l.mu.Lock()
		work := l.mu.tasks[name{t.Name, int32(i)}]
		l.mu.Unlock()
		if work == nil || work.topicID != t.ID {
			continue // ended, or superseded
		}
		select {
		case <-work.tried:
			if work.err != nil {
				return fmt.Errorf("partition %s-%d: %w", t.Name, i, work.err)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return l.ctx.Err()
		}
	}
	return nil
}

// reconcile brings everything to what the metadata says after a start: missing partitions are created, interrupted deletions
// finished. What no topic claims is kept. On return the partitions that are there have the configurations of their topics, which
// they were opened without where meta.db had not heard of the topic before a crash.
func (l *lifecycle) reconcile(topics, deleting, aside []*Topic) {
	kept := map[uuid.UUID]*Topic{}
	for _, t := range aside {
		kept[t.ID] = t
	}
	for _, p := range l.partitions.All() { // first these: they may have names that others want
		if t := kept[p.TopicID()]; t != nil {
			l.rename(p, t.Name)
			p.SetConfig(t.Config)
		}
	}
	claimed := map[uuid.UUID]*Topic{}
	for _, t := range topics {
		claimed[t.ID] = t
	}
	doomed := map[uuid.UUID]bool{}
	for _, t := range deleting {
		doomed[t.ID] = true
	}
	for _, p := range l.partitions.All() {
		if t := claimed[p.TopicID()]; t != nil {
			l.rename(p, t.Name)
			p.SetConfig(t.Config)
		} else if kept[p.TopicID()] == nil && !doomed[p.TopicID()] {
			l.logger.Error("partition on disk that no topic claims; it is kept and not served", "topic", p.Topic(),
				"id", p.TopicID().String(), "partition", p.ID())
		}
	}
	for _, t := range deleting {
		l.logger.Info("finishing the deletion of a topic", "topic", t.Name, "id", t.ID.String())
		l.remove(t)
	}
	var tasks []*task
	for _, t := range topics {
		tasks = append(tasks, l.create(t, 0)...)
	}
	l.spawn(func() { // ends with the first attempts, or with close
		for _, t := range tasks {
			select {
			case <-t.tried:
			case <-l.ctx.Done():
				return
			}
		}
		close(l.reconciled)
	})
}

// rename gives a partition the name that the metadata has for its topic, where that has changed since meta.db was stored.
func (l *lifecycle) rename(p *partition.Partition, topic string) {
	if p.Topic() == topic {
		return
	}
	if err := l.partitions.Rename(p.TopicID(), p.ID(), topic); err != nil {
		l.logger.Error("partition cannot have the name of its topic", "topic", topic, "partition", p.ID(), "error", err)
	}
}

// ready says whether what was missing at the start has been tried once.
func (l *lifecycle) ready() bool {
	select {
	case <-l.reconciled:
		return true
	default:
		return false
	}
}
