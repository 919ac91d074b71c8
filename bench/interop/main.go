// Command interop runs stock Kafka clients against a broker and compares by hash what they wrote with what they read.
//
// The matrix: each of the client libraries of family.go writes into one topic with every codec that it has. Then each reads that
// topic as a group whose members join, leave and die, while records flow in another; and all of them read it as one group. Every
// consumer must have read every producer's records, the same bytes at the same offsets. The programs are in clients/, by one
// contract; their versions are pinned there, in go.mod and in pom.xml.
//
// Apache Kafka's own tools are run from the artifacts that pom.xml names. Against a Tandem that it starts itself, interop also
// reads the segment files with Kafka's DumpLogSegments, sends millions of lines of real text through a restart, and kills the
// broker under load. Last it starts two sites, and takes every library's producer and group through a switchover, the loss of the
// active site and its return; then once more through a loss of which nobody is told, because packets are dropped.
//
//	go run ./bench/interop -tandem .bin/tandem            everything (make interop)
//	go run ./bench/interop -tandem .bin/tandem -short     what CI runs
//	go run ./bench/interop -kafka                         the client steps against Apache Kafka itself, which must pass as well
//	go run ./bench/interop -bootstrap host:9092           the client steps against any broker
//
// It needs kcat, Java 17 and Maven, and fails when one is missing. A client library that cannot be had, because there is no
// javac, Python or Node or a registry is out of reach, is named as NOT RUN. It imports nothing of Tandem: it knows the broker
// only as clients do.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	tandem    string
	bootstrap string
	only      string
	families  string
	kafka     bool
	records   int
	lines     int
	kills     int

	groupKillCount int

	seed  uint64
	keep  bool
	short bool
	dir   string
}

// suite is what the steps share.
type suite struct {
	options
	dir     string
	broker  *tandem // nil when the broker is somebody else's
	address string
	java    *java
	prefix  string // of topic names, different in every run

	ready  []client // made by clients
	matrix *matrix  // what all families have written, made by writeMatrix
	notRun []string // what cannot be had on this machine

	unavailable map[string]error // why a folder of clients/ cannot be installed
}

// step is one named part; it fails by returning an error.
type step struct {
	name string
	ours bool // needs a Tandem of our own
	run  func(*suite, context.Context) error
}

var steps = []step{
	{"versions", false, (*suite).versions},
	{"matrix", false, (*suite).matrixStep},
	{"groups", false, (*suite).groupsStep},
	{"franz-go", false, (*suite).franz},
	{"kcat", false, (*suite).kcat},
	{"kafka-topics", false, (*suite).kafkaTopics},
	{"kafka-configs", false, (*suite).kafkaConfigs},
	{"kafka-admin", false, (*suite).kafkaAdmin},
	{"kafka-consumer-groups", false, (*suite).kafkaGroups},
	{"kafka-verifiable", false, (*suite).kafkaVerifiable},
	{"kafka-console", false, (*suite).kafkaConsole},
	{"kafka-perf", false, (*suite).kafkaPerf},
	{"kafka-perf-group", false, (*suite).kafkaPerfGroup},
	{"kafka-streams", false, (*suite).kafkaStreams},
	{"kafka-connect", false, (*suite).kafkaConnect},
	{"refusals", true, (*suite).refusals},
	{"kafka-dump-log", true, (*suite).kafkaDumpLog},
	{"compaction", true, (*suite).kafkaCompaction},
	{"millions", true, (*suite).millions},
	{"kills", true, (*suite).killLoop},
	{"group-kills", true, (*suite).groupKills},
	{"sites", true, (*suite).sites},
	{"black-hole", true, (*suite).blackHole},
	{"black-hole-short", true, (*suite).shortBlackHole},
}

func (f *options) parse() {
	flag.StringVar(&f.tandem, "tandem", "", "path of the tandem binary to start")
	flag.StringVar(&f.bootstrap, "bootstrap", "", "host:port of a broker that runs already; steps that need Tandem's files are left out")
	flag.StringVar(&f.only, "run", "", "only the steps whose name matches this regular expression")
	flag.StringVar(&f.families, "clients", "", "only these client libraries in the matrix and the groups, with commas between; empty = all")
	flag.BoolVar(&f.kafka, "kafka", false, "start Apache Kafka itself, of the release that pom.xml names, instead of Tandem")
	flag.IntVar(&f.records, "records", 5_000_000, "records of the millions step")
	flag.IntVar(&f.lines, "lines", 20_000, "lines that each client writes with each codec")
	flag.IntVar(&f.kills, "kills", 300, "how often the kills step kills the broker")
	flag.IntVar(&f.groupKillCount, "group-kills", 30, "how often the group-kills step kills the broker")
	flag.Uint64Var(&f.seed, "seed", uint64(time.Now().UnixNano()), "seed of the steps that kill")
	flag.BoolVar(&f.keep, "keep", false, "keep the data directory")
	flag.StringVar(&f.dir, "dir", "", "folder for data, a temporary one when empty")
	flag.BoolVar(&f.short, "short", false, "small numbers, for CI: 1,000,000 records, 5,000 lines, 30 kills, 6 group kills, one client in the black hole")
	flag.Parse()
	if f.short {
		set := map[string]bool{}
		flag.Visit(func(f *flag.Flag) { set[f.Name] = true })
		for name, small := range map[string]struct {
			target *int
			value  int
		}{"records": {&f.records, 1_000_000}, "lines": {&f.lines, 5_000}, "kills": {&f.kills, 30}, "group-kills": {&f.groupKillCount, 6}} {
			if !set[name] {
				*small.target = small.value
			}
		}
	}
}

func main() {
	var f options
	f.parse()
	given := 0
	for _, is := range []bool{f.tandem != "", f.bootstrap != "", f.kafka} {
		if is {
			given++
		}
	}
	if given != 1 {
		fmt.Fprintln(os.Stderr, "interop: give one of -tandem, -bootstrap and -kafka")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, f)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "interop: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f options) error {
	only, err := regexp.Compile(f.only)
	if err != nil {
		return err
	}
	s := &suite{options: f, address: f.bootstrap, prefix: fmt.Sprintf("interop-%x-", time.Now().UnixMilli()), dir: f.dir}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "tandem-interop-"); err != nil {
			return err
		}
		if !f.keep {
			defer os.RemoveAll(s.dir)
		}
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if f.tandem != "" {
		if s.broker, err = newTandem(f.tandem, filepath.Join(s.dir, "data")); err != nil {
			return err
		}
		if err := s.broker.start(ctx); err != nil {
			return err
		}
		defer s.broker.kill()
		s.address = s.broker.address
	}
	if f.kafka {
		stop, err := s.startApache(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	passed, failed, skipped := 0, 0, 0
	for _, step := range steps {
		switch {
		case !only.MatchString(step.name):
			continue
		case step.ours && s.broker == nil:
			fmt.Printf("--- SKIP: %s (needs a Tandem of its own)\n", step.name)
			skipped++
			continue
		}
		began := time.Now()
		fmt.Printf("=== RUN   %s\n", step.name)
		if err := step.run(s, ctx); err != nil {
			fmt.Printf("--- FAIL: %s (%.1fs)\n%v\n", step.name, time.Since(began).Seconds(), err)
			failed++
			continue
		}
		fmt.Printf("--- PASS: %s (%.1fs)\n", step.name, time.Since(began).Seconds())
		passed++
	}
	if s.broker != nil {
		if err := s.broker.stop(); err != nil {
			fmt.Println(err)
			failed++
		}
	}
	fmt.Printf("interop: %d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if len(s.notRun) > 0 {
		fmt.Printf("interop: NOT RUN: %s\n", strings.Join(s.notRun, ", "))
	}
	if failed > 0 {
		if s.broker != nil {
			fmt.Printf("last lines of the broker's log:\n%s\n", s.broker.process.LogTail())
		}
		return fmt.Errorf("%d steps failed", failed)
	}
	if passed == 0 {
		return fmt.Errorf("no step is named like %q", f.only)
	}
	return nil
}
