// Command mutants proves that the tests would notice: it puts one seeded bug at a time into the source, runs the test that
// is named beside it, and demands that this test fails.
//
//	go run ./bench/mutants            every seeded bug of bugs.go
//	go run ./bench/mutants -run W3    those whose name matches
//	go run ./bench/mutants -list
//
// The tree itself is not touched: the changed file is laid over it with go's -overlay flag. A seeded bug whose text is no
// longer found in the source, or that does not compile, is an error too: then bugs.go must follow the code.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// bug is one mistake that somebody could make.
type bug struct {
	name string // the hazard or rule that it breaks
	file string // relative to the module
	old  string // stands exactly once in file
	new  string
	pkg  string // package of the test
	test string // -run pattern of the tests of which at least one must fail
}

func main() {
	run := flag.String("run", "", "only the bugs whose name matches this regular expression")
	list := flag.Bool("list", false, "print the bugs and stop")
	limit := flag.Duration("limit", 3*time.Minute, "time limit of one bug's test")
	flag.Parse()
	only, err := regexp.Compile(*run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	root, err := moduleRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	caught, missed := 0, 0
	for _, b := range bugs {
		if !only.MatchString(b.name) {
			continue
		}
		if *list {
			fmt.Printf("%-40s %s %s\n", b.name, b.pkg, b.test)
			continue
		}
		began := time.Now()
		if err := try(root, b, *limit); err != nil {
			missed++
			fmt.Printf("MISSED  %-40s %v\n", b.name, err)
			continue
		}
		caught++
		fmt.Printf("caught  %-40s by %s in %.1f s\n", b.name, b.test, time.Since(began).Seconds())
	}
	if *list {
		return
	}
	fmt.Printf("%d passed, %d failed\n", caught, missed)
	if missed > 0 || caught == 0 {
		os.Exit(1)
	}
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// try returns nil when the seeded bug is caught.
func try(root string, b bug, limit time.Duration) error {
	source := filepath.Join(root, b.file)
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), b.old); n != 1 {
		return fmt.Errorf("the text to change stands %d times in %s", n, b.file)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	changed := filepath.Join(dir, filepath.Base(b.file))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), b.old, b.new, 1)), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		return err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return err
	}
	return demandFailure(root, overlayFile, b, limit)
}

func demandFailure(root, overlayFile string, b bug, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-overlay="+overlayFile, "-run", b.test, b.pkg)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch text := string(out); {
	case ctx.Err() != nil:
		return nil // hanging is noticed as well: go test's own limit is the net
	case err == nil && strings.Contains(text, "no tests to run"):
		return fmt.Errorf("no test matches %s in %s", b.test, b.pkg)
	case err == nil:
		return fmt.Errorf("%s in %s passes", b.test, b.pkg)
	case !errors.As(err, &exit):
		return fmt.Errorf("go test: %w", err)
	case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
		return fmt.Errorf("does not compile: %s", text)
	}
	return nil
}
