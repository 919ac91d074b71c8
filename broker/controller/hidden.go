package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/meta"
)

// hidden is a topic that was deleted, and whose data is kept for a time.
type hidden struct {
	topic *Topic
	at    int64 // ms since 1970
	lost  bool  // the active that this site has followed did not have it
	// archived says that its records are in archives of lost records that count: without that a lost one is never deleted.
	archived bool
}

// hiddenRecord is the document in meta.db.
type hiddenRecord struct {
	Topic    topicRecord       `json:"topic"`
	Configs  map[string]string `json:"configs,omitempty"`
	At       int64             `json:"at"`
	Lost     bool              `json:"lost,omitempty"`
	Archived bool              `json:"archived,omitempty"`
}

// aside is the topic under the name that it has while it is kept: none that a topic can have. Retention takes nothing of it.
func (h *hidden) aside() *Topic {
	t := *h.topic
	t.Name = t.Name + "~" + t.ID.String()
	t.Config.RetentionMs, t.Config.RetentionBytes = -1, -1
	return &t
}

// HiddenTopic is a topic that was deleted and can come back until Until.
type HiddenTopic struct {
	Name       string
	ID         uuid.UUID
	Partitions int
	At         time.Time // when it was deleted
	// Lost says that nobody deleted it: this site has followed an active that did not have it. Its records are at no other place.
	Lost bool
	// Extra says that it is only about partitions of a topic that goes on with fewer, or was deleted with fewer: only this site had them. Partitions
	// counts these.
	Extra bool
	// First is the index of the first of Partitions.
	First int32
	// Archived says that the records of what is Lost are in archives of lost records, which count.
	Archived bool
}

// HiddenTopics lists what is kept though it is deleted, in no order.
func (c *Controller) HiddenTopics() (all []HiddenTopic) {
	m := c.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, h := range m.mu.hidden {
		all = append(all, HiddenTopic{Name: h.topic.Name, ID: id, Partitions: len(h.topic.all()), At: time.UnixMilli(h.at), Lost: h.lost,
			Archived: h.archived})
		if len(h.topic.Extra) > 0 && !h.lost { // else they are lost with it
			all = append(all, extraOf(h.topic))
		}
	}
	for _, t := range m.mu.byID {
		if len(t.Extra) > 0 {
			all = append(all, extraOf(t))
		}
	}
	return all
}

// extraOf is about the partitions of t that only this site had.
func extraOf(t *Topic) HiddenTopic {
	return HiddenTopic{Name: t.Name, ID: t.ID, Partitions: len(t.Extra), At: time.UnixMilli(t.ExtraAt), Lost: true, Extra: true,
		First: int32(len(t.Partitions)), Archived: t.ExtraArchived}
}

// unsaved says that h holds records that nobody has deleted and that are nowhere else.
func (h *hidden) unsaved() bool {
	if h.lost {
		return !h.archived
	}
	return h.topic.unsaved()
}

// unsaved is that of a topic's extra partitions: who deletes the topic, here or at the other site, deletes those that it had.
func (t *Topic) unsaved() bool { return len(t.Extra) > 0 && !t.ExtraArchived }

// hideAt is when a topic is deleted now, in ms since 1970; 0 = its data goes at once.
func (c *Controller) hideAt() int64 {
	if _, ok := c.SiteRecord(); !ok || c.deleteDelay() == 0 {
		return 0
	}
	return c.opts.Now().UnixMilli()
}

// deleteDelay is dr.delete.delay.ms.
func (c *Controller) deleteDelay() time.Duration {
	if s := c.opts.Config.Site; s != nil {
		return s.DeleteDelay
	}
	return 0
}

// hideLocked keeps a topic that was taken out of the metadata.
func (m *machine) hideLocked(t *Topic, at int64, lost bool) (act func()) {
	h := &hidden{topic: t, at: at, lost: lost}
	m.putHiddenLocked(h)
	aside := h.aside()
	return func() {
		m.logger.Info("topic deleted, its data is kept for a time", "topic", t.Name, "id", t.ID.String(), "lost", lost)
		m.life.setAside(t, aside)
	}
}

func (m *machine) putHiddenLocked(h *hidden) {
	t := h.topic
	m.mu.hidden[t.ID] = h
	m.writeJSONLocked(bucketHidden, t.ID[:], hiddenRecord{Topic: recordOf(t), Configs: t.Configs, At: h.at, Lost: h.lost, Archived: h.archived})
}

// Kept says whether a topic of this name was deleted and may come back.
func (c *Controller) Kept(name string) bool { return c.machine.kept(name) }

func (m *machine) kept(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keptLocked(name, 0)
}

// keptLocked says whether a topic of this name is kept that was deleted since, in ms since 1970.
func (m *machine) keptLocked(name string, since int64) bool {
	for _, h := range m.mu.hidden {
		if h.topic.Name == name && h.at >= since {
			return true
		}
	}
	return false
}

// aside finds a topic that is kept.
func (m *machine) aside(id uuid.UUID) (*Topic, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.mu.hidden[id]; ok {
		return h.aside(), true
	}
	return nil, false
}

func (m *machine) loadHidden(tx meta.Tx, s *state) error {
	return tx.Each(bucketHidden, func(key, value []byte) error {
		id, err := uuid.FromBytes(key)
		if err != nil {
			return fmt.Errorf("%w: topic id of %d bytes", meta.ErrCorrupt, len(key))
		}
		r, err := decodeDocument[hiddenRecord](value)
		if err != nil {
			return fmt.Errorf("hidden topic %s: %w", id, err)
		}
		t := m.topicOf(id, r.Topic)
		t.Configs, t.Config = r.Configs, m.parse(t.Name, r.Configs)
		s.hidden[id] = &hidden{topic: t, at: r.At, lost: r.Lost, archived: r.Archived}
		return nil
	})
}

// undeleteTopic is the document of command 9.
type undeleteTopic struct {
	ID   uuid.UUID `json:"id"`
	Lost bool      `json:"lost,omitempty"` // also where nobody deleted it, but an active that this site followed did not have it
}

// UndeleteTopic brings a deleted topic back, with its data, here and then at the other site. It returns when its partitions lead. lost
// brings back one that nobody deleted, since the other site never had it: whoever says so has withdrawn the archives of its records.
// Errors: ErrUnknownTopicID, ErrTopicExists, ErrInvalidRequest, ErrStandby, ErrTimeout.
func (c *Controller) UndeleteTopic(ctx context.Context, id uuid.UUID, lost bool) error {
	f, err := c.propose(commandUndeleteTopic, undeleteTopic{ID: id, Lost: lost})
	if err != nil {
		return err
	}
	t, err := outcome[*Topic](ctx, f)
	if err != nil {
		return err
	}
	c.logger.Info("topic undeleted", "topic", t.Name, "id", t.ID.String())
	if err := c.life.await(ctx, t, 0); err != nil {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return nil
}

func (m *machine) undeleteLocked(c undeleteTopic) (any, func()) {
	if err := m.mu.site.refusal(); err != nil {
		return err, nil
	}
	h, ok := m.mu.hidden[c.ID]
	if !ok {
		return refuse(ErrUnknownTopicID, "No deleted topic has the id %s.", c.ID), nil
	}
	if other, ok := m.mu.topics[h.topic.Name]; ok {
		return refuse(ErrTopicExists, "Topic '%s' was created again, with id %s; delete that one first.", other.Name, other.ID), nil
	}
	if h.lost && !c.Lost {
		return refuse(ErrInvalidRequest, "Topic '%s' was not deleted: the other site never had it.", h.topic.Name), nil
	}
	t := m.restoreLocked(h, m.changedLocked())
	return t, func() { m.life.create(t, 0) }
}

// restoreLocked puts a hidden topic back. Its name must be free.
func (m *machine) restoreLocked(h *hidden, v Version) *Topic {
	t := *h.topic
	t.changed = v
	delete(m.mu.hidden, t.ID)
	m.writeLocked(bucketHidden, t.ID[:], nil)
	m.unremoveLocked(t.ID)
	t.Config = m.parse(t.Name, t.Configs)
	m.addTopicLocked(&t)
	m.image.Store(nil)
	return &t
}

// archivedTopics is the document of command 11: topics, or extra partitions of them, that were lost and whose records are in archives.
type archivedTopics struct {
	Topics    []uuid.UUID `json:"topics"`
	Extra     bool        `json:"extra,omitempty"`     // extra partitions, also where the topic was deleted since
	At        int64       `json:"at,omitempty"`        // when they were hidden, ms since 1970: what was hidden anew since is not archived; 0 = whenever
	Withdrawn bool        `json:"withdrawn,omitempty"` // the archives are about to be removed
}

// LostIsArchived notes that what only this site had, h, is in archives of lost records that count. From then on PurgeHidden takes it.
// Errors: ErrUnknownTopicID where it is not hidden any more, or was hidden anew since; ErrNotController, ErrTimeout.
func (c *Controller) LostIsArchived(ctx context.Context, h HiddenTopic) error {
	return c.archived(ctx, archivedTopics{Topics: []uuid.UUID{h.ID}, Extra: h.Extra, At: h.At.UnixMilli()})
}

// LostIsWithdrawn takes LostIsArchived back, in front of the removal of archives: PurgeHidden takes no records that are nowhere else, also after
// a crash. Errors: as LostIsArchived; then the archives may be all that there is.
func (c *Controller) LostIsWithdrawn(ctx context.Context, h HiddenTopic) error {
	return c.archived(ctx, archivedTopics{Topics: []uuid.UUID{h.ID}, Extra: h.Extra, At: h.At.UnixMilli(), Withdrawn: true})
}

func (c *Controller) archived(ctx context.Context, command archivedTopics) error {
	f, err := c.propose(commandArchivedTopics, command)
	if err != nil {
		return err
	}
	_, err = outcome[any](ctx, f)
	return err
}

func (m *machine) archivedLocked(c archivedTopics) (any, func()) {
	for _, id := range c.Topics {
		h, t := m.mu.hidden[id], m.mu.byID[id]
		switch {
		case h != nil && c.Extra && len(h.topic.Extra) > 0 && (c.At == 0 || c.At == h.topic.ExtraAt):
			next, of := *h, *h.topic
			of.ExtraArchived = !c.Withdrawn
			next.topic = &of
			m.putHiddenLocked(&next)
		case h != nil && !c.Extra && (c.At == 0 || c.At == h.at):
			next := *h
			next.archived = !c.Withdrawn
			m.putHiddenLocked(&next)
		case h == nil && t != nil && len(t.Extra) > 0 && (c.At == 0 || c.At == t.ExtraAt):
			next := *t
			next.ExtraArchived = !c.Withdrawn
			m.putTopicLocked(&next)
			m.image.Store(nil)
		default:
			return refuse(ErrUnknownTopicID, "Nothing of the topic with id %s is kept since then.", id), nil
		}
	}
	return nil, nil
}

// purgeTopics is the document of command 10: what was hidden so long that its data may go.
type purgeTopics struct {
	Topics []uuid.UUID `json:"topics"`
	Now    int64       `json:"now"`   // ms since 1970
	Delay  int64       `json:"delay"` // ms
}

// PurgeHidden deletes the data of topics that were deleted longer than dr.delete.delay.ms ago, for good. What only this site had goes once
// LostIsArchived has said so. It returns how many go.
func (c *Controller) PurgeHidden(ctx context.Context) (int, error) {
	command := purgeTopics{Now: c.opts.Now().UnixMilli(), Delay: c.deleteDelay().Milliseconds()}
	all := c.HiddenTopics()
	kept := map[uuid.UUID]bool{}
	for _, h := range all {
		kept[h.ID] = kept[h.ID] || h.Lost && !h.Archived
	}
	for _, h := range all {
		if command.due(h.At.UnixMilli()) && !kept[h.ID] {
			command.Topics = append(command.Topics, h.ID)
		}
	}
	if len(command.Topics) == 0 {
		return 0, nil
	}
	f, err := c.propose(commandPurgeTopics, command)
	if err != nil {
		return 0, err
	}
	return outcome[int](ctx, f)
}

func (p *purgeTopics) due(at int64) bool { return at+p.Delay <= p.Now }

// purgeLocked takes the topics that have waited long enough; the result is how many. One that was undeleted, or deleted anew, since
// this was proposed stays.
func (m *machine) purgeLocked(c purgeTopics) (any, func()) {
	var acts []func()
	for _, id := range c.Topics {
		h, ok := m.mu.hidden[id]
		if !ok {
			if t := m.mu.byID[id]; t != nil && len(t.Extra) > 0 && t.ExtraArchived && c.due(t.ExtraAt) {
				acts = append(acts, m.purgeExtraLocked(t))
			}
			continue
		}
		if !c.due(h.at) || h.unsaved() {
			continue
		}
		delete(m.mu.hidden, id)
		m.writeLocked(bucketHidden, id[:], nil)
		m.mu.deleting[id] = h.topic
		m.writeJSONLocked(bucketDeleting, id[:], recordOf(h.topic))
		aside := h.aside()
		acts = append(acts, func() { m.life.remove(aside) })
		if m.mu.topics[h.topic.Name] == nil && !m.keptLocked(h.topic.Name, h.at) {
			acts = append(acts, func() { m.onDeleted(h.topic) })
		}
	}
	return len(acts), func() {
		for _, act := range acts {
			act()
		}
	}
}

func (m *machine) purgeExtraLocked(old *Topic) (act func()) {
	t := *old
	t.Extra, t.ExtraAt, t.ExtraArchived = nil, 0, false
	m.putTopicLocked(&t)
	m.image.Store(nil)
	return func() { m.life.removeExtra(&t, old.Extra) }
}
