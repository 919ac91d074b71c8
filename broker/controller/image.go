package controller

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
)

// Topic is a topic as the metadata has it. Never changed once it is in an Image: a change makes a new one.
type Topic struct {
	Name       string
	ID         uuid.UUID
	Partitions []Partition // by index
	// Extra are partitions behind those above, which this site had when it followed an active that did not: not served, and deleted
	// after a delay, counted from ExtraAt, ms since 1970.
	Extra   []Partition
	ExtraAt int64
	// ExtraArchived says that what Extra holds is in archives of lost records.
	ExtraArchived bool
	Configs       map[string]string // what was set for it
	Config        config.Topic      // that over the broker's defaults
	EpochFloor    int32

	changed Version // when that was changed last, in this run
}

// Partition is where one partition lives.
type Partition struct {
	Incarnation uint32
	Servers     []string   // ServerIDs
	Replicas    []int32    // their node ids, preferred leader first
	Born        uint32     // the site epoch in which it was created
	Start       int64      // its first offset
	Recopying   *recopying // nil = it is as the site has it; else its log was dropped, and is being copied anew from the active's
}

// Has says whether the topic has a partition of this index.
func (t *Topic) Has(index int32) bool { return index >= 0 && int(index) < len(t.Partitions) }

// all are the partitions that may be on disk.
func (t *Topic) all() []Partition { return slices.Concat(t.Partitions, t.Extra) }

// Broker is a registered broker.
type Broker struct {
	Node      int32
	Rack      string
	Site      string // "" where there is no pair of sites
	Endpoints []Endpoint
}

// Image is the metadata at one moment. Immutable.
type Image struct {
	byName  map[string]*Topic
	byID    map[uuid.UUID]*Topic
	brokers []Broker // by node id
	others  []Broker // of the other site, by node id
	since   Version  // what changed before, or for all topics at once, is not known any better

	sorted     func() []*Topic
	collisions func() map[string]string
}

func newImage(byName map[string]*Topic, byID map[uuid.UUID]*Topic, brokers map[int32]Broker) *Image {
	i := &Image{byName: byName, byID: byID}
	for _, node := range slices.Sorted(maps.Keys(brokers)) {
		i.brokers = append(i.brokers, brokers[node])
	}
	i.sorted = sync.OnceValue(func() []*Topic {
		return slices.SortedFunc(maps.Values(i.byName), func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	})
	i.collisions = sync.OnceValue(func() map[string]string {
		names := map[string]string{}
		for name := range i.byName {
			if form := collisionForm(name); form != "" {
				names[form] = name
			}
		}
		return names
	})
	return i
}

// Topic finds a topic by name.
func (i *Image) Topic(name string) (*Topic, bool) {
	t, ok := i.byName[name]
	return t, ok
}

// TopicByID finds a topic by id.
func (i *Image) TopicByID(id uuid.UUID) (*Topic, bool) {
	t, ok := i.byID[id]
	return t, ok
}

// Partition finds a partition that a topic has now, by the topic's id.
func (i *Image) Partition(topic uuid.UUID, index int32) (*Partition, bool) {
	t, ok := i.byID[topic]
	if !ok || !t.Has(index) {
		return nil, false
	}
	return &t.Partitions[index], true
}

// Changed is the version of the logical metadata that changed a topic last, or one behind it: what is written to the topic from here on is
// written under that or a later one.
func (i *Image) Changed(topic uuid.UUID) Version {
	t, ok := i.byID[topic]
	if !ok || t.changed.Compare(i.since) < 0 {
		return i.since
	}
	return t.changed
}

// Topics lists all topics by name. The slice must not be changed.
func (i *Image) Topics() []*Topic { return i.sorted() }

// Brokers lists the registered brokers by node id. The slice must not be changed.
func (i *Image) Brokers() []Broker { return i.brokers }

// OtherBrokers lists the brokers of the other site by node id, as it has told of them. The slice must not be changed.
func (i *Image) OtherBrokers() []Broker { return i.others }

// collides returns the topic whose name differs from name only in "." and "_".
func (i *Image) collides(name string) (other string, ok bool) {
	form := collisionForm(name)
	if form == "" {
		return "", false
	}
	other, ok = i.collisions()[form]
	return other, ok && other != name
}
