//go:build linux && (amd64 || arm64)

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// timeout(1) signals its child and then the child's group: that is one wish to stop, and the stop is clean.
func TestSignalTwiceAtOnceStopsCleanly(t *testing.T) {
	p, address := startTandem(t, t.TempDir())
	begin(t, address)
	said := func(what string) bool { return strings.Contains(strings.Join(p.lines(), "\n"), what) }
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); !said("msg=stopping"); {
		if time.Now().After(late) {
			t.Fatal("does not stop")
		}
	}
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails where the process has ended meanwhile
	if code := p.wait(); code != exitDone || !said("stopped cleanly") {
		t.Errorf("exit code %d:\n%s", code, strings.Join(p.lines(), "\n"))
	}
}
