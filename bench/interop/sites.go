package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	followLimit = time.Minute     // for every client to write and read again
	notice      = time.Second     // from the loss of the active site to the operator's command
	settle      = 2 * time.Second // of load before something happens, so that there is something to lose
)

// pair is two sites, one broker each, and the flows that run on them.
type pair struct {
	s          *suite
	name       string // of its folders and topics
	active     string // the site that is active at first
	east, west *tandem
	limit      time.Duration // for every client to write and read again
	flows      []*flow
}

// sites takes every family's producer and group through a switchover, the loss of the active site, and its return.
func (s *suite) sites(ctx context.Context) error {
	clients, err := s.clients(ctx)
	if err != nil {
		return err
	}
	east, west, err := loopback()
	if err != nil {
		return err
	}
	p := &pair{s: s, name: "sites", active: "east", limit: followLimit}
	defer p.close()
	if err := errors.Join(p.open(ctx, east, west), p.prepare(ctx, clients)); err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	if err := p.start(writing); err != nil {
		return err
	}
	var switched, lost time.Time
	for _, event := range []func() error{
		func() error { switched = p.disturb(); return p.switchover(ctx) },
		func() error { return p.note(switched, "switchover") },
		func() error { lost = p.disturb(); return p.lose(ctx) },
		func() error { return p.note(lost, "failover") },
		func() error { return p.giveBack(ctx) },
	} {
		if err := event(); err != nil {
			return err
		}
	}
	stop()
	return p.check(ctx)
}

func (p *pair) addresses() string { return p.east.address + "," + p.west.address }

// open starts both sites.
func (p *pair) open(ctx context.Context, east, west place) (err error) {
	site := func(name string, node int, at place, peer string) (*tandem, error) {
		t := &tandem{binary: p.s.tandem, dataDir: filepath.Join(p.s.dir, p.name+"-"+name), address: at.address, admin: at.admin, via: at.via}
		t.logFile = t.dataDir + ".log"
		role := "standby"
		if name == p.active {
			role = "active"
		}
		t.more = []string{
			fmt.Sprintf("node.id=%d", node), "listeners=PLAINTEXT://" + at.listen + ",SITE://" + at.link, "advertised.listeners=PLAINTEXT://" + at.address,
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT", "site.name=" + name, "site.role=" + role,
			"site.peers=" + peer + "@" + at.peer,
		}
		return t, t.start(ctx)
	}
	if p.east, err = site("east", 1, east, "west"); err != nil {
		return err
	}
	p.west, err = site("west", 101, west, "east")
	return err
}

// prepare makes a flow and its topic for each family, and waits until the sites know of all; env is for the clients.
func (p *pair) prepare(ctx context.Context, clients []client, env ...string) error {
	for _, c := range clients {
		if _, ok := c.program.(flowProgram); !ok {
			continue // kcat tells nobody what is acknowledged; its library is there with another family
		}
		f := newFlow(c, p.s.prefix+p.name+"-"+c.name, env...)
		if err := p.topic(ctx, f.topic); err != nil {
			return err
		}
		p.flows = append(p.flows, f)
	}
	return errors.Join(p.known(ctx), p.green(ctx))
}

// start begins to write and to read, and waits until every client does; the writing ends with ctx.
func (p *pair) start(ctx context.Context) error {
	for _, f := range p.flows {
		if err := f.start(ctx, p.addresses()); err != nil {
			return err
		}
	}
	return p.goOn(ctx, "the start", time.Now())
}

func (p *pair) topic(ctx context.Context, name string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(p.east.address, p.west.address))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 2, 1, nil, name); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// known waits until the standby has heard of every topic too: kafka-go gives up when the broker that it asks has not.
func (p *pair) known(ctx context.Context) error {
	for _, t := range []*tandem{p.east, p.west} {
		if err := p.knownAt(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) knownAt(ctx context.Context, t *tandem) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(t.address))
	if err != nil {
		return err
	}
	defer client.Close()
	return p.until(ctx, "topics of both sites", func() (bool, error) {
		topics, err := kadm.NewClient(client).ListTopics(ctx)
		for _, f := range p.flows {
			if t, ok := topics[f.topic]; !ok || t.Err != nil || len(t.Partitions) < 2 {
				return false, err
			}
		}
		return true, err
	})
}

// dr gives an operator's command to east, which no step loses.
func (p *pair) dr(ctx context.Context, args ...string) (string, error) {
	return command(ctx, nil, p.s.tandem, append(append([]string{"dr"}, args...), "--bootstrap-server", p.east.address)...)
}

// green waits until the sites find nothing wrong.
func (p *pair) green(ctx context.Context) error {
	var text string
	err := p.until(ctx, "green", func() (bool, error) {
		var status struct{ Green bool }
		var err error
		if text, err = p.dr(ctx, "status", "--json"); err != nil {
			return false, nil //nolint:nilerr // it says so while a broker starts
		}
		err = json.Unmarshal([]byte(text), &status)
		return status.Green, err
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(text))
	}
	return nil
}

// until waits for a condition, and for no longer than the limit.
func (p *pair) until(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// goOn waits until every family has written and read what was sent after a time.
func (p *pair) goOn(ctx context.Context, what string, since time.Time) error {
	var behind []string
	err := p.until(ctx, "clients after "+what, func() (bool, error) {
		behind = nil
		for _, f := range p.flows {
			if err := f.alive(); err != nil {
				return false, fmt.Errorf("after %s: %w", what, err)
			}
			if !f.went(since) {
				behind = append(behind, f.name)
			}
		}
		return len(behind) == 0, nil
	})
	if err != nil && len(behind) > 0 {
		err = fmt.Errorf("%w: these do not go on: %s", err, strings.Join(behind, ", "))
		for _, f := range p.flows {
			if slices.Contains(behind, f.name) {
				err = fmt.Errorf("%w\n%s: %s\n%s", err, f.name, tail(f.problems.String()), tail(f.member.errors.String()))
			}
		}
		return err
	}
	return err
}

// disturb lets the load run, so that there is something to lose, and says that something is to happen now.
func (p *pair) disturb() time.Time {
	time.Sleep(settle)
	now := time.Now()
	for _, f := range p.flows {
		f.disturb(now)
	}
	return now
}

func (p *pair) switchover(ctx context.Context) error {
	if _, err := p.dr(ctx, "switchover", "--to", "west", "--yes"); err != nil {
		return err
	}
	if err := p.goOn(ctx, "the switchover", time.Now()); err != nil {
		return err
	}
	return p.green(ctx)
}

// lose kills the active site, which is west by now, and has east take over.
func (p *pair) lose(ctx context.Context) error {
	p.west.kill()
	time.Sleep(notice) // as long as the operator needs
	join := p.newcomers(ctx)
	err := p.failover(ctx)
	if err := errors.Join(join(), err); err != nil {
		return err
	}
	return p.goOn(ctx, "the failover", time.Now())
}

// failover has east take over.
func (p *pair) failover(ctx context.Context) error {
	_, err := p.dr(ctx, "failover", "--to", "east", "--active-is-down", "--yes")
	return err
}

// giveBack starts the lost site again, and waits until it follows.
func (p *pair) giveBack(ctx context.Context) error {
	if err := p.west.start(ctx); err != nil {
		return err
	}
	if err := p.green(ctx); err != nil {
		return err
	}
	return p.goOn(ctx, "the return", time.Now())
}

// note prints how long each producer and each consumer paused since something happened.
func (p *pair) note(since time.Time, what string) error {
	for _, f := range p.flows {
		fmt.Printf("    %s: %s %s\n", what, f.name, f.pauses(since))
	}
	return nil
}

func (p *pair) close() {
	for _, f := range p.flows {
		f.kill()
	}
	for _, t := range []*tandem{p.east, p.west} {
		if t != nil {
			t.kill()
		}
	}
}

// check holds what the clients know against the logs and the archives of lost records.
func (p *pair) check(ctx context.Context) error {
	for _, f := range p.flows {
		if err := f.finish(); err != nil {
			return err
		}
	}
	lost, err := p.lost(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range p.flows {
		logged, err := p.logged(ctx, f.topic)
		if err == nil {
			err = p.checkFlow(ctx, f, logged, lost[f.topic])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w\nits producer said: %s\nits consumer said: %s", f.name, err, tail(f.problems.String()), tail(f.member.errors.String())))
		}
	}
	return errors.Join(errs...)
}

// checkFlow: every record acknowledged is in the log or in an archive, the consumer has read all that is in the log, and has not
// gone back far.
func (p *pair) checkFlow(ctx context.Context, f *flow, logged map[position]string, lost map[string]bool) error {
	unread := 0
	err := p.until(ctx, "its consumer reads the log to its end", func() (bool, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		unread = 0
		for at := range logged {
			if _, ok := f.read[at]; !ok {
				unread++
			}
		}
		return unread == 0, f.member.failed()
	})
	errs := []error{err}
	if unread > 0 {
		errs = append(errs, fmt.Errorf("its consumer skipped %d of %d records", unread, len(logged)))
	}
	errs = append(errs, f.member.leave())
	f.mu.Lock()
	defer f.mu.Unlock()
	there := map[string]int{}
	for _, key := range logged {
		there[key]++
	}
	missing, twice := 0, len(logged)-len(there)
	for n := range f.acked {
		if key := flowRecord(n).key; there[string(key)] == 0 && !lost[string(key)] {
			missing++
		}
	}
	fmt.Printf("    %s: %d sent, %d acknowledged, %d given up, %d lost and archived, %d twice in the log, %d read again\n",
		f.name, len(f.sent), len(f.acked), len(f.failed), len(lost), twice, f.again)
	if missing > 0 {
		errs = append(errs, fmt.Errorf("%d acknowledged records are in no log and no archive", missing))
	}
	if len(f.failed) > 0 {
		errs = append(errs, fmt.Errorf("its producer gave %d records up, one with %q", len(f.failed), slices.Collect(maps.Values(f.failed))[0]))
	}
	if f.idempotent && twice > 0 {
		errs = append(errs, fmt.Errorf("its producer is idempotent, and %d records are twice in the log", twice))
	}
	if f.stale > 0 {
		errs = append(errs, fmt.Errorf("its consumer read %d records again that it had read more than %s before a site went", f.stale, commitWithin))
	}
	return errors.Join(errs...)
}

// lost are the keys in archives of lost records, by topic.
func (p *pair) lost(ctx context.Context) (map[string]map[string]bool, error) {
	text, err := p.dr(ctx, "lost", "show", "--json")
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]bool{}
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var r struct{ Topic, Key string }
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("lost records: %w", err)
		}
		if all[r.Topic] == nil {
			all[r.Topic] = map[string]bool{}
		}
		all[r.Topic][decodeText(r.Key)] = true
	}
}

// decodeText is what base64 stands for, "" where it is none.
func decodeText(text string) string {
	data, _ := base64.StdEncoding.DecodeString(text)
	return string(data)
}

// logged are the keys in a topic's log by position, read without a group at the site that is active now.
func (p *pair) logged(ctx context.Context, topic string) (map[position]string, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(p.east.address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	left := map[int32]int64{} // partitions not read to their end
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	logged := map[position]string{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s, %d records so far: %w", topic, len(logged), err)
		}
		for _, r := range fetches.Records() {
			logged[position{r.Topic, r.Partition, r.Offset}] = string(r.Key)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	return logged, nil
}
