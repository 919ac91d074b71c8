//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// patience bounds every wait: far above what anything takes, so that only what hangs meets it.
const patience = 30 * time.Second

// retryPause is how long a client waits before it tries again; the defaults are made for gentler brokers.
const retryPause = 20 * time.Millisecond

// process is a tandem of its own. It is killed with the test.
type process struct {
	t       *testing.T
	dir     string
	command *exec.Cmd
	stdin   io.Writer
	stdout  *bufio.Reader
	ready   chan string   // the clients' address
	logged  chan struct{} // closed at the end of stderr
	mu      struct {
		sync.Mutex
		log []string // lines of stderr
	}
	ended bool
}

// startTandem runs a broker with its data in dir (log.dirs unless set says so) until it listens.
func startTandem(t *testing.T, dir string, set ...string) (p *process, address string) {
	t.Helper()
	return startTandemAs(t, dir, func(*exec.Cmd) {}, set...)
}

// startTandemAs is startTandem with something else about the process.
func startTandemAs(t *testing.T, dir string, with func(*exec.Cmd), set ...string) (p *process, address string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"serve"}
	for _, s := range append([]string{
		"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "admin.listener=", "disk.ballast.bytes=0", "disk.reserve.bytes=0",
	}, set...) {
		args = append(args, "--set", s)
	}
	p = &process{t: t, dir: dir, command: exec.Command(self, args...), ready: make(chan string, 1), logged: make(chan struct{})}
	p.command.Env = append(os.Environ(), beTandem+"=1")
	with(p.command)
	stdin, err1 := p.command.StdinPipe()
	stdout, err2 := p.command.StdoutPipe()
	stderr, err3 := p.command.StderrPipe()
	if err := errors.Join(err1, err2, err3, p.command.Start()); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.stdout = stdin, bufio.NewReader(stdout)
	go p.follow(stderr) // ends with the process, awaited in wait
	t.Cleanup(func() {
		if !p.ended {
			p.kill()
		}
		if t.Failed() {
			t.Log(strings.Join(p.lines(), "\n"))
		}
	})
	select {
	case address = <-p.ready:
	case <-p.logged:
		t.Fatalf("ended at its start with code %d", p.wait())
	case <-time.After(patience):
		t.Fatal("does not start")
	}
	return p, address
}

// follow collects the log, and finds the address in it.
func (p *process) follow(stderr io.Reader) {
	defer close(p.logged)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		line := lines.Text()
		p.mu.Lock()
		p.mu.log = append(p.mu.log, line)
		p.mu.Unlock()
		if _, address, ok := strings.Cut(line, "msg=listening listener=PLAINTEXT address="); ok {
			p.ready <- address
		}
	}
}

func (p *process) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.mu.log)
}

// wait returns the exit code of a process that ends by itself.
func (p *process) wait() int {
	p.t.Helper()
	late := time.AfterFunc(patience, func() { _ = p.command.Process.Kill() })
	<-p.logged
	err := p.command.Wait()
	p.ended = true
	if !late.Stop() {
		p.t.Fatal("does not end")
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.command.ProcessState.ExitCode()
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.logged
	_ = p.command.Wait()
	p.ended = true
}

// breaks makes the kernel refuse an operation on the open files that match.
func (p *process) breaks(op, pattern string) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.stdin, "%s %s\n", op, pattern)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := p.stdout.ReadString('\n')
	switch {
	case err != nil:
		p.t.Fatal(err)
	case strings.HasPrefix(answer, "cannot"):
		p.t.Skip("this machine has no seccomp filters: ", answer)
	case !strings.HasPrefix(answer, "broken") || answer == "broken 0\n":
		p.t.Fatalf("%s of %s: %s", op, pattern, answer)
	}
}

// acked is what a broker has acknowledged.
type acked struct {
	records map[int32]map[int64][]byte // partition -> offset -> value
	topics  []string
}

const (
	fatalTopic      = "t"
	fatalPartitions = 4
	inlineSize      = 500     // rides in the journal
	referenceSize   = 100_000 // is synced in its segment
)

// produce writes count records of this size to each partition and returns how many were acknowledged. It gives up with ctx.
func (a *acked) produce(ctx context.Context, t *testing.T, address string, count, size int) (n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.AllowIdempotentProduceCancellation(),
		kgo.RetryBackoffFn(func(int) time.Duration { return retryPause }), kgo.MetadataMinAge(retryPause))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for i := range count * fatalPartitions {
		value := make([]byte, size)
		for k := range value {
			value[k] = byte(rand.Uint32())
		}
		records = append(records, &kgo.Record{Topic: fatalTopic, Partition: int32(i % fatalPartitions), Value: value})
	}
	for _, r := range client.ProduceSync(ctx, records...) {
		if r.Err != nil {
			continue
		}
		n++
		if a.records[r.Record.Partition] == nil {
			a.records[r.Record.Partition] = map[int64][]byte{}
		}
		a.records[r.Record.Partition][r.Record.Offset] = r.Record.Value
	}
	return n
}

func admin(t *testing.T, address string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// createTopics creates topics until ctx ends or one fails.
func (a *acked) createTopics(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	client := admin(t, address)
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("more-%d", i)
		if _, err := client.CreateTopic(ctx, 1, 1, nil, name); err != nil {
			return
		}
		a.topics = append(a.topics, name)
	}
}

// check reads everything that a broker has.
func (a *acked) check(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	topics, err := admin(t, address).ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range a.topics {
		if !topics.Has(name) {
			t.Errorf("topic %s was acknowledged and is gone", name)
		}
	}
	starts := map[int32]kgo.Offset{}
	left := 0
	for p, records := range a.records {
		starts[p] = kgo.NewOffset().AtStart()
		left += len(records)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{fatalTopic: starts}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d acknowledged records are not found: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if want, ok := a.records[r.Partition][r.Offset]; ok {
				left--
				if !bytes.Equal(r.Value, want) {
					t.Errorf("partition %d, offset %d holds another record", r.Partition, r.Offset)
				}
			}
		})
	}
}

// A failed write or sync of what everything depends on ends the process at once, with one line that names the file and with a
// code of its own, and without another acknowledgement; what was acknowledged is there after a restart.
func TestFailedWriteEndsTheProcess(t *testing.T) {
	for _, c := range []struct {
		op, file string
		size     int  // of the records that meet the failure
		topics   bool // topics are created instead
	}{
		{op: "write", file: "journal/*", size: inlineSize},
		{op: "sync", file: "journal/*", size: inlineSize},
		{op: "sync", file: "journal/*", size: referenceSize},
		{op: "write", file: "t-*/*.log", size: inlineSize},
		{op: "write", file: "t-*/*.log", size: referenceSize},
		{op: "sync", file: "t-*/*.log", size: referenceSize},
		{op: "write", file: "meta.db", topics: true},
		{op: "sync", file: "meta.db", topics: true},
	} {
		t.Run(fmt.Sprintf("%s %s %d", c.op, filepath.Base(filepath.Dir("/"+c.file))+filepath.Ext(c.file), c.size), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, address := startTandem(t, dir)
			a := begin(t, address)
			before := len(p.lines()) // a write may fail before breaks returns
			p.breaks(c.op, filepath.Join(dir, c.file))

			ctx, cancel := context.WithCancel(t.Context())
			loaded := make(chan int, 1)
			go func() { // ends with ctx, awaited below
				if c.topics {
					a.createTopics(ctx, t, address)
					loaded <- 0
					return
				}
				loaded <- a.produce(ctx, t, address, 50, c.size)
			}()
			code := p.wait()
			cancel()
			if n := <-loaded; n > 0 {
				t.Errorf("%d records were acknowledged after the failure", n)
			}
			p.diedOf(code, before, c.op, dir, c.file)
			_, address = startTandem(t, dir)
			a.check(t, address)
			serving, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if a.produce(serving, t, address, 1, inlineSize) != fatalPartitions {
				t.Error("the restarted broker takes no records")
			}
		})
	}
}

// begin makes the topic, and puts some records into it.
func begin(t *testing.T, address string) *acked {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := admin(t, address).CreateTopic(ctx, fatalPartitions, 1, nil, fatalTopic); err != nil {
		t.Fatal(err)
	}
	a := &acked{records: map[int32]map[int64][]byte{}}
	for _, size := range []int{inlineSize, referenceSize} {
		if n := a.produce(ctx, t, address, 5, size); n != 5*fatalPartitions {
			t.Fatalf("%d records were acknowledged", n)
		}
	}
	return a
}

// diedOf checks what the process said behind its first lines of log.
func (p *process) diedOf(code, lines int, op, dir, file string) {
	p.t.Helper()
	if code != exitFatal {
		p.t.Errorf("exit code %d, want %d", code, exitFatal)
	}
	said := slices.DeleteFunc(p.lines()[lines:], func(line string) bool { return strings.Contains(line, `msg="topic created"`) })
	if len(said) != 1 {
		p.t.Fatalf("said %d lines:\n%s", len(said), strings.Join(said, "\n"))
	}
	path, _, _ := strings.Cut(filepath.Join(dir, file), "*")
	if !strings.Contains(said[0], "level=ERROR msg=\"fatal: ") || !strings.Contains(said[0], op) || !strings.Contains(said[0], path) {
		p.t.Errorf("does not name operation and file: %s", said[0])
	}
}

// A process whose last line nobody reads ends all the same.
func TestUnreadLogDoesNotKeepTheProcess(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self)
	command.Env, command.Stderr = append(os.Environ(), beTandem+"=die"), write
	if err := errors.Join(command.Start(), write.Close()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }() // ends with the process
	select {
	case <-ended:
	case <-time.After(patience):
		_ = command.Process.Kill()
		<-ended
		t.Fatal("does not end")
	}
	if code := command.ProcessState.ExitCode(); code != exitFatal {
		t.Errorf("exit code %d", code)
	}
}

// A limit of the size of files (ulimit -f) is one more reason for a failed write, and not a signal that kills the process.
func TestFileSizeLimitIsAFailedWrite(t *testing.T) {
	dir := t.TempDir()
	p, address := startTandem(t, dir)
	a := begin(t, address)
	before := len(p.lines())
	limit := unix.Rlimit{Cur: 8 * referenceSize, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.command.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	loaded := make(chan int, 1)
	go func() { loaded <- a.produce(ctx, t, address, 50, referenceSize) }() // ends with ctx, awaited below
	code := p.wait()
	cancel()
	<-loaded
	p.diedOf(code, before, "write", dir, "t-*")
	if !strings.Contains(strings.Join(p.lines(), "\n"), syscall.EFBIG.Error()) {
		t.Error("the cause is not named")
	}
	_, address = startTandem(t, dir)
	a.check(t, address)
}
