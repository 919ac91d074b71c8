package lint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/protocol/wire"
)

var rewrite = flag.Bool("rewrite", false, "write the generated parts of docs/compatibility.md anew")

// TestCompatibility holds the generated parts of docs/compatibility.md, each between two comments, against the code's own tables.
func TestCompatibility(t *testing.T) {
	const name = "docs/compatibility.md"
	want := readDoc(t, name)
	for part, text := range map[string]string{
		"apis":               apiTable(),
		"clients":            clientTable(t),
		"topic keys":         keyList(config.TopicNames(), config.LookupTopic, config.Unsupported, config.Meaningless),
		"broker keys":        keyList(config.Names(), config.Lookup, config.Unsupported),
		"broker keys, parts": keyList(config.Names(), config.Lookup, config.Meaningless),
		"broker keys, guard": keyList(config.Names(), config.Lookup, config.Refused),
		"dynamic keys":       keyList(dynamicKeys(), config.Lookup, config.Honoured),
	} {
		begin, end := fmt.Sprintf("<!-- generated: %s -->\n", part), "<!-- end -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Errorf("%s has no part %q", name, part)
			continue
		}
		want = before + begin + text + end + after
	}
	if want == readDoc(t, name) {
		return
	}
	if !*rewrite {
		t.Fatalf("%s is not what the tables say: go test ./cmd/internal/lint -run Compatibility -rewrite", name)
	}
	if err := os.WriteFile(filepath.Join("..", "..", "..", name), []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func apiTable() string {
	var b strings.Builder
	b.WriteString("| key | API | versions |\n|---|---|---|\n")
	for _, a := range wire.APIs() {
		note := ""
		if a.AcceptMin > a.Min {
			note = fmt.Sprintf(" (%d-%d are advertised, and close the connection, as in Kafka)", a.Min, a.AcceptMin-1)
		}
		fmt.Fprintf(&b, "| %d | %s | %d-%d%s |\n", a.Key, a.Name, a.AcceptMin, a.Max, note)
	}
	return b.String()
}

// keyList lists the keys of some effects, wrapped; keys that Kafka 4 no longer has are left out.
func keyList(names []string, lookup func(string) (*config.Key, bool), effects ...config.Effect) string {
	var b strings.Builder
	column := 0
	for _, name := range names {
		k, _ := lookup(name)
		if !slices.Contains(effects, k.Effect) || strings.HasPrefix(k.Doc, "Removed in Apache Kafka") || k.Internal {
			continue
		}
		item := "`" + name + "`"
		switch {
		case column == 0:
		case column+2+len(item) > 120:
			b.WriteString(",\n")
			column = 0
		default:
			b.WriteString(", ")
			column += 2
		}
		b.WriteString(item)
		column += len(item)
	}
	return b.String() + "\n"
}

// dynamicKeys are the broker keys that can be changed at run time.
func dynamicKeys() []string {
	return slices.DeleteFunc(config.Names(), func(name string) bool {
		k, _ := config.Lookup(name)
		return !k.Dynamic
	})
}
