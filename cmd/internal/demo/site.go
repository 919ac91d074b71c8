package demo

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// place is a site of the demo: one broker, a process of its own.
type place struct {
	name    string
	binary  string
	dir     string
	address string // of clients
	link    string // of the other site
	args    []string
	process *exec.Cmd
	ended   chan struct{}
}

// freeAddresses are n addresses on loopback that nobody listens on, all different.
func freeAddresses(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // not before all are found
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// newPlace is a site that is not started yet; addresses are one for clients and one for the other site.
func newPlace(binary, dir, name, role string, node int, addresses []string) *place {
	p := &place{name: name, binary: binary, dir: dir, address: addresses[0], link: addresses[1]}
	for _, set := range []string{
		fmt.Sprintf("node.id=%d", node), "log.dirs=" + filepath.Join(dir, name), "listeners=PLAINTEXT://" + p.address + ",SITE://" + p.link,
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT", "site.name=" + name, "site.role=" + role, "admin.listener=127.0.0.1:0",
	} {
		p.args = append(p.args, "--set", set)
	}
	return p
}

// meet tells p where the other site is.
func (p *place) meet(other *place) {
	p.args = append(p.args, "--set", "site.peers="+other.name+"@"+other.link)
}

// start runs the broker; it ends with this process.
func (p *place) start() error {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.binary, append([]string{"serve"}, p.args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	bindLifetime(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	p.process, p.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) { // ends with the process, which stop awaits
		_ = cmd.Wait()
		close(ended)
	}(p.ended)
	return nil
}

func (p *place) logFile() string { return filepath.Join(p.dir, p.name+".log") }

// stop ends the broker with a signal, and waits for it.
func (p *place) stop(signal os.Signal) {
	if p.process == nil {
		return
	}
	_ = p.process.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(stopPatience):
		_ = p.process.Process.Kill()
		<-p.ended
	}
	p.process = nil
}

const stopPatience = 20 * time.Second

// hold stops the broker where it is, as a network does that lets nothing through; resume lets it go on.
func (p *place) hold() error   { return p.process.Process.Signal(syscall.SIGSTOP) }
func (p *place) resume() error { return p.process.Process.Signal(syscall.SIGCONT) }

// await waits until the broker takes connections.
func (p *place) await(ctx context.Context) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			text, _ := os.ReadFile(p.logFile())
			return fmt.Errorf("the broker of %s has ended:\n%s", p.name, text)
		case <-ctx.Done():
			return fmt.Errorf("the broker of %s does not come up: %w", p.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
