// Command mutants proves that the tests would notice: it puts one seeded bug at a time into the source, runs the test that
// is named beside it, and demands that this test fails.
//
//	go run ./bench/mutants            every seeded bug (bugs*.go)
//	go run ./bench/mutants -run W3    those whose name matches
//	go run ./bench/mutants -share 7/3 the second third of them (7 modulo 3, from 0)
//	go run ./bench/mutants -list
//
// The tree itself is not touched: the changed file is laid over it with go's -overlay flag. A seeded bug whose text is no
// longer found in the source, or that does not compile, is an error too: then the table must follow the code. Before any bug is
// seeded, all named tests must pass, and the time that they take then is what limits them with the bug: a test that hangs has
// noticed it. Some bugs are races, which a test meets in most of its runs: one that passes is run twice more, and said to be.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// bug is one mistake that somebody could make.
type bug struct {
	name  string // the hazard or rule that it breaks
	file  string // relative to the module
	old   string // stands exactly once in file
	new   string
	old2  string // a second change of the same file; "" = none
	new2  string
	pkg   string // package of the test, relative to the module
	test  string // exact name of the test that must fail
	short bool   // the test is run with -short
}

func main() {
	run := flag.String("run", "", "only the bugs whose name matches this regular expression")
	part := flag.String("share", "0/1", "K/N: only every Nth bug, from the one with the number K modulo N on")
	list := flag.Bool("list", false, "print the bugs and stop")
	limit := flag.Duration("limit", time.Minute, "longest time limit of one run of a test, without compiling")
	jobs := flag.Int("j", runtime.NumCPU()+1, "how many bugs are tried at a time")
	flag.Parse()
	only, err := regexp.Compile(*run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	chosen, err := share(slices.DeleteFunc(slices.Clone(bugs), func(b bug) bool { return !only.MatchString(b.name) }), *part)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if *list {
		for _, b := range chosen {
			fmt.Printf("%-50s %s %s\n", b.name, b.pkg, b.test)
		}
		return
	}
	root, err := moduleRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r := runner{root: root, limit: *limit, jobs: max(*jobs, 1), took: map[suite]map[string]time.Duration{}}
	if !r.baseline(chosen) {
		os.Exit(1)
	}
	slices.SortStableFunc(chosen, func(a, b bug) int { return cmp.Compare(r.time(b), r.time(a)) }) // no long one at the end
	caught, missed := r.tryAll(chosen)
	for _, said := range missed { // once more, where the end of a long log shows it
		fmt.Print(said)
	}
	fmt.Printf("%d passed, %d failed\n", caught, len(missed))
	if len(missed) > 0 || caught == 0 {
		os.Exit(1)
	}
}

// share is the part of all that is named by K/N. N runs with K, K+1, ... have them all.
func share(all []bug, part string) (some []bug, err error) {
	var k, n int
	if read, err := fmt.Sscanf(part, "%d/%d", &k, &n); err != nil || read != 2 || k < 0 || n < 1 {
		return nil, fmt.Errorf("-share %q: want K/N with K from 0 and N from 1", part)
	}
	for i := k % n; i < len(all); i += n {
		some = append(some, all[i])
	}
	return some, nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// suite is what one run of go test can hold.
type suite struct {
	pkg   string
	short bool
}

func (b *bug) suite() suite { return suite{b.pkg, b.short} }

type runner struct {
	root  string
	limit time.Duration
	jobs  int
	took  map[suite]map[string]time.Duration // by the tests without a bug; complete before the first bug is tried
}

// time is how long b's test takes without the bug.
func (r *runner) time(b bug) time.Duration { return r.took[b.suite()][b.test] }

// limitOf is how long b's test may take with the bug: far more than without it, on a machine that does other things too.
func (r *runner) limitOf(b bug) time.Duration { return min(r.limit, 10*time.Second+20*r.time(b)) }

// each runs f for the numbers below n, a few at a time.
func (r *runner) each(n int, f func(i int)) {
	work := make(chan int)
	var wg sync.WaitGroup
	for range r.jobs {
		wg.Go(func() {
			for i := range work {
				f(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}

// passed is what go test -v says of a test and how long it took, and not of a part of one.
var passed = regexp.MustCompile(`(?m)^--- PASS: (\w+) \(([0-9.]+s)\)$`)

// baseline runs all tests that list names against the code as it is: they must exist and pass.
func (r *runner) baseline(list []bug) bool {
	var suites []suite
	tests := map[suite][]string{}
	for _, b := range list {
		s := b.suite()
		if tests[s] == nil {
			suites = append(suites, s)
		}
		if !slices.Contains(tests[s], b.test) {
			tests[s] = append(tests[s], b.test)
		}
	}
	ok := make([]bool, len(suites))
	for _, s := range suites {
		r.took[s] = map[string]time.Duration{}
	}
	r.each(len(suites), func(i int) {
		s := suites[i]
		began := time.Now()
		out, err := r.goTest(s, strings.Join(tests[s], "|"), r.limit, "-v")
		if err != nil {
			fmt.Printf("UNCHANGED CODE FAILS  %s: %v\n%s", s.pkg, err, out)
			return
		}
		ok[i] = true
		for _, m := range passed.FindAllStringSubmatch(out, -1) {
			r.took[s][m[1]], _ = time.ParseDuration(m[2])
		}
		for _, name := range tests[s] {
			if _, there := r.took[s][name]; !there {
				fmt.Printf("NO SUCH TEST  %s: %s is missing, or skipped\n", s.pkg, name)
				ok[i] = false
			}
		}
		fmt.Printf("unchanged code passes %d tests of %s in %.1f s\n", len(tests[s]), s.pkg, time.Since(began).Seconds())
	})
	return !slices.Contains(ok, false)
}

// tryAll seeds one bug after the other. missed has a line or more for each that was not caught.
func (r *runner) tryAll(list []bug) (caught int, missed []string) {
	var mu sync.Mutex
	r.each(len(list), func(i int) {
		b := list[i]
		began := time.Now()
		tries := 1
		err := r.try(b)
		for ; errors.Is(err, errPasses) && tries < triesMax; tries++ {
			err = r.try(b)
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			missed = append(missed, fmt.Sprintf("MISSED  %-50s %v\n", b.name, err))
			fmt.Print(missed[len(missed)-1])
			return
		}
		caught++
		late := ""
		if tries > 1 {
			late = fmt.Sprintf(", in run %d of it only", tries)
		}
		fmt.Printf("caught  %-50s by %s in %.1f s%s\n", b.name, b.test, time.Since(began).Seconds(), late)
	})
	return caught, missed
}

// triesMax is how often a test is run that does not notice its bug.
const triesMax = 3

// errPasses is why a bug is missed whose test does not notice it.
var errPasses = errors.New("passes")

// try returns nil when the seeded bug is caught.
func (r *runner) try(b bug) error {
	source := filepath.Join(r.root, b.file)
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	edited := string(text)
	for _, edit := range [][2]string{{b.old, b.new}, {b.old2, b.new2}} {
		if edit[0] == "" {
			continue
		}
		if n := strings.Count(edited, edit[0]); n != 1 {
			return fmt.Errorf("the text to change stands %d times in %s: %q", n, b.file, edit[0])
		}
		edited = strings.Replace(edited, edit[0], edit[1], 1)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	changed := filepath.Join(dir, filepath.Base(b.file))
	if err := os.WriteFile(changed, []byte(edited), 0o600); err != nil {
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
	out, err := r.goTest(b.suite(), b.test, r.limitOf(b), "-overlay="+overlayFile)
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(out, "no tests to run"):
		return fmt.Errorf("no test %s in %s", b.test, b.pkg)
	case err == nil:
		return fmt.Errorf("%s in %s %w", b.test, b.pkg, errPasses)
	case !errors.As(err, &exit):
		return fmt.Errorf("go test: %w", err)
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return fmt.Errorf("does not compile:\n%s", out)
	case !strings.Contains(out, "--- FAIL: "+b.test) && !strings.Contains(out, "panic: ") && !strings.Contains(out, "fatal error: "):
		return fmt.Errorf("%s in %s did not fail, something else did:\n%s", b.test, b.pkg, out)
	}
	return nil
}

// goTest runs the tests of s whose name is one of the alternatives in names. Without cgo, as the product is built: to compile
// and link for it is a fifth of the time.
func (r *runner) goTest(s suite, names string, limit time.Duration, flags ...string) (out string, err error) {
	args := append([]string{"test", "-count=1", "-vet=off", "-timeout", limit.String(), "-run", "^(?:" + names + ")$"}, flags...)
	if s.short {
		args = append(args, "-short")
	}
	cmd := exec.Command("go", append(args, "./"+s.pkg)...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	b, err := cmd.CombinedOutput()
	return string(b), err
}
