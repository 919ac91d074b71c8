package sites

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/meta"
)

// lastContact is what a standby keeps of its contact with the active: a failover to it is asked about that, also when the standby was
// started again since, and the active is there no more.
type lastContact struct {
	At      time.Time          `json:"at"`
	Epoch   uint32             `json:"epoch"`   // that this site followed
	Version controller.Version `json:"version"` // of the metadata then: of which partitions Copied speaks
	Copied  bool               `json:"copied"`  // the first copy of all of them was finished, and none was halted
}

const (
	contactBucket = "contact"
	contactLook   = 500 * time.Millisecond
	contactEach   = 10 * time.Second // how old what is stored may be while there is contact
)

var contactKey = []byte("last")

// loadContact is what an earlier run has stored; zero = nothing.
func (p *Pair) loadContact() (c lastContact, err error) {
	err = p.options.Meta.View(func(tx meta.Tx) error {
		text, err := tx.Get(contactBucket, contactKey)
		if err != nil || text == nil {
			return err
		}
		return json.Unmarshal(text, &c)
	})
	if err != nil {
		return lastContact{}, fmt.Errorf("last contact: %w", err)
	}
	return c, nil
}

// keepContact stores how the contact with the active stands, until the Pair is closed.
func (p *Pair) keepContact() {
	ticker := time.NewTicker(contactLook)
	defer ticker.Stop()
	stored := p.before
	for ended := false; !ended; {
		select {
		case <-p.ctx.Done():
			ended = true
		case <-ticker.C:
		}
		now, ok := p.contactNow()
		if !ok || !now.news(&stored, ended || !p.reachable()) {
			continue
		}
		text, err := json.Marshal(now)
		if err == nil {
			err = p.options.Meta.Update(func(tx meta.Tx) error { return tx.Put(contactBucket, contactKey, text) })
		}
		if err != nil {
			p.logger.Warn("the last contact with the other site is not stored", "error", err)
		}
		stored = now // tried again in a while
	}
}

// news says that c has to be stored: at once where there is more than time between the two, or no more will come (last).
func (c *lastContact) news(stored *lastContact, last bool) bool {
	passed := c.At.Sub(stored.At)
	same := *stored
	same.At = c.At
	return same != *c || passed >= contactEach || last && passed > 0
}

// contactNow is how the contact stands; ok is false where this site is no standby, or has not heard of an active in this run.
func (p *Pair) contactNow() (c lastContact, ok bool) {
	view := p.driver.View()
	told, heard := p.remote.told()
	version, followed := p.options.Controller.FollowedVersion()
	if view.Role != site.Standby || heard.IsZero() || !told.Active || told.Epoch != view.Epoch || !followed {
		return c, false
	}
	c = lastContact{At: heard.Round(0).UTC(), Epoch: view.Epoch, Version: version, Copied: true}
	for _, f := range p.partitionFacts(view.Role, heard) {
		c.Copied = c.Copied && f.Copied && f.Halted == site.Running
	}
	return c, true
}

// remember fills in what an earlier run has stored, where nothing was heard in this one.
func (p *Pair) remember(f *operator.Facts) {
	version, followed := p.options.Controller.FollowedVersion()
	if !followed || !f.LastContact.IsZero() || f.Here.Role != site.Standby || !p.before.counts(f.Here.Epoch, f.Now) {
		return
	}
	image := p.options.Controller.Image()
	p.before.fill(f, version, func(topic string, index int32) bool {
		t, ok := image.Topic(topic)
		return !ok || isRecopying(image, site.PartitionID{Topic: t.ID, Partition: index})
	})
}

// fill fills in what is known by c where version of the metadata stands. anew says of a partition that it is being copied anew: that may have begun
// since, without another version.
func (c *lastContact) fill(f *operator.Facts, version controller.Version, anew func(topic string, index int32) bool) {
	f.LastContact, f.AsOf = c.At, c.At
	for i := range f.Partitions {
		of := &f.Partitions[i]
		of.Copied = of.Copied || c.whole(version) && !anew(of.Topic, of.Index)
	}
}

// counts says that it is a contact of this site epoch. One in the future says nothing: one of the two clocks was wrong.
func (c *lastContact) counts(epoch uint32, now time.Time) bool {
	return !(c.At.IsZero() || c.At.After(now) || c.Epoch != epoch)
}

// whole says that the copies of all partitions of this version of the metadata were finished.
func (c *lastContact) whole(version controller.Version) bool { return c.Copied && version == c.Version }
