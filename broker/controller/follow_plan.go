package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// Why the metadata of an active site was not applied.
var (
	// ErrNotFollowing: this site is no standby, or follows another site epoch than that of the metadata.
	ErrNotFollowing = errors.New("controller: not a standby of that site epoch")
	// ErrOldMetadata: it is older than what stands here. Nothing is to be done.
	ErrOldMetadata = errors.New("controller: older than the metadata that was applied")
	// ErrNeedWhole: changes are not enough; LogicalImage is needed.
	ErrNeedWhole = errors.New("controller: the metadata is needed whole")
	// ErrForeignData: a site that never was of this pair has topics that the active does not have.
	ErrForeignData = errors.New("controller: this site has topics of its own")
	// ErrMetadataMoved: the metadata changed while this was planned. Trying again will do.
	ErrMetadataMoved = errors.New("controller: the metadata has changed meanwhile")
)

// Conflict is a topic of the active that cannot be here, since another one has its name: one that this site does not ship, or whose
// deletion was not heard of. It is not shipped (site.HaltRecreated). Way out: delete the one that is not wanted.
type Conflict struct {
	Topic  string    `json:"topic"`
	Ours   uuid.UUID `json:"ours"`
	Theirs uuid.UUID `json:"theirs"`
}

// followCommand is the document of command 8: what makes the logical metadata that of the active. A large change is of several; the
// version stands with the last one.
type followCommand struct {
	Epoch    uint32            `json:"epoch"`    // the site epoch that is followed
	Revision uint64            `json:"revision"` // of what this was planned on
	Remove   []followRemove    `json:"remove,omitempty"`
	Create   []followCreate    `json:"create,omitempty"`
	Grow     []followGrow      `json:"grow,omitempty"`
	Shrink   []followShrink    `json:"shrink,omitempty"`
	Runs     []followRuns      `json:"runs,omitempty"`
	Configs  []followConfigs   `json:"configs,omitempty"`
	Cluster  map[string]string `json:"cluster"` // configs of all brokers; null = as they are
	Floors   map[string]int32  `json:"floors,omitempty"`
	NextPID  int64             `json:"nextPID,omitempty"`
	// Of the last one alone:
	Version   *Version   `json:"version,omitempty"`
	Whole     bool       `json:"whole,omitempty"`
	Conflicts []Conflict `json:"conflicts,omitempty"`
}

type followRemove struct {
	ID    uuid.UUID `json:"id"`
	At    int64     `json:"at"` // ms since 1970
	Floor int32     `json:"floor,omitempty"`
	Lost  bool      `json:"lost,omitempty"`
}

type followCreate struct {
	Topic  logicalTopic `json:"topic"`
	Placed []placement  `json:"placed,omitempty"` // none: it comes back from what is kept
}

type followGrow struct {
	ID    uuid.UUID   `json:"id"`
	First int32       `json:"first"`
	Added []placement `json:"added"`
}

type followShrink struct {
	ID         uuid.UUID `json:"id"`
	Partitions int32     `json:"partitions"`
	At         int64     `json:"at"`
}

// followRuns says anew when partitions came into being: both sites have added one of the same number. The link cuts what this one has
// in it, and the metadata says of the log what the active's is.
type followRuns struct {
	ID   uuid.UUID      `json:"id"`
	Runs []partitionRun `json:"runs"`
}

type followConfigs struct {
	ID      uuid.UUID         `json:"id"`
	Configs map[string]string `json:"configs"`
}

// Followed is what ApplyLogical has done.
type Followed struct {
	Version   Version    // of the metadata as it is now
	Conflicts []Conflict // topics that are left out
}

// ApplyLogical makes the logical metadata of this standby what LogicalImage or LogicalChanges of the active say. Twice is as once. It
// returns when that is committed; partitions are created behind it. What the active does not have is hidden for dr.delete.delay.ms.
// Errors: ErrNotFollowing, ErrOldMetadata, ErrNeedWhole, ErrForeignData, ErrMetadataMoved, ErrFrame, ErrFormatLevel,
// ErrNotController, ErrTimeout.
func (c *Controller) ApplyLogical(ctx context.Context, frame []byte) (Followed, error) {
	if c.opts.Host.Store().FormatLevel() < siteLevel {
		return Followed{}, ErrFormatLevel
	}
	if c.group == nil {
		return Followed{}, ErrNotController
	}
	l, err := decodeLogical(frame)
	if err != nil {
		return Followed{}, err
	}
	select {
	case c.follows <- struct{}{}:
		defer func() { <-c.follows }()
	case <-ctx.Done():
		return Followed{}, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
	p, err := c.planFollow(&l)
	if err != nil || p == nil {
		return p.followed(c.LogicalVersion()), err
	}
	for _, command := range p.parts(partBytes) {
		f, err := c.propose(commandFollow, command)
		if err != nil {
			return Followed{}, err
		}
		if _, err := outcome[any](ctx, f); err != nil {
			return Followed{}, err
		}
	}
	return p.followed(l.Version), nil
}

// plan is the difference between the metadata here and the active's.
type plan struct {
	followCommand
	controller *Controller
	image      *Image
	hidden     map[uuid.UUID]*hidden
	ownNames   map[string]*Topic // what has a name here once the removals are done
	delayFrom  int64             // ms since 1970
}

func (p *plan) followed(v Version) Followed {
	f := Followed{Version: v}
	if p != nil {
		f.Conflicts = p.Conflicts
	}
	return f
}

// planFollow compares; nil = this very version stands here.
func (c *Controller) planFollow(l *logical) (*plan, error) {
	m := c.machine
	m.mu.Lock()
	s, version, nextPID := m.mu.site, m.mu.version, m.mu.nextPID
	hiddenNow, cluster := maps.Clone(m.mu.hidden), maps.Clone(m.mu.configs[clusterResource])
	m.mu.Unlock()
	image := c.Image() // what has changed since is told by the revision
	if err := admitVersion(s, version, l); err != nil {
		return nil, err
	}
	if s.Followed && l.Version == version {
		return nil, nil
	}
	p := &plan{controller: c, image: image, hidden: hiddenNow, ownNames: map[string]*Topic{}, delayFrom: c.opts.Now().UnixMilli()}
	p.Epoch, p.Revision, p.Version, p.Whole = s.Role.Epoch, s.Revision, &l.Version, l.Base == nil
	p.Floors = l.Floors
	if l.NextPID > nextPID {
		p.NextPID = l.NextPID
	}
	if l.Cluster != nil && !maps.Equal(l.Cluster, cluster) {
		p.Cluster = l.Cluster
	}
	if err := p.removals(s, l); err != nil {
		return nil, err
	}
	if err := p.conflicts(s, l); err != nil {
		return nil, err
	}
	for i := range l.Topics {
		if err := p.topic(&l.Topics[i]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// admitVersion says whether metadata of an active can be applied to what stands here. It is asked when that is planned, and again
// when it is applied.
func admitVersion(s *siteState, now Version, l *logical) error {
	switch {
	case s == nil || s.Role.Role != site.Standby || l.Version.Epoch != s.Role.Epoch:
		return fmt.Errorf("%w: metadata of version %s", ErrNotFollowing, l.Version)
	case s.Followed && l.Version.Compare(now) < 0:
		return fmt.Errorf("%w: version %s, %s stands", ErrOldMetadata, l.Version, now)
	case l.Base != nil && (!s.Followed || l.Base.Compare(now) > 0):
		return fmt.Errorf("%w: changes since version %s, %s stands", ErrNeedWhole, *l.Base, now)
	}
	return nil
}

// removals finds what is here and must go: what was deleted, or all that the active does not have. Topics that this site does not
// ship are its own.
func (p *plan) removals(s *siteState, l *logical) error {
	theirs := map[uuid.UUID]bool{}
	for _, t := range l.Topics {
		theirs[t.ID] = true
	}
	deleted := map[uuid.UUID]removal{}
	for _, r := range l.Removed {
		deleted[r.ID] = r
	}
	var foreign []string
	for _, t := range p.image.Topics() {
		r, gone := deleted[t.ID]
		gone = !theirs[t.ID] && (gone || p.Whole && p.controller.ships(t.Name))
		switch {
		case !gone:
			p.ownNames[t.Name] = t
		case !s.Joined:
			foreign = append(foreign, t.Name)
		default:
			p.Remove = append(p.Remove, followRemove{
				ID: t.ID, At: p.delayFrom, Floor: max(r.Floor, p.controller.nextFloor(t)), Lost: p.Whole && !s.Followed,
			})
		}
	}
	if len(foreign) > 0 {
		return fmt.Errorf("%w: %s; way out: start it with an empty data directory", ErrForeignData, strings.Join(foreign[:min(len(foreign), 5)], ", "))
	}
	for _, r := range l.Removed { // also of names that are not here: a topic of it may come
		if !theirs[r.ID] && r.Floor > 0 {
			if p.Floors == nil {
				p.Floors = map[string]int32{}
			}
			p.Floors[r.Name] = max(p.Floors[r.Name], r.Floor)
		}
	}
	return nil
}

// conflicts keeps those that are still there. One that is over has left out a topic, which changes do not repeat.
func (p *plan) conflicts(s *siteState, l *logical) error {
	if p.Whole {
		return nil
	}
	for _, c := range s.Conflicts {
		told := slices.ContainsFunc(l.Topics, func(t logicalTopic) bool { return t.ID == c.Theirs })
		gone := slices.ContainsFunc(l.Removed, func(r removal) bool { return r.ID == c.Theirs })
		if told || gone {
			continue
		}
		if t, ok := p.ownNames[c.Topic]; !ok || t.ID != c.Ours {
			return fmt.Errorf("%w: topic %s can be here by now", ErrNeedWhole, c.Topic)
		}
		p.Conflicts = append(p.Conflicts, c)
	}
	return nil
}

// topic finds what is to be done for one topic of the active.
func (p *plan) topic(t *logicalTopic) error {
	own, here := p.ownNames[t.Name]
	if here && own.ID != t.ID {
		p.Conflicts = append(p.Conflicts, Conflict{Topic: t.Name, Ours: own.ID, Theirs: t.ID})
		return nil
	}
	if !here {
		if other, ok := p.image.TopicByID(t.ID); ok && other.Name != t.Name {
			return fmt.Errorf("%w: the id of topic %s is that of %s", ErrFrame, t.Name, other.Name)
		}
		if h, ok := p.hidden[t.ID]; ok {
			if h.topic.Name != t.Name {
				return fmt.Errorf("%w: the id of topic %s is that of %s", ErrFrame, t.Name, h.topic.Name)
			}
			p.Create = append(p.Create, followCreate{Topic: *t}) // and then as if it had been here
			return p.adjust(h.topic, t)
		}
		placed, err := p.place(t, 0, nil)
		p.Create = append(p.Create, followCreate{Topic: *t, Placed: placed})
		return err
	}
	return p.adjust(own, t)
}

// adjust makes a topic that is here what the active has of it.
func (p *plan) adjust(own *Topic, t *logicalTopic) error {
	have := int32(len(own.Partitions))
	switch {
	case t.Partitions < have:
		p.Shrink = append(p.Shrink, followShrink{ID: own.ID, Partitions: t.Partitions, At: p.delayFrom})
	case t.Partitions > have:
		added, err := p.place(t, have, own.Extra)
		if err != nil {
			return err
		}
		p.Grow = append(p.Grow, followGrow{ID: own.ID, First: have, Added: added})
	}
	for i := range min(have, t.Partitions) {
		if r := t.run(i); r.Born != own.Partitions[i].Born || r.Start != own.Partitions[i].Start {
			p.Runs = append(p.Runs, followRuns{ID: own.ID, Runs: t.Runs})
			break
		}
	}
	if !maps.Equal(own.Configs, t.Configs) {
		p.Configs = append(p.Configs, followConfigs{ID: own.ID, Configs: t.Configs})
	}
	return nil
}

// place decides where the partitions from first on live. Where this site has kept some of them, they are those: the link compares
// what they hold. The others are of an incarnation of their own: this site may have had some of that number, which are gone.
func (p *plan) place(t *logicalTopic, first int32, kept []Partition) ([]placement, error) {
	count := int(t.Partitions - first)
	factor := min(max(t.Replicas, 1), len(p.image.Brokers()))
	placed, err := p.controller.spread(p.image, count, factor)
	if err != nil {
		return nil, err
	}
	for i := range placed {
		placed[i].Incarnation = uint32(p.Revision)
		if i < len(kept) {
			placed[i].Incarnation, placed[i].Servers, placed[i].Recopying = kept[i].Incarnation, kept[i].Servers, kept[i].Recopying
		}
		r := t.run(first + int32(i))
		placed[i].Born, placed[i].Start = r.Born, r.Start
	}
	return placed, nil
}

// partBytes is how large one command gets before the rest goes into another.
const partBytes = entry.BodyMax / 4

// parts splits the plan where it is too large for one entry. Topics are removed before others of their names are created.
func (p *plan) parts(bytesMax int) []followCommand {
	last := p.followCommand
	var all []followCommand
	part := followCommand{Epoch: p.Epoch, Remove: p.Remove, Floors: p.Floors}
	size := 128 * (len(p.Remove) + len(p.Floors))
	last.Remove, last.Floors, last.Create = nil, nil, nil
	for _, c := range p.Create {
		text, _ := json.Marshal(c) // strings, numbers and maps of strings always encode
		if size += len(text); size > bytesMax && len(part.Create) > 0 {
			all = append(all, part)
			part, size = followCommand{Epoch: p.Epoch}, len(text)
		}
		part.Create = append(part.Create, c)
	}
	if rest, _ := json.Marshal(last); size+len(rest) > bytesMax && size > 0 {
		all = append(all, part)
		part = followCommand{}
	}
	last.Remove, last.Floors, last.Create = part.Remove, part.Floors, part.Create
	all = append(all, last)
	for i := range all {
		all[i].Revision = p.Revision + uint64(i)
	}
	return all
}
