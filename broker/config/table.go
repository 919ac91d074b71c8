package config

import (
	"slices"
	"strings"
)

// keyTable is the list of keys of one scope. It is built once and never changed.
type keyTable struct {
	byName map[string]*Key
	names  []string // sorted
}

var (
	brokerTable = buildBrokerTable()
	topicTable  = buildTopicTable()
)

// Lookup finds a broker key. The Key is shared and must not be changed.
func Lookup(name string) (*Key, bool) {
	k, ok := brokerTable.byName[name]
	return k, ok
}

// LookupTopic finds a topic key. The Key is shared and must not be changed.
func LookupTopic(name string) (*Key, bool) {
	k, ok := topicTable.byName[name]
	return k, ok
}

// Names lists all broker keys, sorted; TopicNames all topic keys.
func Names() []string { return slices.Clone(brokerTable.names) }

// TopicNames lists all topic keys, sorted.
func TopicNames() []string { return slices.Clone(topicTable.names) }

func buildBrokerTable() keyTable {
	t := newTable(kafkaBrokerKeys, tandemBrokerKeys, siteKeys)
	for _, name := range removedKeys {
		t.byName[name] = &Key{Name: name, Type: String, Null: true, Effect: Meaningless, Doc: removedDoc}
	}
	t.mark(honouredBrokerKeys, Honoured)
	t.mark(meaninglessBrokerKeys, Meaningless)
	t.mark(refusedBrokerKeys, Refused)
	for _, name := range restartKeys {
		t.byName[name].Dynamic = false
	}
	for name, value := range tandemDefaults {
		k := t.byName[name]
		k.Default, k.Null = value, false
	}
	return t.sorted()
}

func buildTopicTable() keyTable {
	t := newTable(kafkaTopicKeys, tandemTopicKeys)
	t.mark(honouredTopicKeys, Honoured)
	t.mark(meaninglessTopicKeys, Meaningless)
	return t.sorted()
}

func newTable(lists ...[]Key) keyTable {
	t := keyTable{byName: map[string]*Key{}}
	for _, list := range lists {
		for _, k := range list {
			t.byName[k.Name] = &k
		}
	}
	return t
}

func (t *keyTable) mark(patterns []string, e Effect) {
	for _, pattern := range patterns {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		found := false
		for name, k := range t.byName {
			if name == pattern || isPrefix && strings.HasPrefix(name, prefix) && k.Effect == Unsupported {
				k.Effect, found = e, true
			}
		}
		if !found {
			panic("config: no key is named " + pattern)
		}
	}
}

func (t keyTable) sorted() keyTable {
	for name := range t.byName {
		t.names = append(t.names, name)
	}
	slices.Sort(t.names)
	return t
}

// OwnNames lists the broker keys that Kafka does not have.
func OwnNames() []string {
	var names []string
	for _, k := range slices.Concat(tandemBrokerKeys, siteKeys) {
		names = append(names, k.Name)
	}
	return names
}
