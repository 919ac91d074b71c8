package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"
)

// options are the flags.
type options struct {
	tandem, kafka, dir, pom string
	sequences               int
	seed                    uint64
	short, record, verbose  bool
}

func (o *options) parse() {
	flag.StringVar(&o.tandem, "tandem", "", "path of the tandem binary to start")
	flag.StringVar(&o.kafka, "kafka", "", "host:port of an Apache Kafka that runs already; one is started when it is empty")
	flag.IntVar(&o.sequences, "sequences", 300, "how many")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the first; each one has the next")
	flag.BoolVar(&o.short, "short", false, "40 sequences")
	flag.BoolVar(&o.record, "record", false, "write Kafka's answers to "+recordFile+", for the test of this package")
	flag.BoolVar(&o.verbose, "v", false, "print whole transcripts")
	flag.StringVar(&o.dir, "dir", "", "folder for data, a temporary one when empty")
	flag.StringVar(&o.pom, "pom", "bench/interop/pom.xml", "names the release of Apache Kafka")
	flag.Parse()
	if o.short {
		o.sequences = 40
	}
}

func main() {
	var o options
	o.parse()
	if o.tandem == "" && !o.record {
		fmt.Fprintln(os.Stderr, "oracle: give -tandem or -record")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "oracle: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "tandem-oracle-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	kafka := &side{name: "Kafka", address: o.kafka, lag: kafkaLag}
	if o.kafka == "" {
		p, s, err := startKafka(ctx, o.pom, o.dir)
		defer func() { _ = p.Stop(stopLimit) }() // how it ends is not what is compared
		if err != nil {
			return err
		}
		kafka = s
	} else if err := kafka.await(ctx, nil); err != nil {
		return err
	}
	if o.record {
		return record(ctx, o, kafka)
	}
	p, tandem, err := startTandem(ctx, o.tandem, o.dir)
	defer func() { _ = p.Stop(stopLimit) }()
	if err != nil {
		return err
	}
	return compareLive(ctx, o, kafka, tandem)
}

// compareLive plays each sequence on both sides at once.
func compareLive(ctx context.Context, o options, kafka, tandem *side) error {
	c := &comparison{out: os.Stdout}
	began := time.Now()
	served, err := tandem.served()
	if err != nil {
		return err
	}
	skipped, salt := 0, ""
	if o.kafka != "" {
		salt = "x" + strconv.FormatInt(began.Unix(), 36)
	}
	for i := range o.sequences {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q, left := generate(o.seed+uint64(i), salt).within(served)
		skipped += left
		var theirs []exchange
		var theirErr error
		done := make(chan struct{})
		go func() { // awaited below
			theirs, theirErr = kafka.play(q)
			close(done)
		}()
		ours, err := tandem.play(q)
		<-done
		if o.verbose {
			transcript(os.Stdout, kafka.name, theirs)
			transcript(os.Stdout, tandem.name, ours)
		}
		c.add(q, theirs, ours)
		if err := errors.Join(theirErr, err); err != nil {
			return err
		}
	}
	return c.report(began, skipped)
}

// report prints the sum, and fails when there was a difference that is not known.
func (c *comparison) report(began time.Time, skipped int) error {
	fmt.Fprintf(c.out, "oracle: %d sequences, %d requests compared in %.0f s; %d sequences differ; %d requests were left out: not served\n",
		c.sequences, c.requests, time.Since(began).Seconds(), c.differing, skipped)
	for _, d := range differences {
		fmt.Fprintf(c.out, "    known, seen %d times: %s\n", c.seen[d.what], d.what)
	}
	kinds := slices.SortedFunc(maps.Values(c.kinds), func(a, b *kind) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.text, b.text))
	})
	for _, k := range kinds {
		fmt.Fprintf(c.out, "    %d times, as with seed %d: %s\n        %s\n", k.count, k.example.sequence.seed, k.text,
			k.example.request)
	}
	if c.differing > 0 {
		return fmt.Errorf("%d of %d sequences differ", c.differing, c.sequences)
	}
	return nil
}
