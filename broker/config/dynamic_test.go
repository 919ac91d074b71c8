package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func loadSet(t *testing.T, set ...string) *Config {
	t.Helper()
	c, err := Load(Input{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDynamic: which values may be set at run time, and what then counts.
func TestDynamic(t *testing.T) {
	base := loadSet(t, "log.retention.hours=1", "message.max.bytes=5000", "max.connections=100")
	base.Network.ConnectionsMax = 50 // as where files are few
	c, err := base.With(Dynamic{
		Cluster: map[string]string{"log.retention.ms": "7000", "message.max.bytes": "6000", "producer.id.expiration.ms": "1000"},
		Broker:  map[string]string{"message.max.bytes": "8000", "max.connections.per.ip": "3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Topic.RetentionMs != 7000 || c.Topic.MessageBytesMax != 8000 || c.ProducerIDExpiration != time.Second ||
		c.Network.ConnectionsPerIPMax != 3 || c.Network.ConnectionsMax != 50 {
		t.Errorf("%+v %+v %v", c.Topic, c.Network, c.ProducerIDExpiration)
	}
	if base.Topic.RetentionMs != 3600000 || base.Topic.MessageBytesMax != 5000 {
		t.Errorf("the base has changed: %+v", base.Topic)
	}
	if back, err := c.With(Dynamic{}); err != nil || back.Topic != base.Topic {
		t.Errorf("taken away again: %v %+v", err, back)
	}
	if top, err := c.ParseTopic(map[string]string{"max.message.bytes": "9"}); err != nil || top.MessageBytesMax != 9 || top.RetentionMs != 7000 {
		t.Errorf("topic: %v %+v", err, top)
	}
}

func TestDynamicErrors(t *testing.T) {
	base := loadSet(t)
	for name, c := range map[string]struct {
		d       Dynamic
		unknown bool
		want    string
	}{
		"unknown":            {Dynamic{Cluster: map[string]string{"mesage.max.bytes": "1"}}, true, `did you mean "message.max.bytes"`},
		"static":             {Dynamic{Broker: map[string]string{"log.dirs": "/x"}}, false, "log.dirs: Cannot update these configs dynamically"},
		"listeners":          {Dynamic{Broker: map[string]string{"listeners": "PLAINTEXT://:1"}}, false, "Cannot update these configs dynamically"},
		"per broker only":    {Dynamic{Cluster: map[string]string{"ssl.keystore.location": "/x"}}, false, "at default cluster level"},
		"no number":          {Dynamic{Cluster: map[string]string{"message.max.bytes": "x"}}, false, "message.max.bytes=x: must be a whole number"},
		"refused here":       {Dynamic{Broker: map[string]string{"principal.builder.class": "x"}}, false, "not supported"},
		"not together":       {Dynamic{Cluster: map[string]string{"log.cleaner.min.compaction.lag.ms": "9", "log.cleaner.max.compaction.lag.ms": "8"}}, false, "must be at most"},
		"zero connections":   {Dynamic{Broker: map[string]string{"max.connections": "0"}}, false, "max.connections"},
		"no cleaner":         {Dynamic{Broker: map[string]string{"log.cleaner.threads": "0"}}, false, "at least 1"},
		"a secret's problem": {Dynamic{Cluster: map[string]string{"ssl.key.password": "secret"}}, false, "at default cluster level"},
	} {
		_, err := base.With(c.d)
		var bad *DynamicError
		if !errors.As(err, &bad) || bad.Unknown != c.unknown || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDescribeSources: where a value comes from, and what would count without it, as Kafka's ConfigHelper orders them.
func TestDescribeSources(t *testing.T) {
	c, err := loadSet(t, "log.retention.hours=5").With(Dynamic{
		Cluster: map[string]string{"log.retention.ms": "7000"}, Broker: map[string]string{"log.retention.ms": "8000", "sasl.jaas.config": "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	find := func(list []Described, name string) Described {
		for _, d := range list {
			if d.Key.Name == name {
				return d
			}
		}
		t.Fatalf("%s is not described", name)
		return Described{}
	}
	show := func(d Described) string {
		var b strings.Builder
		value := "null"
		if d.Value != nil {
			value = *d.Value
		}
		b.WriteString(value)
		for _, s := range d.Synonyms {
			v := "null"
			if s.Value != nil {
				v = *s.Value
			}
			b.WriteString(" " + s.Name + "=" + v + "/" + string('0'+byte(s.Source)))
		}
		return b.String()
	}
	for _, x := range []struct {
		d      Described
		source Source
		want   string
	}{
		{find(c.DescribeBroker(), "log.retention.ms"), DynamicBroker,
			"8000 log.retention.ms=8000/2 log.retention.ms=7000/3 log.retention.hours=5/4 log.retention.hours=168/5"},
		{find(c.DescribeCluster(), "log.retention.ms"), DynamicDefaultBroker, "7000 log.retention.ms=7000/3"},
		{find(c.DescribeTopic(nil), "retention.ms"), DynamicBroker,
			"8000 log.retention.ms=8000/2 log.retention.ms=7000/3 log.retention.hours=5/4 log.retention.hours=168/5"},
		{find(c.DescribeTopic(map[string]string{"retention.ms": "1"}), "retention.ms"), DynamicTopic,
			"1 retention.ms=1/1 log.retention.ms=8000/2 log.retention.ms=7000/3 log.retention.hours=5/4 log.retention.hours=168/5"},
		{find(c.DescribeBroker(), "log.retention.minutes"), Default, "null"},
		{find(c.DescribeBroker(), "log.retention.hours"), StaticBroker, "5 log.retention.hours=5/4 log.retention.hours=168/5"},
		{find(c.DescribeBroker(), "log.roll.ms"), Default, "null"},
		{find(c.DescribeTopic(map[string]string{"cleanup.policy": " delete, compact,delete"}), "cleanup.policy"), DynamicTopic,
			"delete,compact cleanup.policy=delete,compact/1 log.cleanup.policy=delete/5"},
		{find(c.DescribeTopic(map[string]string{"min.cleanable.dirty.ratio": "1"}), "min.cleanable.dirty.ratio"), DynamicTopic,
			"1.0 min.cleanable.dirty.ratio=1.0/1 log.cleaner.min.cleanable.ratio=0.5/5"},
		{find(c.DescribeTopic(map[string]string{"preallocate": "TRUE"}), "preallocate"), DynamicTopic,
			"true preallocate=true/1 log.preallocate=false/5"},
		{find(c.DescribeBroker(), "sasl.jaas.config"), DynamicBroker, "null sasl.jaas.config=null/2"},
		{find(c.DescribeTopic(nil), "preallocate"), Default, "false log.preallocate=false/5"},
	} {
		if got := show(x.d); got != x.want || x.d.Source != x.source {
			t.Errorf("%s: %s, source %d; want %s, source %d", x.d.Key.Name, got, x.d.Source, x.want, x.source)
		}
	}
	if d := find(c.DescribeBroker(), "sasl.jaas.config"); !d.Sensitive || d.ReadOnly {
		t.Errorf("%+v", d)
	}
	if d := find(c.DescribeBroker(), "log.dirs"); !d.ReadOnly {
		t.Errorf("%+v", d)
	}
}

// TestEveryTopicKeyHasAFate: a key of Kafka is honoured, or listed as one that means nothing here; none is forgotten.
func TestEveryTopicKeyHasAFate(t *testing.T) {
	for _, name := range TopicNames() {
		if k, _ := LookupTopic(name); k.Effect == Unsupported {
			t.Errorf("%s is neither honoured nor listed as meaningless", name)
		}
	}
}
