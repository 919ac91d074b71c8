package config

import (
	"maps"
	"slices"
	"strings"
)

// Source is the source of a value as DescribeConfigs numbers it.
type Source int8

// The sources. Source: Kafka DescribeConfigsResponse.ConfigSource.
const (
	DynamicTopic         Source = 1
	DynamicBroker        Source = 2
	DynamicDefaultBroker Source = 3
	StaticBroker         Source = 4
	Default              Source = 5
)

// Value is one place that gives a key its value.
type Value struct {
	Name   string
	Value  *string // nil = null, or hidden
	Source Source
}

// Described is a key as DescribeConfigs shows it.
type Described struct {
	Key       *Key
	Value     *string // nil = null, or hidden because Sensitive
	Source    Source
	Effective Source // as Source, but also where another spelling of the broker's key gives the value; CreateTopics shows it
	ReadOnly  bool
	Sensitive bool
	Synonyms  []Value // what gives the value, then what would if that were taken away
}

// DescribeBroker shows the broker's keys in order of their names, those of older Kafka releases and Kafka's internal ones left
// out.
func (c *Config) DescribeBroker() []Described {
	var all []Described
	for _, name := range brokerTable.names {
		k := brokerTable.byName[name]
		if k.Internal || k.Effect == Meaningless && k.Doc == removedDoc {
			continue
		}
		d := Described{Key: k, Source: Default, ReadOnly: !k.Dynamic, Sensitive: k.Type == Password}
		if v, ok := c.values[name]; ok {
			d.Value = shown(k, k.canonical(v.text))
		} else if !k.Null {
			d.Value = shown(k, k.Default)
		}
		d.Synonyms = c.synonyms(name)
		if id, ok := c.static["node.id"]; ok && name == "broker.id" { // Kafka gives it node.id's
			d.Value = shown(k, strings.TrimSpace(id.text))
			d.Synonyms = []Value{{name, d.Value, StaticBroker}, {name, shown(k, k.Default), Default}}
		}
		if len(d.Synonyms) > 0 {
			d.Source = d.Synonyms[0].Source
		}
		all = append(all, d)
	}
	return all
}

// DescribeCluster shows what was set for all brokers: the broker resource "".
func (c *Config) DescribeCluster() []Described {
	var all []Described
	for _, name := range slices.Sorted(maps.Keys(c.dynamic.Cluster)) {
		k := mustKey(name)
		d := Described{Key: k, Value: shown(k, c.dynamic.Cluster[name]), Source: DynamicDefaultBroker, ReadOnly: !k.Dynamic, Sensitive: k.Type == Password}
		for _, v := range c.synonyms(name) {
			if v.Source == DynamicDefaultBroker {
				d.Synonyms = append(d.Synonyms, v)
			}
		}
		all = append(all, d)
	}
	return all
}

// synonymFamilies are the keys of one meaning that Kafka shows together; of other families it shows each key alone. Source:
// DynamicBrokerConfig.brokerConfigSynonyms.
var synonymFamilies = [][]string{
	{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
	{"log.roll.ms", "log.roll.hours"},
	{"log.roll.jitter.ms", "log.roll.jitter.hours"},
	{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"},
}

// synonyms lists what gives a broker key its value: by source, then by spelling. As in Kafka, what stands before the key itself is
// left out: log.retention.ms is a default where only log.retention.hours is set. Source: ConfigHelper.configSynonyms.
func (c *Config) synonyms(key string) []Value {
	names := []string{key}
	if i := slices.IndexFunc(synonymFamilies, func(f []string) bool { return slices.Contains(f, key) }); i >= 0 {
		names = synonymFamilies[i]
	}
	var values []Value
	add := func(name, text string, source Source) {
		if name == key || len(values) > 0 {
			values = append(values, Value{name, shown(mustKey(name), strings.TrimSpace(text)), source})
		}
	}
	for _, name := range names {
		if text, ok := c.dynamic.Broker[name]; ok {
			add(name, text, DynamicBroker)
		}
	}
	for _, name := range names {
		if text, ok := c.dynamic.Cluster[name]; ok {
			add(name, text, DynamicDefaultBroker)
		}
	}
	for _, name := range names {
		if v, ok := c.static[name]; ok {
			add(name, v.text, StaticBroker)
		}
	}
	for _, name := range names {
		if k := mustKey(name); !k.Null {
			add(name, k.Default, Default)
		}
	}
	return values
}

// DescribeTopic shows a topic's keys in order of their names; overrides is what the topic has of its own.
func (c *Config) DescribeTopic(overrides map[string]string) []Described {
	var all []Described
	for _, name := range topicTable.names {
		k := topicTable.byName[name]
		if k.Internal {
			continue
		}
		d := Described{Key: k, Source: Default, Effective: Default, Sensitive: k.Type == Password}
		text, null, from := topicDefault(k, c.values)
		if !null {
			d.Value = shown(k, k.canonical(text))
		}
		if from != "" {
			d.Effective = c.values[from].origin.source()
		}
		if v, ok := overrides[name]; ok {
			d.Value, d.Effective = shown(k, k.canonical(v)), DynamicTopic
			d.Synonyms = append(d.Synonyms, Value{name, d.Value, DynamicTopic})
		}
		if len(k.Synonyms) > 0 { // the first only; synonyms has the others
			d.Synonyms = append(d.Synonyms, c.synonyms(k.Synonyms[0].Name)...)
		}
		if len(d.Synonyms) > 0 {
			d.Source = d.Synonyms[0].Source
		}
		all = append(all, d)
	}
	return all
}

// source is an origin as DescribeConfigs numbers it.
func (o Origin) source() Source {
	switch o {
	case FromBroker:
		return DynamicBroker
	case FromCluster:
		return DynamicDefaultBroker
	case FromDefault:
		return Default
	}
	return StaticBroker
}

func shown(k *Key, text string) *string {
	if k.Type == Password {
		return nil
	}
	return &text
}
