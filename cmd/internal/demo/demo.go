package demo

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// limit bounds the demo.
const limit = 2 * time.Minute

// Run shows what two sites do, on out; binary is this program. The brokers, their data and their logs are gone when it returns.
func Run(ctx context.Context, binary string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "tandem-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := &demo{binary: binary, dir: dir, out: out, began: time.Now()}
	defer d.close()
	for _, step := range []func(context.Context) error{d.open, d.steady, d.handOver, d.handBack, d.lose, d.giveBack, d.verify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.table()
	return nil
}

// demo is one run.
type demo struct {
	binary, dir string
	out         io.Writer
	began       time.Time
	east, west  *place
	load        *load
	rows        [][2]string
	lost        map[string]bool // keys in the archives of lost records
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", args...) }

func (d *demo) chapter(text string) {
	d.say("\n[%4.1f s] %s", time.Since(d.began).Seconds(), text)
}

func (d *demo) measure(what, format string, args ...any) {
	d.rows = append(d.rows, [2]string{what, fmt.Sprintf(format, args...)})
}

// dr runs a command of the operator, shows it, and returns what it printed.
func (d *demo) dr(ctx context.Context, at *place, show bool, args ...string) (string, error) {
	args = append([]string{"dr"}, args...)
	if show {
		d.say("$ tandem %s", strings.Join(args, " "))
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, d.binary, append(args, "--bootstrap-server", at.address)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("tandem %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	if show {
		for line := range strings.Lines(stdout.String()) {
			d.say("    %s", strings.TrimRight(line, "\n"))
		}
	}
	return stdout.String(), nil
}

// status is the part of `tandem dr status --json` that is looked at.
type status struct {
	Green   bool                    `json:"green"`
	Reasons []struct{ Text string } `json:"reasons"`
	Lag     *struct {
		Records *int64 `json:"records"`
		Ms      *int64 `json:"ms"`
	} `json:"lag"`
}

func (d *demo) status(ctx context.Context, at *place) (s status, err error) {
	text, err := d.dr(ctx, at, false, "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// awaitGreen waits until nothing is wrong.
func (d *demo) awaitGreen(ctx context.Context, at *place) error {
	for {
		s, err := d.status(ctx, at)
		if err == nil && s.Green {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("not green: %+v", s.Reasons), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// open starts both sites and the load.
func (d *demo) open(ctx context.Context) (err error) {
	d.chapter("Two sites on this machine, one broker each: east is active, west its standby.")
	addresses, err := freeAddresses(4)
	if err != nil {
		return err
	}
	d.east = newPlace(d.binary, d.dir, "east", "active", 1, addresses[:2])
	d.west = newPlace(d.binary, d.dir, "west", "standby", 101, addresses[2:])
	d.east.meet(d.west)
	d.west.meet(d.east)
	for _, p := range []*place{d.east, d.west} {
		if err := p.start(); err != nil {
			return err
		}
	}
	for _, p := range []*place{d.east, d.west} {
		if err := p.await(ctx); err != nil {
			return err
		}
		d.say("    %s: clients at %s, the other site at %s", p.name, p.address, p.link)
	}
	d.say("    A stock Kafka client knows both addresses. It writes %d records of %d bytes a second, with acks=all, and reads them in a group.", rate, valueBytes)
	d.load, err = newLoad(ctx, []string{d.east.address, d.west.address})
	if err != nil {
		return err
	}
	return d.awaitGreen(ctx, d.west)
}

// steady shows the lag for a few seconds.
func (d *demo) steady(ctx context.Context) error {
	d.chapter("Every record goes to west as it is: same offset, same bytes. How far west is behind:")
	var worst int64
	for range 5 {
		time.Sleep(time.Second)
		s, err := d.status(ctx, d.west)
		if err != nil {
			return err
		}
		acked, read := d.load.count()
		lag := "unknown"
		if s.Lag != nil && s.Lag.Records != nil && s.Lag.Ms != nil {
			lag = fmt.Sprintf("%d records, %d ms", *s.Lag.Records, *s.Lag.Ms)
			worst = max(worst, *s.Lag.Ms)
		}
		d.say("    acknowledged %6d   read %6d   lag %s", acked, read, lag)
	}
	d.measure("lag of the standby under load, longest of 5 looks", "%d ms", worst)
	return nil
}

func (d *demo) handOver(ctx context.Context) error {
	d.chapter("Switchover: west takes over, planned. Nothing may be lost, and the client follows by itself.")
	return d.switchTo(ctx, d.west, "switchover east -> west")
}

func (d *demo) handBack(ctx context.Context) error {
	d.chapter("And back.")
	return d.switchTo(ctx, d.east, "switchover west -> east")
}

func (d *demo) switchTo(ctx context.Context, to *place, what string) error {
	d.load.resetGap()
	began := time.Now()
	text, err := d.dr(ctx, to, false, "switchover", "--to", to.name, "--yes")
	if err != nil {
		return err
	}
	d.say("$ tandem dr switchover --to %s --yes", to.name)
	for line := range strings.Lines(text) {
		if strings.Contains(line, "active site") || strings.Contains(line, "lost") {
			d.say("    %s", strings.TrimSpace(line))
		}
	}
	took := time.Since(began)
	if err := d.load.awaitAck(ctx); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	pause := d.load.pause()
	d.say("    The command took %d ms; the client wrote nothing for %d ms.", took.Milliseconds(), pause.Milliseconds())
	d.measure(what+": the client's writes paused", "%d ms", pause.Milliseconds())
	return d.awaitGreen(ctx, to)
}

// lose kills the active site while the standby hears nothing, and fails over.
func (d *demo) lose(ctx context.Context) error {
	d.chapter("The link to west lets nothing through for a moment; meanwhile east, the active site, dies (kill -9).")
	if err := d.west.hold(); err != nil {
		return err
	}
	time.Sleep(700 * time.Millisecond)
	d.east.stop(syscall.SIGKILL)
	if err := d.west.resume(); err != nil {
		return err
	}
	d.load.resetGap()
	time.Sleep(time.Second) // somebody notices
	began := time.Now()
	if _, err := d.dr(ctx, d.west, true, "failover", "--to", "west", "--active-is-down", "--yes"); err != nil {
		return err
	}
	if err := d.load.awaitAck(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	d.say("    The client writes again %d ms after the command was given.", took.Milliseconds())
	d.measure("failover: from the command to the client's next acknowledged write", "%d ms", took.Milliseconds())
	time.Sleep(2 * time.Second)
	return nil
}

// giveBack starts the lost site again.
func (d *demo) giveBack(ctx context.Context) error {
	d.chapter("East comes back, with records that west never got. They are kept aside, then east follows west.")
	began := time.Now()
	if err := d.east.start(); err != nil {
		return err
	}
	if err := d.east.await(ctx); err != nil {
		return err
	}
	if err := d.awaitGreen(ctx, d.west); err != nil {
		return err
	}
	d.measure("return of the lost site: from its start to green", "%d ms", time.Since(began).Milliseconds())
	if _, err := d.dr(ctx, d.west, true, "lost", "list"); err != nil {
		return err
	}
	text, err := d.dr(ctx, d.west, false, "lost", "show", "--json")
	if err != nil {
		return err
	}
	d.lost = map[string]bool{}
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var r struct{ Key string }
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("lost records: %w", err)
		}
		key, err := base64.StdEncoding.DecodeString(r.Key)
		if err != nil {
			return fmt.Errorf("lost records: %w", err)
		}
		d.lost[string(key)] = true
	}
	return nil
}

// verify ends the load and holds what the client knows against what is there.
func (d *demo) verify(ctx context.Context) error {
	d.chapter("Is everything there? The sites compare their logs; the client compares what it was told with what it has read.")
	missing := func() (n int) {
		d.load.mu.Lock()
		defer d.load.mu.Unlock()
		for key := range d.load.acked {
			if !d.load.read[key] && !d.lost[key] {
				n++
			}
		}
		return n
	}
	d.load.end(ctx, func() bool { return missing() == 0 })
	if err := d.awaitGreen(ctx, d.west); err != nil {
		return err
	}
	if _, err := d.dr(ctx, d.west, true, "verify"); err != nil {
		return err
	}
	acked, read := d.load.count()
	if n := missing(); n > 0 {
		return fmt.Errorf("%d of %d acknowledged records are neither in the log nor among the lost ones", n, acked)
	}
	d.measure("records acknowledged", "%d", acked)
	d.measure("records read in the group", "%d", read)
	d.measure("records that only the lost site had, kept aside", "%d", len(d.lost))
	d.measure("acknowledged records in no log and no archive", "0")
	return nil
}

// table sums up.
func (d *demo) table() {
	d.chapter("What was measured:")
	w := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	for _, r := range d.rows {
		_, _ = fmt.Fprintf(w, "    %s\t%s\n", r[0], r[1])
	}
	_ = w.Flush()
}

func (d *demo) close() {
	if d.load != nil {
		d.load.stop()
		d.load.producer.Close()
		d.load.consumer.Close()
	}
	for _, p := range []*place{d.east, d.west} {
		if p != nil {
			p.stop(syscall.SIGTERM)
		}
	}
}
