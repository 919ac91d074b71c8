package lint

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/protocol/wire"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestArchitectureNamesWhatExists holds every `path/file.go:func` of ARCHITECTURE.md against the code.
func TestArchitectureNamesWhatExists(t *testing.T) {
	functions, files := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		files[s.path] = true
		for _, d := range s.parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				functions[s.path+":"+f.Name.Name] = true
			}
		}
	}
	text := readDoc(t, "ARCHITECTURE.md")
	steps := regexp.MustCompile("`((?:[a-z_]+/)+[a-z_]+\\.go)(:[A-Za-z]+)?`").FindAllStringSubmatch(text, -1)
	if len(steps) < 20 {
		t.Fatalf("only %d steps found: this test reads the page wrong", len(steps))
	}
	for _, step := range steps {
		if !files[step[1]] || step[2] != "" && !functions[step[1]+step[2]] {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", step[1]+step[2])
		}
	}
}

// TestReadmeTables holds README's tables of APIs and of our own keys against the code.
func TestReadmeTables(t *testing.T) {
	text := readDoc(t, "README.md")
	for _, api := range wire.APIs() {
		if row := fmt.Sprintf("| %s | %d-%d |", api.Name, api.AcceptMin, api.Max); !strings.Contains(text, row) {
			t.Errorf("README.md has no %q", row)
		}
	}
	for _, name := range config.OwnNames() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("README.md does not name the key %s", name)
		}
	}
}
