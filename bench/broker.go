package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandembroker/tandem/bench/internal/process"
)

const (
	readyMax = 60 * time.Second // for a broker to serve
	stopMax  = 60 * time.Second // for a drain, before it is killed
)

// broker is a running process, Tandem or the Apache Kafka beside it, ours to stop.
type broker struct {
	addr    string // Kafka listener, host:port
	admin   string // host:port of /metrics
	dir     string
	cpu     cpu
	process *process.Process // nil before the first start
}

// launch starts the binary on dir and returns at once; the broker is not ready yet.
func launch(o options, dir string) (*broker, error) {
	addresses, err := process.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	return launchAt(o, dir, addresses[0], addresses[1])
}

// launchAt is launch on given addresses, so that clients find a broker again that was stopped.
func launchAt(o options, dir, addr, admin string) (*broker, error) {
	b := &broker{addr: addr, admin: admin, dir: dir}
	return b, b.start(o, []string{"listeners=PLAINTEXT://" + addr})
}

// start runs the process, also of a broker that has been stopped, with settings of its own behind which those of o come.
func (b *broker) start(o options, settings []string) (err error) {
	all := slices.Concat([]string{"log.dirs=" + b.dir, "admin.listener=" + b.admin}, settings, o.sets)
	b.process, err = process.Start(process.Command{Name: "broker", Args: process.Serve(o.bin, all...),
		Log: cmp.Or(o.broker, filepath.Join(o.dir, "broker.log")), Start: func(c *exec.Cmd) error { return startOn(c, b.cpu) }})
	return err
}

// startBroker launches the binary on an empty folder below o.dir and waits until it answers Metadata.
func startBroker(ctx context.Context, o options) (*broker, error) {
	dir, err := os.MkdirTemp(o.dir, "data-")
	if err != nil {
		return nil, err
	}
	b, err := launch(o, dir)
	if err != nil {
		return nil, err
	}
	c, err := b.dial(ctx)
	if err != nil {
		b.kill()
		return nil, err
	}
	defer c.close()
	if err := c.await(ctx, c.metadata); err != nil {
		b.kill()
		return nil, err
	}
	return b, nil
}

// dial connects, trying again while the broker starts.
func (b *broker) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	var c *conn
	err := b.process.Await(ctx, time.Millisecond, func() (err error) { // polling is all that a client can do
		c, err = dialConn(b.addr)
		return err
	})
	return c, err
}

// stop drains the broker by SIGTERM; a broker that does not end in time is killed and reported.
func (b *broker) stop() error { return b.process.Stop(stopMax) }

// kill ends the broker as a crash would.
func (b *broker) kill() { b.process.Kill() }

// discard stops the broker and deletes its data; for the end of a case, whose figures stand in any case.
func (b *broker) discard() {
	if err := errors.Join(b.stop(), os.RemoveAll(b.dir)); err != nil {
		slog.Warn("broker did not stop cleanly", "error", err)
	}
}

// scrape reads /metrics and sums every name over its labels.
func (b *broker) scrape(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics: %s", resp.Status)
	}
	return parseMetrics(resp.Body)
}

// parseMetrics reads Prometheus' text format. What has labels is there under its name with them, too.
func parseMetrics(in io.Reader) (map[string]float64, error) {
	sums := map[string]float64{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		var name, rest, value string
		if open := strings.IndexByte(line, '{'); open >= 0 {
			end := strings.LastIndexByte(line, '}')
			if end < open {
				return nil, fmt.Errorf("metrics line %q", line)
			}
			name, rest = line[:open], line[end+1:]
		} else {
			name, rest, _ = strings.Cut(line, " ")
		}
		value, _, _ = strings.Cut(strings.TrimSpace(rest), " ") // a timestamp may follow
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics line %q: %w", line, err)
		}
		sums[name] += v
		if end := strings.LastIndexByte(line, '}'); end >= 0 {
			sums[line[:end+1]] = v
		}
	}
	return sums, lines.Err()
}

// written is what the broker has put on disk.
type written struct{ syncs, bytes float64 }

func (b *broker) written(ctx context.Context) (written, error) {
	m, err := b.scrape(ctx)
	if err != nil {
		return written{}, err
	}
	for _, name := range []string{"tandem_fsync_total", "tandem_journal_bytes_total", "tandem_segment_bytes_total"} {
		if _, ok := m[name]; !ok {
			return written{}, fmt.Errorf("the broker's /metrics has no %s", name)
		}
	}
	return written{m["tandem_fsync_total"], m["tandem_journal_bytes_total"] + m["tandem_segment_bytes_total"]}, nil
}

// driveFor drives lanes for d, and tells what the broker has put on disk meanwhile.
func (b *broker) driveFor(ctx context.Context, lanes []*lane, d time.Duration) (outcome, written, error) {
	before, err := b.written(ctx)
	if err != nil {
		return outcome{}, written{}, err
	}
	got, err := drive(lanes, during(d))
	if err != nil {
		return outcome{}, written{}, err
	}
	after, err := b.written(ctx)
	return got, after.minus(before), err
}

func (w written) minus(before written) written {
	return written{w.syncs - before.syncs, w.bytes - before.bytes}
}

// residentBytes is the process's resident set size.
func (b *broker) residentBytes() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.process.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}
