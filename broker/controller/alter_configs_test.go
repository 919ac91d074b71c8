package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tandembroker/tandem/broker/partition"
)

func alteration(resource Resource, replace bool, ops ...string) Alteration {
	a := Alteration{Resource: resource, Replace: replace}
	for _, op := range ops { // "+key=v" append, "-key=v" subtract, "!key" delete, "key=v" set, "key" set null
		kind := SetConfig
		switch op[0] {
		case '+':
			kind, op = AppendConfig, op[1:]
		case '-':
			kind, op = SubtractConfig, op[1:]
		case '!':
			kind, op = DeleteConfig, op[1:]
		}
		name, value, ok := strings.Cut(op, "=")
		c := AlterConfig{Name: name, Op: kind}
		if ok {
			c.Value = &value
		}
		a.Configs = append(a.Configs, c)
	}
	return a
}

func show(configs map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		parts = append(parts, name+"="+configs[name])
	}
	return strings.Join(parts, " ")
}

// TestAlterTopic: each step with its error, and what the topic has then.
func TestAlterTopic(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	w.open(nil)
	defer func() { w.close(false) }()
	w.create("t", 2)
	topic := Resource{Name: "t"}
	for i, step := range []struct {
		a    Alteration
		only bool // validate only
		kind error
		text string // of the error
		want string
	}{
		{a: alteration(topic, false, "retention.ms=5", "segment.bytes=2000000"), want: "retention.ms=5 segment.bytes=2000000"},
		{a: alteration(topic, false, "retention.ms=6"), only: true, want: "retention.ms=5 segment.bytes=2000000"},
		{a: alteration(topic, false, "retention.ms=x"), only: true, kind: ErrInvalidConfig, text: "retention.ms=x", want: "retention.ms=5 segment.bytes=2000000"},
		{a: alteration(topic, false, "!retention.ms", "!flush.ms"), want: "segment.bytes=2000000"},
		{a: alteration(topic, false, "+cleanup.policy=compact"), want: "cleanup.policy=delete,compact segment.bytes=2000000"},
		{a: alteration(topic, false, "+cleanup.policy=compact"), want: "cleanup.policy=delete,compact segment.bytes=2000000"},
		{a: alteration(topic, false, "-cleanup.policy=delete"), want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "+segment.bytes=1"), kind: ErrInvalidConfig, text: "Can't APPEND to key segment.bytes because its type is not LIST.", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "+cleanup.policy="), kind: ErrInvalidConfig, text: "cleanup.policy", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "retention.msec=1"), kind: ErrInvalidConfig, text: `did you mean "retention.ms"`, want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "retention.ms=1", "nonsense=1"), kind: ErrInvalidConfig, text: "nonsense", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "min.compaction.lag.ms=9", "max.compaction.lag.ms=8"), kind: ErrInvalidConfig, text: "at most", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "retention.ms=1", "retention.ms=2"), kind: ErrInvalidRequest, text: "duplicate", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, false, "retention.ms"), kind: ErrInvalidRequest, text: "Null value", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: Alteration{Resource: topic, Configs: []AlterConfig{{Name: "retention.ms", Op: 9}}}, kind: ErrInvalidRequest, text: "Unknown operations type", want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(Resource{Name: "u"}, false, "retention.ms=1"), kind: ErrUnknownTopic, want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(Resource{Name: "u"}, false, "retention.ms=z"), kind: ErrInvalidConfig, want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(Resource{Name: "u/"}, false, "retention.ms=1"), kind: ErrInvalidTopic, want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(Resource{}, false, "retention.ms=1"), kind: ErrInvalidRequest, want: "cleanup.policy=compact segment.bytes=2000000"},
		{a: alteration(topic, true, "max.message.bytes=77", "flush.ms=1"), want: "flush.ms=1 max.message.bytes=77"},
	} {
		err := w.AlterConfigs(w.ctx(), []Alteration{step.a}, step.only)[0]
		if !errors.Is(err, step.kind) || (err == nil) != (step.kind == nil) || err != nil && !strings.Contains(err.Error(), step.text) {
			t.Errorf("step %d: %v", i, err)
		}
		got, _ := w.Image().Topic("t")
		if show(got.Configs) != step.want {
			t.Errorf("step %d: %s, want %s", i, show(got.Configs), step.want)
		}
		for id := range int32(2) {
			if p, _ := w.partitions.Get("t", id); *p.Config() != got.Config {
				t.Errorf("step %d: partition %d has %+v", i, id, p.Config())
			}
		}
	}
	if !strings.Contains(w.log.String(), "no effect here") || !strings.Contains(w.log.String(), "keys=[flush.ms]") {
		t.Errorf("no warning of flush.ms:\n%s", w.log.String())
	}
	twice := alteration(topic, false, "retention.ms=1")
	if errs := w.AlterConfigs(w.ctx(), []Alteration{twice, twice}, false); !errors.Is(errs[0], ErrInvalidRequest) || !errors.Is(errs[1], ErrInvalidRequest) {
		t.Errorf("a resource twice: %v", errs)
	}
}

// TestAlterBroker: defaults of all brokers and of this one reach the topics that have no value of their own.
func TestAlterBroker(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	w.open(nil)
	defer func() { w.close(false) }()
	w.create("t", 1)
	w.check(w.AlterConfigs(w.ctx(), []Alteration{alteration(Resource{Name: "t"}, false, "segment.ms=99")}, false)[0])
	all, own := Resource{Broker: true}, Resource{Broker: true, Name: "1"}
	for i, step := range []struct {
		a       Alteration
		kind    error
		bytes   int
		segment int64
	}{
		{a: alteration(all, false, "message.max.bytes=1000", "log.roll.ms=50"), bytes: 1000, segment: 99},
		{a: alteration(own, false, "message.max.bytes=2000"), bytes: 2000, segment: 99},
		{a: alteration(all, false, "message.max.bytes=3000"), bytes: 2000, segment: 99},
		{a: alteration(Resource{Broker: true, Name: "2"}, false, "message.max.bytes=1"), kind: ErrInvalidRequest, bytes: 2000, segment: 99},
		{a: alteration(Resource{Broker: true, Name: "x"}, false, "message.max.bytes=1"), kind: ErrInvalidRequest, bytes: 2000, segment: 99},
		{a: alteration(own, false, "log.dirs=/x"), kind: ErrInvalidRequest, bytes: 2000, segment: 99},
		{a: alteration(own, false, "no.such.key=1"), kind: ErrInvalidConfig, bytes: 2000, segment: 99},
		{a: alteration(own, false, "+no.such.key=1"), kind: ErrInvalidConfig, bytes: 2000, segment: 99},
		{a: alteration(own, false, "message.max.bytes=-1"), kind: ErrInvalidRequest, bytes: 2000, segment: 99},
		{a: alteration(own, true), bytes: 3000, segment: 99},
		{a: alteration(Resource{Name: "t"}, false, "!segment.ms"), bytes: 3000, segment: 50},
	} {
		if err := w.AlterConfigs(w.ctx(), []Alteration{step.a}, false)[0]; !errors.Is(err, step.kind) || (err == nil) != (step.kind == nil) {
			t.Errorf("step %d: %v", i, err)
		}
		p, _ := w.partitions.Get("t", 0)
		if c := p.Config(); c.MessageBytesMax != step.bytes || c.SegmentMs != step.segment {
			t.Errorf("step %d: %+v", i, c)
		}
	}
	for _, crash := range []bool{true, false} {
		w.close(crash)
		w.open(nil)
		p, _ := w.partitions.Get("t", 0)
		if c := p.Config(); c.MessageBytesMax != 3000 || c.SegmentMs != 50 || w.Config().Topic.MessageBytesMax != 3000 {
			t.Errorf("after a restart (crash %v): %+v", crash, c)
		}
	}
}

// TestAppendsDoNotGetLost: two lists that are appended to at once.
func TestAppendsDoNotGetLost(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	w.open(nil)
	defer func() { w.close(false) }()
	w.create("t", 1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := alteration(Resource{Name: "t"}, false, fmt.Sprintf("+leader.replication.throttled.replicas=%d:1", i))
			if err := w.AlterConfigs(w.ctx(), []Alteration{a}, false)[0]; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, _ := w.Image().Topic("t")
	if n := len(strings.Split(got.Configs["leader.replication.throttled.replicas"], ",")); n != 8 {
		t.Errorf("%d of 8 are there: %s", n, show(got.Configs))
	}
}

// TestConfigsAreNotLostToCreation: a partition that is created while its topic's configs change has the newest.
func TestConfigsAreNotLostToCreation(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	gate := make(chan struct{})
	w.open(func(p Partitions) Partitions { return &gated{Partitions: p, gate: gate} })
	defer func() { w.close(false) }()
	created := make(chan CreatedTopic, 1)
	go func() { // ends when the gate opens
		created <- w.CreateTopics(w.ctx(), []NewTopic{{Name: "t", Partitions: 1, ReplicationFactor: 1}}, false)[0]
	}()
	w.await("topic", func() bool { _, ok := w.Image().Topic("t"); return ok })
	w.check(w.AlterConfigs(w.ctx(), []Alteration{alteration(Resource{Name: "t"}, false, "retention.ms=123")}, false)[0])
	close(gate)
	w.check((<-created).Err)
	if p, _ := w.partitions.Get("t", 0); p.Config().RetentionMs != 123 {
		t.Errorf("%+v", p.Config())
	}
}

// gated creates nothing before its gate opens.
type gated struct {
	Partitions
	gate chan struct{}
}

func (g *gated) Create(ctx context.Context, s partition.Spec) (*partition.Partition, error) {
	<-g.gate
	return g.Partitions.Create(ctx, s)
}
