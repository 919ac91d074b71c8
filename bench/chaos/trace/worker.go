//go:build linux

package main

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// recoverLimit is how long two recoveries of a state may take.
const recoverLimit = 2 * time.Minute

// worker has a recoverlogs process, which opens one state after the other.
type worker struct {
	binary string
	dir    string // of the state; exists only while it is looked at

	command *exec.Cmd
	in      io.WriteCloser
	out     *gob.Decoder
	errs    bytes.Buffer
}

func (w *worker) start() error {
	w.command = exec.Command(w.binary, "-inline", inlineBytesMax, "-journal", journalSegmentBytes)
	w.errs.Reset()
	w.command.Stderr = &w.errs
	in, err := w.command.StdinPipe()
	if err != nil {
		return err
	}
	out, err := w.command.StdoutPipe()
	if err != nil {
		return err
	}
	w.in, w.out = in, gob.NewDecoder(out)
	return w.command.Start()
}

// ask opens a data directory. A child that dies is an error about the state; the next one gets a new child.
func (w *worker) ask(dataDir string) (a answer, err error) {
	if _, err := os.Stat(dataDir); os.IsNotExist(err) {
		return a, nil // nothing survived: a start would make a new one
	}
	if w.command == nil {
		if err := w.start(); err != nil {
			return a, err
		}
	}
	process := w.command.Process
	watchdog := time.AfterFunc(recoverLimit, func() { _ = process.Kill() }) // it may have ended
	defer watchdog.Stop()
	_, err = fmt.Fprintln(w.in, dataDir)
	if err == nil {
		err = w.out.Decode(&a)
	}
	if err != nil {
		err = fmt.Errorf("recovery died: %w: %w\n%s", err, w.stop(), w.errs.String())
	}
	return a, err
}

func (w *worker) stop() error {
	if w.command == nil {
		return nil
	}
	w.in.Close()
	err := w.command.Wait()
	w.command = nil
	return err
}
