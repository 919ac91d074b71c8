package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// recordFile holds Kafka's answers: a line "# release", for each sequence a line "= seed", for each request a line "> request" and a line
// "< field" for each field of the answer.
const recordFile = "bench/oracle/testdata/kafka.txt.gz"

// telling are seeds of sequences beyond the first that have shown something that those do not.
var telling = []uint64{5068, 5139, 9202, 9442}

// record plays the sequences on Kafka and writes what it answered.
func record(ctx context.Context, o options, kafka *side) error {
	pom, err := os.ReadFile(o.pom)
	if err != nil {
		return err
	}
	file, err := os.Create(recordFile)
	if err != nil {
		return err
	}
	defer file.Close()
	z, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(z)
	fmt.Fprintf(w, "# %s\n", kafkaRelease(pom))
	requests := 0
	seeds := slices.Clone(telling)
	for i := range o.sequences {
		seeds = append(seeds, o.seed+uint64(i))
	}
	for _, seed := range seeds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q := generate(seed, "")
		all, err := kafka.play(q)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "= %d\n", q.seed)
		for _, x := range all {
			requests++
			fmt.Fprintf(w, "> %s\n", x.request)
			for _, line := range x.answer {
				fmt.Fprintf(w, "< %s\n", line)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	fmt.Printf("oracle: recorded %d sequences, %d requests\n", len(seeds), requests)
	return file.Close()
}

// recorded is a sequence with Kafka's answers.
type recorded struct {
	seed  uint64
	kafka []exchange
}

func readRecord(path string) (release string, all []recorded, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		return "", nil, err
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		kind, text, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "#":
			release = text
		case "=":
			seed, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return "", nil, fmt.Errorf("%s: %w", path, err)
			}
			all = append(all, recorded{seed: seed})
		case ">":
			last := &all[len(all)-1]
			last.kafka = append(last.kafka, exchange{request: text})
		case "<":
			last := &all[len(all)-1]
			x := &last.kafka[len(last.kafka)-1]
			x.answer = append(x.answer, text)
		default:
			return "", nil, fmt.Errorf("%s: line %q", path, lines.Text())
		}
	}
	return release, all, lines.Err()
}
