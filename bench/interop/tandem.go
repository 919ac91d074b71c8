package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startLimit is how long a start may take until the broker is ready, stopLimit how long a drain may.
const (
	startLimit = 60 * time.Second
	stopLimit  = 60 * time.Second
)

// tandem is a broker process that interop starts, stops and kills. Its ports stay the same over restarts, so that clients find
// it again.
type tandem struct {
	binary  string
	dataDir string
	address string // of clients
	admin   string
	logFile string
	more    []string // settings
	via     []string // the program, with its arguments, that runs the broker; nil = it is run as it is

	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended; endErr is set then
	endErr  error
}

func newTandem(binary, dataDir string) (*tandem, error) {
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	return &tandem{binary: binary, dataDir: dataDir, logFile: dataDir + ".log", address: addresses[0], admin: addresses[1]}, nil
}

// freeAddresses are loopback addresses that nobody listens on now.
func freeAddresses(count int) ([]string, error) {
	var addresses []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // all at the end, so that they differ
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// start runs the broker and waits until it is ready.
func (t *tandem) start(ctx context.Context) error {
	log, err := os.OpenFile(t.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	args := append(slices.Clone(t.via), t.binary, "serve", "--set", "log.dirs="+t.dataDir, "--set", "listeners=PLAINTEXT://"+t.address,
		"--set", "admin.listener="+t.admin)
	for _, setting := range t.more {
		args = append(args, "--set", setting)
	}
	t.command = exec.Command(args[0], args[1:]...)
	t.command.Stdout, t.command.Stderr = log, log
	if err := t.command.Start(); err != nil {
		return err
	}
	t.ended = make(chan struct{})
	go func() { // ends with the process, awaited by stop and kill
		t.endErr = t.command.Wait()
		close(t.ended)
	}()
	return t.waitReady(ctx)
}

func (t *tandem) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if response, err := http.Get("http://" + t.admin + "/readyz"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-t.ended:
			return fmt.Errorf("tandem ended at start: %w\n%s", t.endErr, t.logTail())
		case <-ctx.Done():
			return fmt.Errorf("tandem is not ready: %w\n%s", ctx.Err(), t.logTail())
		case <-tick.C:
		}
	}
}

// stop drains the broker with SIGTERM, which must end with exit code 0.
func (t *tandem) stop() error {
	if err := t.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("tandem ended by itself: %w\n%s", errors.Join(err, t.endErr), t.logTail())
	}
	select {
	case <-t.ended:
	case <-time.After(stopLimit):
		t.kill()
		return fmt.Errorf("tandem did not stop within %s of SIGTERM", stopLimit)
	}
	if t.endErr != nil {
		return fmt.Errorf("tandem stopped with %w\n%s", t.endErr, t.logTail())
	}
	return nil
}

// kill ends the broker with SIGKILL and waits for its end.
func (t *tandem) kill() {
	_ = t.command.Process.Kill() // it may have ended already
	<-t.ended
}

// logTail is the end of the broker's log.
func (t *tandem) logTail() string {
	const linesMax = 30
	data, err := os.ReadFile(t.logFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-linesMax):], "\n")
}
