package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the flags that every figure has.
type options struct {
	bin     string
	dir     string
	rounds  int
	round   time.Duration
	bytes   int64
	jsonOut string
	sets    []string
	broker  string // output of brokers: file
	quick   bool
	only    string // part of the name of the cases to measure
	kafka   bool   // compare with Apache Kafka
	sites   sitesOptions
}

// figure is one subcommand. A figure reports what it measured; an error is a measurement that could not be made.
type figure struct {
	name string
	doc  string
	run  func(ctx context.Context, o options, r *report) error
}

func figures() []figure {
	return []figure{
		{"produce", "one partition, acks=all, synced, against write + fdatasync (at least 0.70)", runProduce},
		{"cached", "write.caching=true, against receive + CRC32C + write (at least 0.80)", runCached},
		{"partitions", "100 partitions of 1 KiB batches, synced, against 100 files with a sync an append (at least 3)", runPartitions},
		{"fetch", "fetch of cached data, against a bare sendfile loop (at least 0.70)", runFetch},
		{"compaction", "a log of which half stays, against a sequential copy (at least 0.60); a producer's p99 meanwhile (below 2)", runCompaction},
		{"allocs", "allocations a produce and a fetch, by payload size (must not grow)", runAllocs},
		{"groups", "rebalances, against Apache Kafka (not slower); restarts, idle members (0.2 core, 200 MB), commits, floods", runGroups},
		{"sites", "two sites: lag (RTT/2 + 20 ms), speed of shipping (0.70), its cost (0.95), a cut, a return by delta", runSites},
		{"start", "idle memory (60 MB), start to first ack (150 ms), start with 1,000 partitions (3 s)", runStart},
	}
}

func main() {
	if len(os.Args) > 1 {
		if child, ok := children()[os.Args[1]]; ok {
			child(os.Args[2:])
			return
		}
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	name := "help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	var chosen []figure
	for _, f := range figures() {
		if name == f.name || name == "all" {
			chosen = append(chosen, f)
		}
	}
	o, err := parseFlags(name, args)
	if len(chosen) == 0 {
		return fmt.Errorf("%q is no figure; these are:\n%s", name, usage())
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp(o.dir, "tandem-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	r := newReport(o)
	for _, f := range chosen {
		slog.Info("measuring", "figure", f.name, "what", f.doc)
		if err := f.run(ctx, o, r); err != nil {
			r.failed(f.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return r.write(os.Stdout)
}

func usage() string {
	var b strings.Builder
	for _, f := range figures() {
		fmt.Fprintf(&b, "  %-11s %s\n", f.name, f.doc)
	}
	return b.String() + "  all         every one of them"
}

func parseFlags(name string, args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "", "tandem binary (required)")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where data goes, broker's and baseline's; on the disk to measure; deleted at the end")
	flags.IntVar(&o.rounds, "rounds", 5, "measured rounds a case, after one to warm up")
	flags.DurationVar(&o.round, "round", 2*time.Second, "length of the broker's half of a round (synced produces, partitions)")
	flags.Int64Var(&o.bytes, "bytes", 512<<20, "bytes of a round (cached produces, fetch)")
	flags.StringVar(&o.jsonOut, "json", "-", "file that gets the JSON lines; - = standard output")
	flags.StringVar(&o.broker, "broker-log", "", "file that gets the brokers' output; empty = dropped unless a broker fails")
	flags.BoolVar(&o.quick, "quick", false, "fewer cases: the first of each figure")
	flags.BoolVar(&o.kafka, "kafka", false, "compare groups with Apache Kafka, which needs Java 17 and Maven")
	flags.StringVar(&o.only, "case", "", "measure only the cases with this in their name (not allocs, start)")
	flags.DurationVar(&o.sites.cut, "cut", 60*time.Second, "how long the link is cut (sites)")
	flags.Int64Var(&o.sites.common, "common", 1<<30, "bytes that both sites have when one is lost (sites)")
	flags.Int64Var(&o.sites.divergent, "divergent", 100<<20, "bytes that each site has alone when the lost one returns (sites)")
	flags.Func("set", "key=value for the broker, may be repeated", func(s string) error { o.sets = append(o.sets, s); return nil })
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.bin == "" {
		return o, fmt.Errorf("-bin is needed: the tandem binary to measure")
	}
	if o.sites.cut <= 0 || o.sites.common < 1<<20 || o.sites.divergent < 1<<20 {
		return o, fmt.Errorf("-cut must be above 0, -common and -divergent at least 1 MiB")
	}
	if o.rounds < 1 || o.round <= 0 || o.bytes < 1<<20 {
		return o, fmt.Errorf("-rounds, -round must be above 0, -bytes at least 1 MiB")
	}
	return o, nil
}
