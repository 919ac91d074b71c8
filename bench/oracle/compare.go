package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// found is a field in which two answers to one request differ.
type found struct {
	sequence      *sequence
	request       string // without the connection
	api           string
	path          string // of the field
	kafka, tandem string // "-" = not there

	left, right map[string]string // both answers, by path
}

// codes are the error codes of what the field belongs to: of the nearest element around it that has one in either answer.
func (f *found) codes() (kafka, tandem string) {
	for path := f.path; path != ""; {
		a, b := f.left[path+".ErrorCode"], f.right[path+".ErrorCode"]
		if a != "" || b != "" {
			return a, b
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return f.left["ErrorCode"], f.right["ErrorCode"]
}

// differ compares two answers field by field.
func differ(q *sequence, kafka, tandem exchange) []found {
	paths, left := kafka.byPath()
	more, right := tandem.byPath()
	paths = slices.Compact(slices.Sorted(slices.Values(append(paths, more...))))
	var all []found
	for _, path := range paths {
		a, ok := left[path]
		if !ok {
			a = "-"
		}
		b, ok := right[path]
		if !ok {
			b = "-"
		}
		if a != b {
			_, request, _ := strings.Cut(kafka.request, " ")
			api, _, _ := strings.Cut(request, " ")
			all = append(all, found{sequence: q, request: request, api: api, path: path, kafka: a, tandem: b, left: left, right: right})
		}
	}
	return all
}

// comparison is what the sequences of a run had in common, and what not.
type comparison struct {
	out       io.Writer
	sequences int
	requests  int
	seen      map[string]int   // known differences, by what they are about
	differing int              // sequences
	kinds     map[string]*kind // of unknown differences
}

// kind is a difference without the names in it.
type kind struct {
	text    string
	count   int
	example found
}

var labelPattern = regexp.MustCompile(`\[[^]]*\]`)

func (c *comparison) count(f found) {
	text := fmt.Sprintf("%s %s: Kafka %s, Tandem %s", f.api, labelPattern.ReplaceAllString(f.path, "[]"), f.kafka, f.tandem)
	k := c.kinds[text]
	if k == nil {
		k = &kind{text: text, example: f}
		c.kinds[text] = k
	}
	k.count++
}

// add compares the transcripts of a sequence, prints the first request with a difference that is not known, and counts
// all of them. What comes behind the first may follow from it.
func (c *comparison) add(q *sequence, kafka, tandem []exchange) {
	if c.seen == nil {
		c.seen, c.kinds = map[string]int{}, map[string]*kind{}
	}
	c.sequences++
	differs := false
	for i := range min(len(kafka), len(tandem)) {
		c.requests++
		unknown := []found{}
		for _, f := range differ(q, kafka[i], tandem[i]) {
			if d := lookup(&f); d != nil {
				c.seen[d.what]++
				continue
			}
			unknown = append(unknown, f)
		}
		if kafka[i].request != tandem[i].request {
			unknown = append(unknown, found{sequence: q, path: "(request)", kafka: kafka[i].request, tandem: tandem[i].request})
		}
		if len(unknown) == 0 {
			continue
		}
		if !differs {
			c.differing++
			differs = true
			c.print(q, i, kafka, unknown)
		}
		for _, f := range unknown {
			c.count(f)
		}
	}
	if len(kafka) != len(tandem) {
		c.differing++
		fmt.Fprintf(c.out, "seed %d: %d answers by Kafka, %d by Tandem\n", q.seed, len(kafka), len(tandem))
	}
}

// print shows a difference with what came before it.
func (c *comparison) print(q *sequence, at int, kafka []exchange, unknown []found) {
	const before = 4
	fmt.Fprintf(c.out, "--- seed %d, request %d of %d (again: -seed %d -sequences 1 -v)\n", q.seed, at+1, len(kafka), q.seed)
	for i := max(0, at-before); i < at; i++ {
		fmt.Fprintf(c.out, "    %s\n", kafka[i].request)
	}
	fmt.Fprintf(c.out, "  > %s\n", kafka[at].request)
	for _, f := range unknown {
		fmt.Fprintf(c.out, "    %s\n      Kafka:  %s\n      Tandem: %s\n", f.path, f.kafka, f.tandem)
	}
}

// transcript prints a whole sequence as one side has seen it.
func transcript(w io.Writer, name string, all []exchange) {
	for _, x := range all {
		fmt.Fprintf(w, "%s > %s (%d ms)\n", name, x.request, x.took.Milliseconds())
		for _, line := range x.answer {
			fmt.Fprintf(w, "%s <   %s\n", name, line)
		}
	}
}
