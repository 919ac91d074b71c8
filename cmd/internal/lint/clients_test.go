package lint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// testClients are modules of clients that only bench may import: the product does not link them.
var testClients = []string{"github.com/IBM/sarama", "github.com/segmentio/kafka-go"}

func TestProductLinksNoTestClients(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		for _, spec := range s.parsed.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for _, module := range testClients {
				if imported != module && !strings.HasPrefix(imported, module+"/") {
					continue
				}
				used[module] = true
				if s.top() != "bench" {
					t.Errorf("%s imports %s, which is for bench", s.path, imported)
				}
			}
		}
	}
	for _, module := range testClients {
		if !used[module] {
			t.Errorf("nobody imports %s: this test looks in the wrong place", module)
		}
	}
}

// clientTable lists the clients of bench/interop with the versions that its files pin.
func clientTable(t *testing.T) string {
	t.Helper()
	const folder = "bench/interop/"
	pin := func(file, pattern, name string) string {
		found := regexp.MustCompile(fmt.Sprintf(pattern, regexp.QuoteMeta(name))).FindStringSubmatch(readDoc(t, file))
		if found == nil {
			t.Fatalf("%s pins no version of %s", file, name)
		}
		return found[1]
	}
	module := func(name string) string { return pin("go.mod", `(?m)^\s+%s (v\S+)$`, name) }
	python := func(name string) string {
		return pin(folder+"clients/python/requirements.txt", `(?m)^%s==(\S+)$`, name)
	}
	node := func(name string) string { return pin(folder+"clients/node/package.json", `"%s": "([0-9.]+)"`, name) }
	var codecs []string
	for _, name := range []string{"kafkajs-snappy", "lz4-napi", "@mongodb-js/zstd"} {
		codecs = append(codecs, name+" "+node(name))
	}
	rows := [][]string{
		{"client", "version", "language"},
		{"---", "---", "---"},
		{"kcat (librdkafka)", "Debian's", "C"},
		{"confluent-kafka-python (librdkafka)", python("confluent-kafka"), "Python, C"},
		{"franz-go", module("github.com/twmb/franz-go"), "Go"},
		{"Apache Kafka's clients and tools", pin(folder+"pom.xml", `<%s>(.*)</`, "kafka.version"), "Java"},
		{"kafka-python", python("kafka-python"), "Python"},
		{"kafkajs", node("kafkajs") + ", with " + strings.Join(codecs, ", "), "JavaScript"},
		{"sarama", module(testClients[0]), "Go"},
		{"kafka-go (segmentio)", module(testClients[1]), "Go"},
	}
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	families := readDoc(t, folder+"family.go")
	if want, got := len(rows)-2, strings.Count(families, "{name: "); got != want {
		t.Errorf("bench/interop has %d families of clients, this table %d", got, want)
	}
	return b.String()
}
