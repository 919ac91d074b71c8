package controller

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/site"
)

// followLocked applies what ApplyLogical has planned, all of it or nothing. The plan was made of the metadata as it was at its
// revision, which nothing but this command and the site's own change on a standby. What must never happen is checked here all the same.
func (m *machine) followLocked(c followCommand) (any, func()) {
	if err := m.checkFollowLocked(&c); err != nil {
		return err, nil
	}
	var acts []func()
	then := func(act func()) {
		if act != nil {
			acts = append(acts, act)
		}
	}
	v := m.mu.version
	if c.Version != nil {
		v = *c.Version
	}
	for _, r := range c.Remove {
		t := m.mu.byID[r.ID]
		m.dropTopicLocked(t, r.Floor)
		m.removedLocked(t, v)
		then(m.hideLocked(t, r.At, r.Lost))
	}
	for name, floor := range c.Floors {
		m.raiseFloorLocked(name, floor)
	}
	for _, n := range c.Create {
		t := m.followCreateLocked(n, v)
		then(func() { m.life.create(t, 0) })
	}
	for _, g := range c.Grow {
		t := m.followGrowLocked(g, v)
		then(func() { m.life.create(t, int(g.First)) })
	}
	for _, s := range c.Shrink {
		m.followShrinkLocked(s, v)
	}
	for _, r := range c.Runs {
		m.followRunsLocked(r, v)
	}
	for _, k := range c.Configs {
		t := m.setTopicConfigsLocked(m.mu.byID[k.ID], k.Configs, v)
		then(func() { m.life.configure(t) })
	}
	if c.Cluster != nil {
		m.mu.clusterChanged = v
		then(m.putBrokerConfigsLocked(clusterResource, c.Cluster))
	}
	m.mu.nextPID = max(m.mu.nextPID, c.NextPID)
	next := *m.mu.site
	next.Joined = true
	if c.Version != nil {
		m.mu.version = v
		next.Conflicts, next.Followed = c.Conflicts, true
		for _, conflict := range c.Conflicts {
			m.logger.Error("a topic of the active site is not shipped: another one has its name here", "topic", conflict.Topic,
				"ours", conflict.Ours.String(), "theirs", conflict.Theirs.String())
		}
	}
	m.putSiteLocked(&next)
	return nil, func() {
		for _, act := range acts {
			act()
		}
	}
}

func (m *machine) checkFollowLocked(c *followCommand) error {
	s := m.mu.site
	if s == nil || s.Role.Role != site.Standby || s.Role.Epoch != c.Epoch {
		return fmt.Errorf("%w: metadata of site epoch %d", ErrNotFollowing, c.Epoch)
	}
	if c.Version != nil {
		l := logical{Version: *c.Version}
		if !c.Whole {
			l.Base = &m.mu.version
		}
		if err := admitVersion(s, m.mu.version, &l); err != nil {
			return err
		}
	}
	if s.Revision != c.Revision {
		return ErrMetadataMoved
	}
	return m.checkPlanLocked(c)
}

// checkPlanLocked refuses a plan that does not fit to what is here: data of one topic would become another's, or be lost.
func (m *machine) checkPlanLocked(c *followCommand) error {
	removed := map[uuid.UUID]bool{}
	for _, r := range c.Remove {
		if m.mu.byID[r.ID] == nil || removed[r.ID] || r.At <= 0 || !m.mu.site.Joined {
			return fmt.Errorf("%w: no topic %s to delete", ErrMetadataMoved, r.ID)
		}
		removed[r.ID] = true
	}
	created := map[uuid.UUID]*logicalTopic{}
	names := map[string]bool{}
	for i := range c.Create {
		t := &c.Create[i].Topic
		if other, ok := m.mu.topics[t.Name]; ok && !removed[other.ID] || names[t.Name] {
			return refuse(ErrTopicExists, "Topic '%s' already exists.", t.Name) // never another's data under the same name
		}
		h := m.mu.hidden[t.ID]
		if m.mu.byID[t.ID] != nil || created[t.ID] != nil ||
			(h == nil) != (len(c.Create[i].Placed) == int(t.Partitions)) || h != nil && h.topic.Name != t.Name {
			return fmt.Errorf("%w: topic %s with id %s", ErrMetadataMoved, t.Name, t.ID)
		}
		created[t.ID], names[t.Name] = t, true
	}
	// have is how many partitions a topic has once it is created; -1 = there is none.
	have := func(id uuid.UUID) int32 {
		if t := m.mu.byID[id]; t != nil && !removed[id] {
			return int32(len(t.Partitions))
		}
		if created[id] == nil {
			return -1
		}
		if h := m.mu.hidden[id]; h != nil {
			return int32(len(h.topic.Partitions))
		}
		return created[id].Partitions
	}
	for _, g := range c.Grow {
		if have(g.ID) != g.First || len(g.Added) == 0 {
			return fmt.Errorf("%w: topic %s has not %d partitions", ErrMetadataMoved, g.ID, g.First)
		}
	}
	for _, s := range c.Shrink {
		if n := have(s.ID); s.Partitions < 1 || s.Partitions >= n || s.At <= 0 {
			return fmt.Errorf("%w: topic %s has %d partitions, not more than %d", ErrMetadataMoved, s.ID, n, s.Partitions)
		}
	}
	for _, r := range c.Runs {
		if have(r.ID) < 0 {
			return fmt.Errorf("%w: no topic %s", ErrMetadataMoved, r.ID)
		}
	}
	for _, k := range c.Configs {
		if have(k.ID) < 0 {
			return fmt.Errorf("%w: no topic %s to configure", ErrMetadataMoved, k.ID)
		}
	}
	return nil
}

func (m *machine) followCreateLocked(n followCreate, v Version) *Topic {
	if h, ok := m.mu.hidden[n.Topic.ID]; ok {
		return m.restoreLocked(h, v)
	}
	t := &Topic{
		Name: n.Topic.Name, ID: n.Topic.ID, Configs: n.Topic.Configs, Config: m.parse(n.Topic.Name, n.Topic.Configs),
		EpochFloor: n.Topic.EpochFloor, Partitions: m.partitions(n.Topic.Name, n.Placed), changed: v,
	}
	delete(m.mu.deleting, t.ID) // this site had done with it, the active has brought it back
	m.writeLocked(bucketDeleting, t.ID[:], nil)
	m.addTopicLocked(t)
	return t
}

func (m *machine) followGrowLocked(g followGrow, v Version) *Topic {
	t := *m.mu.byID[g.ID]
	t.Partitions = append(t.Partitions[:len(t.Partitions):len(t.Partitions)], m.partitions(t.Name, g.Added)...)
	t.Extra = t.Extra[min(len(g.Added), len(t.Extra)):]
	if len(t.Extra) == 0 {
		t.ExtraAt, t.ExtraArchived = 0, false
	}
	t.changed = v
	m.putTopicLocked(&t)
	return &t
}

func (m *machine) followRunsLocked(r followRuns, v Version) {
	t := *m.mu.byID[r.ID]
	theirs := logicalTopic{Runs: r.Runs}
	t.Partitions = slices.Clone(t.Partitions)
	for i := range t.Partitions {
		run := theirs.run(int32(i))
		t.Partitions[i].Born, t.Partitions[i].Start = run.Born, run.Start
	}
	t.changed = v
	m.putTopicLocked(&t)
}

// followShrinkLocked keeps the partitions that the active does not have where nobody sees them.
func (m *machine) followShrinkLocked(s followShrink, v Version) {
	t := *m.mu.byID[s.ID]
	all := t.all()
	t.Partitions, t.Extra, t.ExtraAt, t.changed = all[:s.Partitions:s.Partitions], all[s.Partitions:], s.At, v
	t.ExtraArchived = false
	m.putTopicLocked(&t)
}
