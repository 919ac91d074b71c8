package config

import (
	"maps"
	"slices"
	"testing"
)

// TestTableIsSound holds every row to its own rules: names are unique, defaults are accepted, synonyms exist.
func TestTableIsSound(t *testing.T) {
	for scope, lists := range map[string][][]Key{"broker": {kafkaBrokerKeys, tandemBrokerKeys, siteKeys}, "topic": {kafkaTopicKeys, tandemTopicKeys}} {
		seen := map[string]bool{}
		for _, k := range slices.Concat(lists...) {
			if seen[k.Name] {
				t.Errorf("%s key %s is there twice", scope, k.Name)
			}
			seen[k.Name] = true
			if k.Doc == "" && !k.Internal {
				t.Errorf("%s key %s has no description", scope, k.Name)
			}
			for _, s := range k.Synonyms {
				if _, ok := Lookup(s.Name); !ok || s.Factor < 1 {
					t.Errorf("topic key %s: synonym %+v", k.Name, s)
				}
			}
		}
	}
	for _, table := range []keyTable{brokerTable, topicTable} {
		for name, k := range table.byName {
			if err := k.Check(k.Default); err != nil && !k.Null && k.Effect != Meaningless {
				t.Errorf("%s: its default %q %v", name, k.Default, err)
			}
		}
	}
	for _, name := range removedKeys {
		if slices.ContainsFunc(kafkaBrokerKeys, func(k Key) bool { return k.Name == name }) {
			t.Errorf("%s is not removed in Kafka %s", name, KafkaVersion)
		}
	}
}

// TestKafkasKeysAreKnown guards the generated list against being cut short.
func TestKafkasKeysAreKnown(t *testing.T) {
	for _, name := range []string{"log.dirs", "node.id", "process.roles", "zookeeper.connect", "ssl.keystore.location",
		"sasl.jaas.config", "offsets.topic.num.partitions", "transaction.state.log.min.isr", "group.share.max.share.sessions",
		"controller.quorum.voters", "remote.log.storage.system.enable", "auto.leader.rebalance.enable"} {
		if _, ok := Lookup(name); !ok {
			t.Errorf("%s is not known", name)
		}
	}
	if got := len(brokerTable.names); got < 400 {
		t.Errorf("%d broker keys", got)
	}
}

func TestTopicSynonyms(t *testing.T) {
	k, _ := LookupTopic("retention.ms")
	want := []Synonym{{"log.retention.ms", 1}, {"log.retention.minutes", 60000}, {"log.retention.hours", 3600000}}
	if !slices.Equal(k.Synonyms, want) {
		t.Errorf("retention.ms comes from %v, want %v", k.Synonyms, want)
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"log.dir.s": "log.dirs", "lisetners": "listeners", "advertised.listener": "advertised.listeners", "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq": "",
	} {
		if got := nearest(name, brokerTable.names); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}

func TestParseProperties(t *testing.T) {
	text := "\ufeff# comment\n! comment\r\n\n  a = 1 \nb:2\nc 3\nd\\ e\\=f\\:=x\\\n   y\\\\\n#no\\\ng=\\u0041\\t\\q\\ud83d\\ude00\nempty\nempty2=\nlast=\\"
	properties, err := parseProperties(text)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range properties {
		got[p.key] = p.value
	}
	want := map[string]string{"a": "1 ", "b": "2", "c": "3", "d e=f:": `xy\`, "g": "A\tq\U0001F600", "empty": "", "empty2": "", "last": ""}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if properties[0].line != 4 || properties[4].key != "g" || properties[4].line != 10 {
		t.Errorf("lines: %+v", properties)
	}
}

func FuzzParseProperties(f *testing.F) {
	for _, seed := range []string{"a=b", `a\u00e9=\ud800x`, "a\\\n\\\n", "\\", "=\n:\n \t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		properties, err := parseProperties(text)
		if err != nil && properties != nil {
			t.Errorf("both %v and %v", properties, err)
		}
	})
}
