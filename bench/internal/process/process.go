// Package process runs the servers that are measured and troubled, Tandem and Apache Kafka, each as a process of its own: known by
// its ports, its log, what signals do to it, and its exit code.
//
// A process is not bound to a context, because a test ends it by plan, and a load that is over must not take it along: whoever has
// started it ends it with Stop or Kill. One goroutine waits for it, and ends with it.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Command says what is run, and how.
type Command struct {
	Name string   // in errors
	Args []string // the program and its arguments
	Log  string   // the file that its output is appended to
	// ExitCode is what a process ends with that SIGTERM has stopped and that is well. Java's is 128 + 15.
	ExitCode int
	// Start starts it; nil = (*exec.Cmd).Start.
	Start func(*exec.Cmd) error
	// Target is the id of the process that signals are for, when the one that was started, whose id it gets, only runs it; nil = none such.
	Target func(started int) (int, error)
}

// Serve is the command line of a broker with these settings, each a key=value.
func Serve(binary string, settings ...string) []string {
	args := []string{binary, "serve"}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	return args
}

// Process is one that has been started. It may be used by several goroutines. A nil one is none of ours: it has not been
// started, there is nothing to stop or kill, and Await waits for what somebody else runs.
type Process struct {
	spec    Command
	command *exec.Cmd
	ordered atomic.Bool   // that it end, by us
	ended   chan struct{} // closed when it has; command.ProcessState is set then
}

// Start returns as soon as the process is there; what it serves may take longer.
func Start(c Command) (*Process, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	p := &Process{spec: c, command: exec.Command(c.Args[0], c.Args[1:]...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	start := c.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(p.command); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	go func() { // ends with the process
		_ = p.command.Wait() // it is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// Pid is the id of the process that was started, whatever Command.Target says.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Running says whether the process has been started and has not ended.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Failed is not nil when the process has ended, and neither Stop nor Kill is why.
func (p *Process) Failed() error {
	if p == nil || p.Running() || p.ordered.Load() {
		return nil
	}
	return p.problem("has ended by itself: %s", p.command.ProcessState)
}

// problem is an error with the end of the log.
func (p *Process) problem(format string, args ...any) error {
	if p == nil {
		return fmt.Errorf("the server "+format, args...)
	}
	return fmt.Errorf("%s %w\n%s", p.spec.Name, fmt.Errorf(format, args...), p.LogTail())
}

// Await calls try until it returns nil, and waits for every in between. Errors: the process has ended; ctx has, with what try said
// last. Both come with the end of the log.
func (p *Process) Await(ctx context.Context, every time.Duration, try func() error) error {
	var ended <-chan struct{}
	if p != nil {
		ended = p.ended
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return p.problem("has ended before it was ready: %s", p.command.ProcessState)
		case <-ctx.Done():
			return p.problem("is not ready: %w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// AwaitReady waits until the broker says that it is ready; admin is the address of its admin listener, host:port. Errors: see Await.
func (p *Process) AwaitReady(ctx context.Context, admin string) error {
	client := http.Client{Timeout: time.Second}
	return p.Await(ctx, 5*time.Millisecond, func() error {
		response, err := client.Get("http://" + admin + "/readyz")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// Stop ends the process with SIGTERM, and with SIGKILL when it takes longer than limit, and waits for its end. It does nothing where
// Stop or Kill was called before. Errors, with the end of the log: it had ended by itself, it took too long, or it ended with another
// exit code than Command.ExitCode.
func (p *Process) Stop(limit time.Duration) error {
	if p == nil || p.ordered.Load() && !p.Running() {
		return nil
	}
	if err := p.Failed(); err != nil {
		return err
	}
	p.ordered.Store(true)
	if err := p.signal(syscall.SIGTERM); err != nil {
		p.Kill()
		return p.problem("cannot be sent SIGTERM: %w", err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.Kill()
		return p.problem("has not ended within %s of SIGTERM", limit)
	}
	if p.command.ProcessState.ExitCode() != p.spec.ExitCode {
		return p.problem("has ended with %s after SIGTERM", p.command.ProcessState)
	}
	return nil
}

// Kill ends the process with SIGKILL, as a crash does, if it has not ended yet, and waits for its end.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	p.ordered.Store(true)
	if p.signal(syscall.SIGKILL) != nil {
		_ = p.command.Process.Kill() // it may have ended already
	}
	<-p.ended
}

func (p *Process) signal(s os.Signal) error {
	target := p.command.Process
	if p.spec.Target != nil {
		id, err := p.spec.Target(p.Pid())
		if err != nil {
			return err
		}
		if target, err = os.FindProcess(id); err != nil {
			return err
		}
	}
	return target.Signal(s)
}

// LogTail is the end of what the process has written, for error messages.
func (p *Process) LogTail() string {
	const linesMax = 30
	text, err := os.ReadFile(p.spec.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-linesMax):], "\n")
}

// FreeAddresses are addresses on loopback, host:port, that nobody listens on now, all different. Somebody else could take one before
// it is used, so a start that fails for that may be tried again.
func FreeAddresses(count int) ([]string, error) {
	addresses := make([]string, count)
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // all at the end, so that they differ
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}
