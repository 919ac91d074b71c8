package main

import (
	"context"
	"slices"
	"time"

	"github.com/tandembroker/tandem/bench/internal/process"
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

	process *process.Process
}

func newTandem(binary, dataDir string) (*tandem, error) {
	addresses, err := process.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	return &tandem{binary: binary, dataDir: dataDir, logFile: dataDir + ".log", address: addresses[0], admin: addresses[1]}, nil
}

// start runs the broker and waits until it is ready.
func (t *tandem) start(ctx context.Context) (err error) {
	settings := append([]string{"log.dirs=" + t.dataDir, "listeners=PLAINTEXT://" + t.address, "admin.listener=" + t.admin}, t.more...)
	args := slices.Concat(t.via, process.Serve(t.binary, settings...))
	if t.process, err = process.Start(process.Command{Name: "tandem", Args: args, Log: t.logFile}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return t.process.AwaitReady(ctx, t.admin)
}

// stop drains the broker with SIGTERM, which must end with exit code 0.
func (t *tandem) stop() error { return t.process.Stop(stopLimit) }

// kill ends the broker with SIGKILL and waits for its end.
func (t *tandem) kill() { t.process.Kill() }
