package main

import (
	"context"
	"fmt"
	"time"
)

const (
	groupMembers    = 50
	groupPartitions = 900
	groupTopic      = "grouped"
	// groupWarmups is how many rounds are not counted: Apache Kafka compiles what it runs often.
	groupWarmups = 10
)

// rival is a broker that takes part in a comparison.
type rival struct {
	name string
	b    *broker
}

// rivals starts Tandem and, where it is to be compared, Apache Kafka, with the same settings.
func rivals(ctx context.Context, o options, sets ...string) ([]rival, error) {
	o.sets = append(append([]string(nil), o.sets...), sets...)
	b, err := startBroker(ctx, o)
	if err != nil {
		return nil, err
	}
	out := []rival{{"tandem", b}}
	if o.kafka {
		k, err := startKafka(ctx, o, sets...)
		if err != nil {
			b.discard()
			return nil, fmt.Errorf("kafka: %w", err)
		}
		out = append(out, rival{"kafka", k})
	}
	for _, r := range out {
		if err := r.prepare(ctx, groupPartitions); err != nil {
			discardAll(out)
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return out, nil
}

func discardAll(all []rival) {
	for _, r := range all {
		r.b.discard()
	}
}

// prepare creates the topic, and the broker's own for the groups.
func (r rival) prepare(ctx context.Context, partitions int32) error {
	c, err := r.b.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.create(ctx, groupTopic, partitions, nil); err != nil {
		return err
	}
	m, err := newMember(r.b.addr, "first", partitions)
	if err != nil {
		return err
	}
	defer m.c.close()
	return m.coordinator(ctx)
}

// compared collects what the rivals took in one round, by case, in ms.
type compared map[string]map[string]float64

func (c compared) add(name, rival string, took time.Duration) {
	if c[name] == nil {
		c[name] = map[string]float64{}
	}
	c[name][rival] = took.Seconds() * 1000
}

func (c compared) report(r *report, round int, names []string) {
	for _, name := range names {
		s := sample{Figure: "groups", Case: name, Round: round, Broker: c[name]["tandem"], Baseline: c[name]["kafka"], Unit: "ms"}
		t := target{}
		if s.Baseline > 0 {
			t.below = 1
		}
		r.add(s, t)
	}
}

// rebalanceCases are what happens to a group in a round, in this order.
func rebalanceCases(kind string) []string {
	return []string{kind + "50 members form a group", kind + "one leaves", kind + "one joins", kind + "all 50 join again"}
}

// runRebalance measures rebalances of 50 members over 900 partitions, without an initial delay: with bare members, where the
// broker's time is most of it, and with a client library's.
func runRebalance(ctx context.Context, o options, r *report) error {
	all, err := rivals(ctx, o, "group.initial.rebalance.delay.ms=0")
	if err != nil {
		return err
	}
	defer discardAll(all)
	if err := compareRounds(ctx, o, r, all, groupWarmups, rebalanceCases(""), bareRound); err != nil {
		return err
	}
	return compareRounds(ctx, o, r, all, 2, rebalanceCases("franz-go, "), clientRound)
}

// compareRounds has the rivals take turns.
func compareRounds(ctx context.Context, o options, r *report, all []rival, warmups int, names []string,
	round func(ctx context.Context, addr, group string) ([]time.Duration, error)) error {
	for n := range warmups + o.rounds {
		results := compared{}
		for i := range all {
			rival := all[(n+i)%len(all)]
			took, err := round(ctx, rival.b.addr, fmt.Sprintf("%.5s-%d", names[0], n))
			if err != nil {
				return fmt.Errorf("%s: %w", rival.name, err)
			}
			for i, name := range names {
				results.add(name, rival.name, took[i])
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n >= warmups {
			results.report(r, n-warmups+1, names)
		}
	}
	return nil
}

// bareRound is the four cases with bare members.
func bareRound(_ context.Context, addr, group string) ([]time.Duration, error) {
	all := make([]*member, groupMembers)
	for i := range all {
		m, err := newMember(addr, group, groupPartitions)
		if err != nil {
			return nil, err
		}
		defer m.c.close()
		all[i] = m
	}
	last := all[groupMembers-1]
	steps := []func() (time.Duration, error){
		func() (time.Duration, error) { return newRebalance(groupMembers, groupPartitions).run(nil, all, nil) },
		func() (time.Duration, error) {
			return newRebalance(groupMembers-1, groupPartitions).run(all[:groupMembers-1], nil, last.leave)
		},
		func() (time.Duration, error) {
			return newRebalance(groupMembers, groupPartitions).run(all[:groupMembers-1], all[groupMembers-1:], nil)
		},
		func() (time.Duration, error) {
			for _, m := range all {
				m.userData = []byte("again") // a member that joins as it was is told that nothing has changed
			}
			return newRebalance(groupMembers, groupPartitions).run(nil, all, nil)
		},
	}
	var out []time.Duration
	for i, step := range steps {
		took, err := step()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rebalanceCases("")[i], err)
		}
		out = append(out, took)
	}
	for _, m := range all {
		if err := m.leave(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
