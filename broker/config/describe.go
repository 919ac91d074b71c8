package config

import "strings"

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
		d.Synonyms = c.brokerValues(k, name)
		for _, family := range families {
			if family[0] == name {
				for _, other := range family[1:] {
					d.Synonyms = append(d.Synonyms, c.brokerValues(mustKey(other), other)...)
				}
			}
		}
		if len(d.Synonyms) > 0 && d.Synonyms[0].Name == name {
			d.Value, d.Source = d.Synonyms[0].Value, d.Synonyms[0].Source
		}
		all = append(all, d)
	}
	return all
}

// brokerValues lists what was set for a broker key, then its default.
func (c *Config) brokerValues(k *Key, name string) []Value {
	var values []Value
	if v, ok := c.values[name]; ok {
		values = append(values, Value{name, shown(k, strings.TrimSpace(v.text)), StaticBroker})
	}
	if !k.Null {
		values = append(values, Value{name, shown(k, k.Default), Default})
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
		d := Described{Key: k, Source: Default, Sensitive: k.Type == Password}
		text, null, source := topicDefault(k, c.values)
		if !null {
			d.Value = shown(k, text)
		}
		if source != "" {
			d.Source = StaticBroker
		}
		if v, ok := overrides[name]; ok {
			d.Value, d.Source = shown(k, v), DynamicTopic
			d.Synonyms = append(d.Synonyms, Value{name, d.Value, DynamicTopic})
		}
		for _, s := range k.Synonyms {
			d.Synonyms = append(d.Synonyms, c.brokerValues(mustKey(s.Name), s.Name)...)
		}
		all = append(all, d)
	}
	return all
}

func shown(k *Key, text string) *string {
	if k.Type == Password {
		return nil
	}
	return &text
}
