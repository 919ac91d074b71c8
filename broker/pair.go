package broker

import (
	"context"
	"fmt"
	"net"

	"github.com/tandembroker/tandem/broker/metrics"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/sites"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
)

// formatLevel is the format level that the configuration needs.
func (b *Broker) formatLevel() int {
	if b.cfg.Site != nil {
		return entry.LevelSites
	}
	return 0 // what the data directory has
}

// holdEpochBase says that a new log is not this site's to write before its link has said so (raft.Options.HoldEpochBase).
func (b *Broker) holdEpochBase(id storage.GroupID) bool {
	r, ok := b.controller.SiteRecord()
	if !ok {
		return b.cfg.Site != nil
	}
	if t, known := b.controller.Image().TopicByID(id.Topic); known && b.cfg.Site != nil && !b.cfg.Site.Ships(t.Name) {
		return false // it has no link
	}
	return r.Role.Role != site.Active || r.Role.Epoch != 0
}

// holdBytes is what retention holds back for the other site.
func (b *Broker) holdBytes() int64 {
	if b.cfg.Site == nil {
		return 0
	}
	return b.cfg.Site.RetentionHoldBytes
}

func (b *Broker) openArchives() (*archive.Archives, error) {
	if b.cfg.Site == nil {
		return nil, nil
	}
	return archive.Open(b.files, b.cfg.LogDirs[0], archive.Options{Logger: b.logger, Now: b.opts.Now, ReserveBytes: b.cfg.Storage.ReserveBytes})
}

// Pair is the broker's part in a pair of sites; nil where it is not in one.
func (b *Broker) Pair() *sites.Pair { return b.pair }

// Partition finds a partition of this broker.
func (b *Broker) Partition(topic string, id int32) (*partition.Partition, bool) {
	return b.partitions.Get(topic, id)
}

// openPair makes this broker one of a pair of sites, where it is configured as one.
func (b *Broker) openPair() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	record, ok, err := b.controller.OpenSite(ctx)
	if err != nil || !ok {
		return err
	}
	c := b.cfg.Site
	var listener net.Listener
	if c.Listener != nil {
		if listener, err = b.opts.Listen("tcp", c.Listener.Address()); err != nil {
			return fmt.Errorf("listener %s: %w", c.Listener.Name, err)
		}
	}
	pair, err := sites.Open(sites.PairOptions{
		Config: c, Record: record, Identity: b.store.Identity(), Level: b.store.FormatLevel(), Controller: b.controller, Partitions: b.partitions,
		Archives: b.archives, Meta: b.store.Meta(), Room: b.store.Room, Listener: listener, Logger: b.logger, Now: b.opts.Now,
	})
	if err != nil {
		return err
	}
	b.pair = pair
	return nil
}

// servesIn says whether the site serves clients in a site epoch (group.Options.Serves). It is asked once openPair has returned.
func (b *Broker) servesIn(siteEpoch uint32) bool {
	if b.pair == nil {
		return true
	}
	v := b.pair.View()
	return v.Serving && v.Epoch == siteEpoch
}

// watchPair connects the metrics of a pair of sites.
func (b *Broker) watchPair() {
	if b.pair == nil {
		return
	}
	b.metrics.WatchSites(func() metrics.Sites {
		s := b.pair.Stand()
		out := metrics.Sites{Active: s.Active, Serving: s.Serving, Connected: s.Connected, Epoch: s.Epoch, Halted: s.Halted, Archives: s.Archives}
		for _, t := range s.Topics {
			m := metrics.SiteTopic{Topic: t.Topic}
			if l := t.Lag; l != nil && l.Records != nil && l.Bytes != nil && l.Ms != nil {
				m.Known, m.Records, m.Bytes, m.Seconds = true, float64(*l.Records), float64(*l.Bytes), float64(*l.Ms)/1000
			}
			out.Topics = append(out.Topics, m)
		}
		return out
	})
}
