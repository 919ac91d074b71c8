// Command dr drives two tandem processes, a site each, through switchovers and losses of a site, under a load of stock clients, and
// checks what the clients were told.
//
// Between the sites is a bad network (bench/chaos/proxy). An idempotent producer writes to each partition, with the addresses of both
// sites; a group of two members reads and commits. A round is an order to `tandem dr` or a fault at a random moment (rounds.go); then all
// is healed, and both sites must be ready and green within a bound. After each round and at the end:
//
//   - each acknowledged record is in the log exactly once at its offset, or in an archive of lost records, never in both or neither;
//
//   - only failovers lose anything: nothing below the end that was reported as shipped, no more than was reported of what the lost site was known
//     to have, and beyond that only what was acknowledged behind the moment since which, by the report, nothing is known;
//
//   - no offset ever denotes two records, whoever tells of it: acknowledgements, the group, the log, an archive;
//
//   - what one producer wrote is in its order;
//
//   - the group got each record of the log, and has committed nothing beyond it;
//
//   - the segment files of both sites have the same batches, byte by byte;
//
//   - half of the pauses that producers saw, at switchovers and at failovers, are under 5 s.
//
//     make dr                                                at least 50 switchovers and 50 losses
//     make dr SHORT=1                                        every kind of round once, a minute and a half
//     go run ./bench/chaos/dr -bin .bin/tandem -seed N       the same rounds and pauses again
//
// It imports nothing of Tandem beside the proxy.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// greenLimit bounds the time from the end of the faults until both sites are ready, and say that all is well.
const greenLimit = 60 * time.Second

type options struct {
	binary string
	rounds int
	every  int
	seed   uint64
	kinds  string
	rate   int
	dir    string
	keep   bool

	logLevel int
}

// suite is one run.
type suite struct {
	options
	pair      *pair
	load      *load
	histories []*history
	found     []*found
	grouped   []int64 // below, the group has got everything
	archives  map[string]bool
	active    *site
	done      []round
}

func main() {
	var o options
	flag.StringVar(&o.binary, "bin", ".bin/tandem", "the tandem binary")
	flag.IntVar(&o.rounds, "rounds", 192, "how many rounds")
	flag.IntVar(&o.every, "every", 1, "so many rounds with a fault follow each switchover without one")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the rounds' order and of all pauses")
	flag.StringVar(&o.kinds, "kinds", "", "only rounds whose name matches this regular expression")
	flag.IntVar(&o.rate, "rate", 100, "records per second for each of the partitions")
	flag.StringVar(&o.dir, "dir", "", "folder for data and logs, a temporary one when empty")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder; after a failure it is kept always")
	flag.IntVar(&o.logLevel, "log", 0, "what the clients log beside the data: 0 nothing, 1 errors, 2 warnings, 3 more, 4 everything")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "dr: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	only, err := regexp.Compile(o.kinds)
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "tandem-dr-"); err != nil {
			return err
		}
	} else if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	s := &suite{options: o, archives: map[string]bool{}, grouped: make([]int64, partitions)}
	if s.pair, err = newPair(o.binary, o.dir); err != nil {
		return err
	}
	defer func() {
		s.pair.close()
		if err == nil && !o.keep {
			err = os.RemoveAll(o.dir)
		} else if err != nil {
			err = fmt.Errorf("seed %d, folder %s: %w", o.seed, o.dir, err)
		}
	}()
	fmt.Printf("seed %d\n", o.seed)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.begin(ctx); err != nil {
		return err
	}
	for i, k := range plan(o.rounds, max(o.every, 1), o.seed, only) {
		if err := s.round(ctx, i, k); err != nil {
			return fmt.Errorf("round %d, %s: %w", i+1, k.name, err)
		}
	}
	if err := s.end(ctx); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return s.table()
}

// plan is the order of rounds: a switchover, and then the next of all other kinds, every of them, which come in a random order, each as often.
func plan(count, every int, seed uint64, only *regexp.Regexp) []*kind {
	var faults, planned []*kind
	for i := range kinds {
		switch {
		case !only.MatchString(kinds[i].name):
		case kinds[i].failure:
			faults = append(faults, &kinds[i])
		default:
			planned = append(planned, &kinds[i])
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	var rounds []*kind
	for len(rounds) < count && len(faults)+len(planned) > 0 {
		random.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for i := range max(len(faults), 1) {
			if i%every == 0 {
				rounds = append(rounds, planned...)
			}
			if len(faults) > 0 {
				rounds = append(rounds, faults[i])
			}
		}
	}
	return rounds[:min(count, len(rounds))]
}

// begin starts both sites and the load.
func (s *suite) begin(ctx context.Context) error {
	for _, site := range s.pair.sites {
		if err := site.start(); err != nil {
			return err
		}
	}
	for i := range partitions {
		s.histories = append(s.histories, newHistory(int32(i)))
		s.found = append(s.found, &found{log: map[int64]int{}, numbers: map[int]int64{}, archived: map[int64]int{}, highest: -1})
	}
	s.load = &load{addresses: s.pair.addresses(), histories: s.histories, seed: s.seed, rate: s.rate, dir: s.dir, level: kgo.LogLevel(s.logLevel)}
	s.active = s.pair.sites[0]
	if err := s.green(ctx); err != nil {
		return err
	}
	if err := s.load.createTopic(ctx); err != nil {
		return err
	}
	if err := s.load.start(ctx); err != nil {
		return err
	}
	if _, err := s.load.awaitAcks(ctx, time.Time{}, 30*time.Second); err != nil {
		return err
	}
	return s.green(ctx) // with the topics' first copies
}

// round does one thing, heals, and checks.
func (s *suite) round(ctx context.Context, index int, k *kind) error {
	r := round{suite: s, kind: k, random: rand.New(rand.NewPCG(s.seed, uint64(1+index))), active: s.active, standby: s.pair.other(s.active),
		figures: figures{switchover: -1, failover: -1, moved: -1}, returned: -1}
	began := time.Now()
	if err := k.run(&r, ctx); err != nil {
		return s.explain(ctx, err)
	}
	healed := time.Now()
	s.pair.heal()
	if err := s.green(ctx); err != nil {
		return s.explain(ctx, err)
	}
	r.figures.green = time.Since(healed)
	if _, err := s.load.awaitAcks(ctx, time.Now(), 20*time.Second); err != nil {
		return s.explain(ctx, err)
	}
	if err := s.check(ctx, &r); err != nil {
		return s.explain(ctx, err)
	}
	if r.returned >= 0 {
		r.figures.moved = r.equalAt - r.returned
	}
	if r.stays != nil && s.active != r.stays {
		return s.explain(ctx, fmt.Errorf("%s is active, %s has to be", s.active.name, r.stays.name))
	}
	if r.figures.held > 0 {
		r.figures.note += fmt.Sprintf(" refused for %.1fs", r.figures.held.Seconds())
	}
	s.done = append(s.done, r)
	fmt.Printf("%3d %-27s %-5s %6.1fs  switchover %s  failover %s  green %s  group %s  acked %6d  lost %5d  moved %s  %s\n", index+1, k.name, s.active.name,
		time.Since(began).Seconds(), span(r.figures.switchover), span(r.figures.failover), span(r.figures.green), span(r.figures.group), r.figures.acked,
		r.figures.lost, size(r.figures.moved), r.figures.note)
	return nil
}

// explain adds the ends of the sites' logs and what they say of themselves.
func (s *suite) explain(ctx context.Context, err error) error {
	for _, site := range s.pair.sites {
		out, _, _ := site.dr(ctx, "status", "--timeout", "3s")
		err = fmt.Errorf("%w\n--- %s: %s\n%s", err, site.name, out, site.process.LogTail())
	}
	return err
}

// green waits until both sites are ready and say that all is well, and notes which one is active.
func (s *suite) green(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, greenLimit)
	defer cancel()
	for _, site := range s.pair.sites {
		if err := site.waitReady(ctx); err != nil {
			return err
		}
	}
	last := ""
	return poll(ctx, 50*time.Millisecond, func() (bool, error) {
		for _, site := range s.pair.sites {
			if err := site.process.Failed(); err != nil {
				return false, err
			}
			st, err := site.status(ctx)
			if st == nil || !st.Green {
				last = fmt.Sprintf("%s: %v %+v", site.name, err, st)
				return false, nil
			}
			for i, one := range st.Sites {
				if one.Role == "active" {
					s.active = s.named(st.Sites[i].Name)
				}
			}
		}
		return true, nil
	}, func() string {
		return fmt.Sprintf("not green within %s of the end of the faults: %s", greenLimit, last)
	})
}

func (s *suite) named(name string) *site {
	return s.pair.sites[slices.IndexFunc(s.pair.sites[:], func(one *site) bool { return one.name == name })]
}

// end stops the load and reads everything once more, at both sites.
func (s *suite) end(ctx context.Context) error {
	s.load.stopProducers()
	s.load.producers.Wait()
	if err := s.green(ctx); err != nil {
		return err
	}
	last := round{suite: s}
	if err := s.check(ctx, &last); err != nil {
		return err
	}
	s.load.stopMembers()
	s.load.group.Wait()
	for _, site := range s.pair.sites {
		records, _, err := s.read(ctx, site, make([]int64, partitions), site.name)
		if err != nil {
			return err
		}
		if err := s.sameRecords(site, records); err != nil {
			return err
		}
	}
	if out, _, err := s.active.dr(ctx, "verify"); err != nil && bytes.Contains(out, []byte("not yet")) {
		fmt.Println("NOT RUN: tandem dr verify")
	} else if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}
