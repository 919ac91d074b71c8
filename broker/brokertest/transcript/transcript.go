// Package transcript runs tests that are written as what was said and what came of it. A line of a transcript is a command, empty, or
// a comment that begins with #; the lines behind a command that begin with "> " are its answer.
package transcript

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts answer now into them")

// Play runs one command and returns the lines of its answer. An error says that there is no such command: it ends the test.
type Play func(command string) (answer []string, err error)

// Run runs each file that pattern finds as a test of its own, with what begin makes for it, and holds the answers against those that
// stand there; with -rewrite, it writes them there.
func Run(t *testing.T, pattern string, begin func(*testing.T) Play) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(want), begin(t))
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Fatalf("-rewrite writes what it answers now:\n%s", got)
			}
		})
	}
}

// replay is the transcript with the answers of play.
func replay(text string, play Play) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		answer, err := play(line)
		if err != nil {
			return "", fmt.Errorf("%s: %w", line, err)
		}
		for _, l := range answer {
			fmt.Fprintln(&out, "> "+l)
		}
	}
	return out.String(), nil
}
