package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
	"github.com/tandembroker/tandem/bench/internal/process"
)

const (
	orderMax = 60 * time.Second // for an order of `tandem dr`
	greenMax = 120 * time.Second
	pollLog  = 2 * time.Millisecond // how often a log is asked how far it is
)

var siteNames = [2]string{"east", "west"}

// sitePair is two sites of one broker each, and the network between them. sites[0] is the first active.
type sitePair struct {
	o        options
	sites    [2]*broker
	settings [2][]string
	own      [2]string       // SITE listeners
	links    [2]*proxy.Proxy // links[i] leads to sites[i]
}

// startSites starts both on empty folders and makes a topic, which is at both when it returns.
func startSites(ctx context.Context, o options, partitions int32) (*sitePair, error) {
	p := &sitePair{o: o}
	if err := p.prepare(); err != nil {
		p.discard()
		return nil, err
	}
	err := errors.Join(p.start(0), p.start(1))
	if err == nil {
		err = p.green(ctx)
	}
	if err == nil {
		err = p.create(ctx, partitions)
	}
	if err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// prepare makes folders, addresses and the network.
func (p *sitePair) prepare() error {
	for i := range p.sites {
		dir, err := os.MkdirTemp(p.o.dir, siteNames[i]+"-")
		if err != nil {
			return err
		}
		ports, err := process.FreeAddresses(3)
		if err != nil {
			return err
		}
		p.sites[i], p.own[i] = &broker{addr: ports[0], admin: ports[1], dir: dir}, ports[2]
		if p.links[i], err = proxy.Listen(p.own[i]); err != nil {
			return err
		}
	}
	p.configure([2]string{p.links[0].Addr(), p.links[1].Addr()})
	return nil
}

// configure makes the settings of both; each dials the other at addresses, at the next start.
func (p *sitePair) configure(addresses [2]string) {
	for i, b := range p.sites {
		p.settings[i] = []string{
			fmt.Sprintf("node.id=%d", 1+100*i), "listeners=PLAINTEXT://" + b.addr + ",SITE://" + p.own[i],
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT", "site.listener.name=SITE",
			"site.name=" + siteNames[i], "site.role=" + []string{"active", "standby"}[i],
			"site.peers=" + siteNames[1-i] + "@" + addresses[1-i],
		}
	}
}

func (p *sitePair) start(i int) error { return p.sites[i].start(p.o, p.settings[i]) }

// link does the same to both directions of dialling.
func (p *sitePair) link(fn func(*proxy.Proxy)) {
	for _, l := range p.links {
		fn(l)
	}
}

func (p *sitePair) setRTT(rtt time.Duration) {
	p.link(func(l *proxy.Proxy) { l.SetDelay(rtt / 2) })
}

func (p *sitePair) cut()  { p.link((*proxy.Proxy).Cut) }
func (p *sitePair) heal() { p.link((*proxy.Proxy).Heal) }

// moved is how many bytes have gone over the link, in both directions.
func (p *sitePair) moved() int64 { return p.links[0].Forwarded() + p.links[1].Forwarded() }

// discard ends both brokers and the network, and deletes the data.
func (p *sitePair) discard() {
	for i, b := range p.sites {
		if b != nil {
			b.discard()
		}
		if p.links[i] != nil {
			p.links[i].Close()
		}
	}
}

// dr runs `tandem dr` at one of the sites and decodes what it prints. An order that is not taken is an error.
func (p *sitePair) dr(ctx context.Context, i int, out any, args ...string) error {
	args = append(append([]string{"dr"}, args...), "--bootstrap-server", p.sites[i].addr, "--json", "--timeout", "30s")
	text, err := exec.CommandContext(ctx, p.o.bin, args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("tandem %v: exit %d: %s%s", args, exit.ExitCode(), text, exit.Stderr)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// green waits until site 1 says that all is well, which it does for both.
func (p *sitePair) green(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, greenMax)
	defer cancel()
	var status struct {
		Green   bool `json:"green"`
		Reasons any  `json:"reasons"`
	}
	for {
		err := p.dr(ctx, 1, &status, "status")
		if err == nil && status.Green {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the sites are not green: %w; %v; output: %s", errors.Join(ctx.Err(), err), status.Reasons, p.sites[1].process.LogTail())
		case <-time.After(20 * time.Millisecond): // polling is all that an operator can do
		}
	}
}

// create makes the topic, puts one small record into each partition, and waits until the standby has them.
func (p *sitePair) create(ctx context.Context, partitions int32) error {
	c, err := p.sites[0].dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.create(ctx, sitesTopic, partitions, nil); err != nil {
		return err
	}
	small := makeBatch(128, 1)
	for i := range partitions {
		req := produceRequest(sitesTopic, small, i)
		if err := c.send(c.frame(req)); err != nil {
			return err
		}
		body, err := c.receive(c.correlation)
		if err != nil {
			return err
		}
		if err := produced(body, req); err != nil {
			return err
		}
	}
	return p.awaitRecords(ctx, int64(partitions), nil)
}

// awaitRecords waits until the standby has count records in all partitions, visible to its consumers. seen, which may be nil, is called with
// how many there are, at each look.
func (p *sitePair) awaitRecords(ctx context.Context, count int64, seen func(records int64)) error {
	ctx, cancel := context.WithTimeout(ctx, greenMax)
	defer cancel()
	c, err := p.sites[1].dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for have := int64(-1); ; {
		ends, err := c.ends(sitesTopic, sitesPartitions)
		if err == nil {
			have = 0
			for _, end := range ends {
				have += end
			}
			if seen != nil {
				seen(have)
			}
			if have >= count {
				return nil
			}
		} else if !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has %d of %d records: %w; its output: %s", siteNames[1], have, count, errors.Join(ctx.Err(), err), p.sites[1].process.LogTail())
		case <-time.After(pollLog): // polling is all that a client can do
		}
	}
}

// ends is the high watermark of each partition, which a standby tells a consumer too. What is read for it is the first batch of one partition.
func (c *conn) ends(topic string, partitions int32) ([]int64, error) {
	req := fetchFrom(topic, 0, 0, 1)
	req.MaxWaitMillis, req.MaxBytes = 0, 1
	for i := int32(1); i < partitions; i++ {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = i, 1
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	resp := kmsg.NewPtrFetchResponse()
	if err := c.request(req, resp); err != nil {
		return nil, err
	}
	ends := make([]int64, partitions)
	answered := 0
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.HighWatermark
			answered++
		}
	}
	if answered != int(partitions) {
		return nil, fmt.Errorf("fetch answered %d of %d partitions", answered, partitions)
	}
	return ends, nil
}

// records is how many records a site has, in all partitions.
func (p *sitePair) records(ctx context.Context, i int) (int64, error) {
	c, err := p.sites[i].dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	ends, err := c.ends(sitesTopic, sitesPartitions)
	var sum int64
	for _, end := range ends {
		sum += end
	}
	return sum, err
}
