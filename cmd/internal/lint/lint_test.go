package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module       = "github.com/tandembroker/tandem"
	fileLinesMax = 600
)

// mayImport says which of our top-level folders each of them may import. Nothing imports upward; bench knows the broker only
// as its clients do.
var mayImport = map[string][]string{
	"protocol":    {"protocol"},
	"storage":     {"protocol", "storage"},
	"replication": {"protocol", "storage", "replication"},
	"broker":      {"protocol", "storage", "replication", "broker"},
	"cmd":         {"protocol", "storage", "replication", "broker", "cmd"},
	"bench":       {"bench"},
}

// seams lists, for calls that reach out of the process or make a run unrepeatable, the prefixes of the paths that may make
// them. The value
// of such a function (Options.Now = time.Now) is allowed everywhere: that is how a constructor fills in the real thing.
var seams = []struct {
	packagePath string
	functions   []string // nil = all
	allowed     []string
}{
	{"time", []string{"Now", "Since", "Until"}, []string{"cmd/", "bench/", "broker/brokertest/"}},
	{"os", []string{"Open", "OpenFile", "Create", "CreateTemp", "ReadFile", "WriteFile", "Rename", "Remove", "RemoveAll", "Mkdir", "MkdirAll", "ReadDir", "Stat", "Truncate", "Link"},
		// tidwall/wal and bbolt call the operating system themselves, so the packages around them do too.
		[]string{"cmd/", "bench/", "storage/vfs/", "storage/journal/", "storage/meta/", "storage/preallocate", "protocol/wire/internal", "broker/brokertest/"}},
	{"net", []string{"Dial", "DialTimeout", "DialTCP", "Listen", "ListenTCP", "LookupHost"}, []string{"cmd/", "bench/", "broker/server/", "broker/brokertest/"}},
	{"math/rand", nil, []string{"bench/"}},
	{"math/rand/v2", []string{"Int", "IntN", "Int64", "Int64N", "Uint64", "Uint64N", "Uint32", "Float64", "Perm", "Shuffle", "N"}, []string{"bench/"}},
}

var badPackageNames = []string{"util", "utils", "common", "helpers", "types", "misc"}

// source is one Go file of the tree.
type source struct {
	path   string // from the root, slashes
	text   []byte
	parsed *ast.File
	fset   *token.FileSet
}

func (s source) test() bool      { return strings.HasSuffix(s.path, "_test.go") }
func (s source) generated() bool { return ast.IsGenerated(s.parsed) }
func (s source) top() string     { top, _, _ := strings.Cut(s.path, "/"); return top }

// sources reads all Go files of the module.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	var all []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && name != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, relative, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(relative), text, parsed, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found: this test looks in the wrong place", len(all))
	}
	return all
}

func TestImportDirection(t *testing.T) {
	for _, s := range sources(t) {
		for _, problem := range badImports(s) {
			t.Error(problem)
		}
	}
}

func badImports(s source) []string {
	allowed, known := mayImport[s.top()]
	if !known {
		return []string{fmt.Sprintf("%s: no Go code belongs in %s/", s.path, s.top())}
	}
	var problems []string
	for _, spec := range s.parsed.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		ours, ok := strings.CutPrefix(imported, module+"/")
		if !ok {
			continue
		}
		if s.test() && s.top() == "bench" && ours == "broker/brokertest" {
			continue // a test may start a broker in its own process, and still knows it only as clients do
		}
		if s.test() && ours == "bench/chaos/proxy" {
			continue // a bad network between what is tested; it knows nothing of ours
		}
		if top, _, _ := strings.Cut(ours, "/"); !slices.Contains(allowed, top) {
			problems = append(problems, fmt.Sprintf("%s imports %s: %s may import only %s", s.path, ours, s.top(), strings.Join(allowed, ", ")))
		}
	}
	return problems
}

func TestSeams(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, problem := range badCalls(s) {
			t.Error(problem)
		}
	}
}

func badCalls(s source) []string {
	names := map[string]string{} // local name -> import path
	for _, spec := range s.parsed.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		local := path.Base(imported)
		if local == "v2" {
			local = path.Base(path.Dir(imported))
		}
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = imported
	}
	var problems []string
	ast.Inspect(s.parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		base, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, seam := range seams {
			if names[base.Name] != seam.packagePath || seam.functions != nil && !slices.Contains(seam.functions, selector.Sel.Name) {
				continue
			}
			if !slices.ContainsFunc(seam.allowed, func(folder string) bool { return strings.HasPrefix(s.path, folder) }) {
				problems = append(problems, fmt.Sprintf("%s: call of %s.%s: take it from Options", s.fset.Position(call.Pos()), base.Name, selector.Sel.Name))
			}
		}
		return true
	})
	return problems
}

func TestFileLength(t *testing.T) {
	for _, s := range sources(t) {
		if lines := bytes.Count(s.text, []byte("\n")); lines >= fileLinesMax && !s.generated() {
			t.Errorf("%s has %d lines; a file of one job has fewer than %d", s.path, lines, fileLinesMax)
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, s := range sources(t) {
		if name := s.parsed.Name.Name; slices.Contains(badPackageNames, strings.TrimSuffix(name, "_test")) {
			t.Errorf("%s: package %s says nothing about what is in it", s.path, name)
		}
	}
}

// TestRulesBite makes sure that the rules above find what they are for.
func TestRulesBite(t *testing.T) {
	fake := func(name, text string) source {
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		return source{name, []byte(text), parsed, fset}
	}
	for _, bad := range []source{
		fake("storage/x/x.go", `package x; import _ "github.com/tandembroker/tandem/broker/config"`),
		fake("bench/x/x.go", `package x; import _ "github.com/tandembroker/tandem/protocol/wire"`),
		fake("bench/x/x.go", `package x; import _ "github.com/tandembroker/tandem/broker/brokertest"`),
		fake("bench/x/x_test.go", `package x; import _ "github.com/tandembroker/tandem/broker"`),
		fake("internal/x/x.go", `package x`),
	} {
		if len(badImports(bad)) != 1 {
			t.Errorf("%s passes", bad.text)
		}
	}
	for name, text := range map[string]string{
		"storage/log/x.go":  `package x; import "time"; func f() { _ = time.Now() }`,
		"broker/x.go":       `package x; import clock "time"; func f() { _ = clock.Since(clock.Time{}) }`,
		"broker/y.go":       `package x; import "net"; func f() { net.Dial("tcp", "") }`,
		"storage/log/z.go":  `package x; import "os"; func f() { os.Open("") }`,
		"replication/r.go":  `package x; import "math/rand/v2"; func f() { rand.IntN(3) }`,
		"replication/r1.go": `package x; import "math/rand"; func f() { rand.New(nil) }`,
	} {
		if len(badCalls(fake(name, text))) == 0 {
			t.Errorf("%s passes", text)
		}
	}
	if found := badCalls(fake("broker/ok.go", `package x; import "time"; var now = time.Now; func f() { _ = now() }`)); len(found) != 0 {
		t.Errorf("the value of time.Now is refused: %v", found)
	}
}
