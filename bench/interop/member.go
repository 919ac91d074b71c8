package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// leaveLimit is how long a member may take from being told to leave to its end.
const leaveLimit = 20 * time.Second

// javaTerminated is how a Java program ends that does its last work when SIGTERM comes.
const javaTerminated = 128 + int(syscall.SIGTERM)

// player is who can be a member of a group.
type player struct {
	*family
	memberProgram
}

// member is a process that consumes in a group.
type member struct {
	player
	id     string // client id
	run    *exec.Cmd
	input  io.Closer
	errors lockedBuffer
	ended  chan struct{} // closed when the process has ended and its output is read; the fields below are set then
	endErr error         // of the process
	outErr error         // of its output
}

// startMember runs a member; saw is called with each record that it prints, until ended is closed.
func startMember(c player, job memberJob, saw func(*member, reading) error) (*member, error) {
	args := c.member(job)
	m := &member{player: c, id: job.clientID, run: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	m.run.Env = append(os.Environ(), job.env...)
	input, err := m.run.StdinPipe()
	if err != nil {
		return nil, err
	}
	m.input = input
	output, err := m.run.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.run.Stderr = &m.errors
	if err := m.run.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", m.id, err)
	}
	go func() { // ends with the process, awaited through ended
		defer close(m.ended)
		lines := bufio.NewReaderSize(output, 1<<20)
		for {
			r, err := c.next(lines)
			r.topic = cmp.Or(r.topic, job.topics[0])
			if err == nil {
				err = saw(m, r)
			}
			if err == nil {
				continue
			}
			if err != io.EOF { // it printed what it should not: go on, or it would wait for somebody to read
				m.outErr = err
				_, _ = io.Copy(io.Discard, lines)
			}
			break
		}
		m.endErr = m.run.Wait()
	}()
	return m, nil
}

// failed is not nil when the member has ended or printed nonsense, unasked.
func (m *member) failed() error {
	select {
	case <-m.ended:
		return fmt.Errorf("member %s ended: %w\n%s", m.id, errors.Join(errors.New("unasked"), m.outErr, m.endErr), tail(m.errors.String()))
	default:
		return nil
	}
}

// leave tells the member to leave, and waits for its end.
func (m *member) leave() error {
	if m.leavesBySignal() {
		if err := m.run.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("%w: %w", m.failed(), err)
		}
	} else if err := m.input.Close(); err != nil {
		return err
	}
	select {
	case <-m.ended:
	case <-time.After(leaveLimit):
		return fmt.Errorf("member %s does not end\n%s", m.id, tail(m.errors.String()))
	}
	err := errors.Join(m.outErr, m.endErr)
	if exit := (*exec.ExitError)(nil); m.leavesBySignal() && m.outErr == nil && errors.As(m.endErr, &exit) && exit.ExitCode() == javaTerminated {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("member %s: %w\n%s", m.id, err, tail(m.errors.String()))
	}
	return nil
}

// kill ends the member by SIGKILL, if it has not ended yet, and returns what was wrong with its output.
func (m *member) kill() error {
	_ = m.run.Process.Kill()
	<-m.ended
	return m.outErr
}

// lockedBuffer keeps what a process complains of.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
