package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// child is a baseline's server: this binary again, as a process of its own like the broker. It prints its address, serves until
// its standard input closes, and prints what went wrong.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// children are the hidden subcommands.
func children() map[string]func(args []string) {
	return map[string]func([]string){"_receive": receive, "_sendfile": sendFile, "_bystander": standBy, "_disk": burdenDisk}
}

func startChild(name string, args ...string) (*child, string, error) {
	return startChildOn(anyCPU, name, args...)
}

func startChildOn(on cpu, name string, args ...string) (*child, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	c := &child{cmd: exec.Command(self, append([]string{name}, args...)...)}
	c.cmd.Stderr = os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := startOn(c.cmd, on); err != nil {
		return nil, "", err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, "", fmt.Errorf("baseline %s: %w", name, err)
	}
	return c, strings.TrimSpace(addr), nil
}

// stop ends the child and waits for it.
func (c *child) stop() {
	_ = c.stdin.Close()
	_ = c.cmd.Wait()
}

func childFailed(err error) {
	fmt.Fprintln(os.Stderr, "baseline:", err)
	os.Exit(1)
}

// serveChild listens, prints the address and serves connections until standard input closes.
func serveChild(serve func(*net.TCPConn) error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		childFailed(err)
	}
	fmt.Println(l.Addr())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed below
			}
			wg.Go(func() {
				defer c.Close()
				if err := serve(c.(*net.TCPConn)); err != nil && !errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr, "baseline:", err)
				}
			})
		}
	})
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l.Close()
	os.Exit(0) // connections that a client left open must not keep us
}
