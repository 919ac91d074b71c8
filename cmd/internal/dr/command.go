package dr

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// Usage is what `tandem dr` is told with.
const Usage = `Disaster recovery of two sites.

Usage:
  tandem dr status [--watch]                            roles, lag, what would be lost, why it is not green, what to do
  tandem dr switchover --to SITE [--dry-run] [--yes]    hand the active role over; nothing is lost
  tandem dr failover --to SITE [--active-is-down] [--accept-data-loss] [--dry-run] [--yes]
                                                        the active site is gone: make the other one active
  tandem dr abort [--yes]                               give up the switchover or failover that is going on
  tandem dr history                                     what has happened to the roles
  tandem dr verify [TOPIC...]                           compare the two sites while they run
  tandem dr lost list                                   archives of records that a site had alone
  tandem dr lost show [ID...]                           their records; without an ID those of all archives
  tandem dr lost replay [ID...] [--topic TOPIC] [--from OFFSET] [--yes]
                                                        write them back to their topics, without those of aborted transactions
  tandem dr lost remove ID [--yes]                      delete an archive for good
  tandem dr undelete TOPIC                              take back the deletion of a topic (dr.delete.delay.ms)
  tandem dr recopy --topic TOPIC --partition N [--dry-run] [--yes]
                                                        have the standby drop a partition and copy it whole from the active

Flags of all:
  --bootstrap-server HOST:PORT[,...]   brokers of either site (default 127.0.0.1:9092)
  --timeout D                          how long to wait for an answer, and for a switchover or failover to end (default 60s)
  --json                               print JSON and nothing else

Exit codes: 0 done, 1 failed, 2 what was asked for is wrong, 3 refused, and nothing has changed.
`

// Surroundings are what the command sees of the process.
type Surroundings struct {
	In       io.Reader
	Out, Err io.Writer
	Terminal bool // In is one: a question can be asked
	Dial     func(ctx context.Context, address string) (net.Conn, error)
	Sleep    func(ctx context.Context, d time.Duration) error
	Now      func() time.Time
	NewID    func() string // random; of an order
	// Produce opens a producer for `lost replay`.
	Produce func(addresses []string) (Producer, error)
}

// command is one run.
type command struct {
	Surroundings
	client *client
	flags  *flag.FlagSet
	args   []string // without flags

	bootstrap string
	timeout   time.Duration
	json      bool
	yes       bool
	dryRun    bool
	watch     bool
	to        string
	down      bool
	accept    bool
	topic     string
	from      int64
	partition int
}

// verb is a subcommand.
type verb struct {
	name    string
	flags   func(*command) // beside those of all
	argsMin int
	argsMax int // -1 = any number
	run     func(*command, context.Context) error
}

var verbs = []verb{
	{"status", (*command).watchFlag, 0, 0, (*command).status},
	{"switchover", (*command).switchoverFlags, 0, 0, (*command).switchover},
	{"failover", (*command).failoverFlags, 0, 0, (*command).failover},
	{"abort", (*command).yesFlag, 0, 0, (*command).abort},
	{"history", nil, 0, 0, (*command).history},
	{"verify", nil, 0, -1, (*command).verify},
	{"lost list", nil, 0, 0, (*command).lostList},
	{"lost show", nil, 0, -1, (*command).lostShow},
	{"lost replay", (*command).replayFlags, 0, -1, (*command).lostReplay},
	{"lost remove", (*command).yesFlag, 1, 1, (*command).lostRemove},
	{"undelete", nil, 1, 1, (*command).undelete},
	{"recopy", (*command).recopyFlags, 0, 0, (*command).recopy},
}

// Run carries out `tandem dr args` and returns the exit code. It ends early when ctx does.
func Run(ctx context.Context, args []string, s Surroundings) int {
	v, rest, ok := find(args)
	if !ok {
		if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help" || args[0] == "-help") {
			_, _ = fmt.Fprint(s.Out, Usage)
			return int(operator.CodeDone)
		}
		_, _ = fmt.Fprint(s.Err, Usage)
		return int(operator.CodeUsage)
	}
	c := &command{Surroundings: s}
	if err := c.parse(v, rest); errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprint(s.Out, Usage)
		return int(operator.CodeDone)
	} else if err != nil {
		return c.fail(&operator.Error{Code: operator.CodeUsage, Text: err.Error(), Next: "tandem dr help"})
	}
	c.client = &client{addresses: strings.Split(c.bootstrap, ","), timeout: c.timeout, dial: s.Dial, sleep: s.Sleep,
		formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("tandem-dr"))}
	defer c.client.close()
	if err := v.run(c, ctx); err != nil {
		return c.fail(err)
	}
	return int(operator.CodeDone)
}

// find returns the verb that args begin with, and what follows it.
func find(args []string) (verb, []string, bool) {
	for _, v := range verbs {
		words := strings.Fields(v.name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == v.name {
			return v, args[len(words):], true
		}
	}
	return verb{}, nil, false
}

// parse reads flags and arguments, in whatever order.
func (c *command) parse(v verb, args []string) error {
	c.flags = flag.NewFlagSet("tandem dr "+v.name, flag.ContinueOnError)
	c.flags.SetOutput(io.Discard)
	c.flags.StringVar(&c.bootstrap, "bootstrap-server", "127.0.0.1:9092", "")
	c.flags.DurationVar(&c.timeout, "timeout", time.Minute, "")
	c.flags.BoolVar(&c.json, "json", false, "")
	if v.flags != nil {
		v.flags(c)
	}
	for len(args) > 0 {
		if err := c.flags.Parse(args); err != nil {
			return err
		}
		if args = c.flags.Args(); len(args) > 0 {
			c.args, args = append(c.args, args[0]), args[1:]
		}
	}
	switch {
	case len(c.args) < v.argsMin:
		return fmt.Errorf("tandem dr %s needs an argument", v.name)
	case v.argsMax >= 0 && len(c.args) > v.argsMax:
		return fmt.Errorf("unexpected argument %q", c.args[v.argsMax])
	case c.timeout <= 0:
		return fmt.Errorf("--timeout %s: more than 0 is expected, such as 30s", c.timeout)
	case c.flags.Lookup("to") != nil && c.to == "":
		return errors.New("--to is missing: the name of the site that is to be active")
	}
	for _, a := range strings.Split(c.bootstrap, ",") {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("--bootstrap-server %q: HOST:PORT is expected", a)
		}
	}
	return nil
}

func (c *command) yesFlag()   { c.flags.BoolVar(&c.yes, "yes", false, "") }
func (c *command) watchFlag() { c.flags.BoolVar(&c.watch, "watch", false, "") }

func (c *command) switchoverFlags() {
	c.yesFlag()
	c.flags.StringVar(&c.to, "to", "", "")
	c.flags.BoolVar(&c.dryRun, "dry-run", false, "")
}

func (c *command) failoverFlags() {
	c.switchoverFlags()
	c.flags.BoolVar(&c.down, "active-is-down", false, "")
	c.flags.BoolVar(&c.accept, "accept-data-loss", false, "")
}

func (c *command) replayFlags() {
	c.yesFlag()
	c.flags.StringVar(&c.topic, "topic", "", "")
	c.flags.Int64Var(&c.from, "from", 0, "")
}

// failure is an error as JSON.
type failure struct {
	Error string `json:"error"`
	Next  string `json:"next,omitempty"`
}

// fail prints an error and returns its exit code.
func (c *command) fail(err error) int {
	told := &operator.Error{Code: operator.CodeFailed, Text: err.Error()}
	errors.As(err, &told)
	code := told.Code
	if code < operator.CodeFailed || code > operator.CodeRefused {
		code = operator.CodeFailed
	}
	if c.json {
		_ = json.NewEncoder(c.Err).Encode(failure{told.Text, told.Next})
		return int(code)
	}
	word := map[operator.Code]string{operator.CodeFailed: "failed: ", operator.CodeRefused: "refused: "}[code]
	_, _ = fmt.Fprintf(c.Err, "tandem dr: %s%s\n", word, told.Text)
	if told.Next != "" {
		_, _ = fmt.Fprintf(c.Err, "next: %s\n", told.Next)
	}
	return int(code)
}

// say prints a line for people.
func (c *command) say(format string, args ...any) {
	if !c.json {
		_, _ = fmt.Fprintf(c.Out, format+"\n", args...)
	}
}

// object prints v as JSON.
func (c *command) object(v any) error {
	e := json.NewEncoder(c.Out)
	e.SetEscapeHTML(false)
	if !c.watch {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

// confirm asks the question, unless --yes has answered it.
func (c *command) confirm(question string, notes ...string) error {
	if c.yes {
		return nil
	}
	no := &operator.Error{Code: operator.CodeRefused, Text: "nobody said yes: " + question, Next: "the same command with --yes"}
	if c.json || !c.Terminal {
		return no
	}
	for _, n := range notes {
		c.say("%s", n)
	}
	_, _ = fmt.Fprintf(c.Out, "%s [yes/no] ", question)
	answer, _ := bufio.NewReader(c.In).ReadString('\n') // no answer is no yes
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "yes" && a != "y" {
		no.Text = "not confirmed: nothing has changed"
		return no
	}
	return nil
}
