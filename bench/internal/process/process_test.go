package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const long = time.Minute // nothing here takes as long when it works

// TestMain is also the process that the tests start: the test binary with a mode as its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(serve(os.Args[1], os.Args[2:]))
	}
	os.Exit(m.Run())
}

// serve is a server: "serves" until SIGTERM; "deaf" to it; "refuses" to become ready; "fails" at its start; "ends with 3" on SIGTERM.
func serve(mode string, args []string) int {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("mode", mode)
	if mode == "fails" {
		return 1
	}
	if len(args) > 0 {
		status := http.StatusOK
		if mode == "refuses" {
			status = http.StatusServiceUnavailable
		}
		listener, err := net.Listen("tcp", args[0])
		if err != nil {
			return 1
		}
		go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })) // ends with the process
	}
	for {
		select {
		case <-asked:
		case <-time.After(long): // it does not outlive a test that forgets it
			return 1
		}
		switch mode {
		case "deaf":
		case "ends with 3":
			return 3
		default:
			return 0
		}
	}
}

// started runs a mode until the end of the test, and returns when it is ready.
func started(t *testing.T, mode string) *Process {
	t.Helper()
	p, admin := launched(t, mode)
	if err := p.AwaitReady(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	return p
}

func launched(t *testing.T, mode string) (p *Process, admin string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err = Start(Command{Name: "the child", Args: []string{self, mode, addresses[0]}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, addresses[0]
}

// wantError fails the test unless err says all of that.
func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

func TestStopEndsWhatServes(t *testing.T) {
	p := started(t, "serves")
	if !p.Running() || p.Failed() != nil {
		t.Fatalf("running %v, failed %v", p.Running(), p.Failed())
	}
	for range 2 {
		if err := p.Stop(long); err != nil {
			t.Fatal(err)
		}
	}
	if p.Running() || p.Failed() != nil {
		t.Errorf("after Stop: running %v, failed %v", p.Running(), p.Failed())
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	p := started(t, "deaf")
	wantError(t, p.Stop(time.Millisecond), "the child has not ended within 1ms", "mode deaf")
	if p.Running() {
		t.Error("it still runs")
	}
}

func TestStopWantsTheExitCode(t *testing.T) {
	wantError(t, started(t, "ends with 3").Stop(long), "the child has ended with exit status 3", "mode ends with 3")
	p := started(t, "ends with 3")
	p.spec.ExitCode = 3
	if err := p.Stop(long); err != nil {
		t.Error(err)
	}
}

func TestKillIsNoFailure(t *testing.T) {
	p := started(t, "serves")
	p.Kill()
	p.Kill()
	if p.Running() || p.Failed() != nil || p.Stop(long) != nil {
		t.Errorf("running %v, failed %v", p.Running(), p.Failed())
	}
}

func TestWhatEndsByItselfHasFailed(t *testing.T) {
	p, admin := launched(t, "fails")
	wantError(t, p.AwaitReady(t.Context(), admin), "the child has ended before it was ready: exit status 1", "mode fails")
	wantError(t, p.Failed(), "the child has ended by itself: exit status 1", "mode fails")
	wantError(t, p.Stop(long), "the child has ended by itself")
}

func TestAwaitReadyEndsWithItsContext(t *testing.T) {
	p, admin := launched(t, "refuses")
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err := p.Await(ctx, time.Millisecond, func() error { // until it answers, so that its answer is what AwaitReady gets
		response, err := http.Get("http://" + admin)
		if err == nil {
			response.Body.Close()
		}
		tries++
		return err
	})
	if err != nil || tries == 0 {
		t.Fatalf("%d tries: %v", tries, err)
	}
	cancel()
	err = p.AwaitReady(ctx, admin)
	wantError(t, err, "the child is not ready", "503")
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !p.Running() {
		t.Error("a wait that is given up takes the process along")
	}
}

func TestSignalsAreForTheTarget(t *testing.T) {
	target, other := started(t, "serves"), started(t, "serves")
	other.spec.Target = func(int) (int, error) { return target.Pid(), nil }
	if err := other.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-target.Ended()
	other.spec.Target = func(int) (int, error) { return 0, errors.New("no child") }
	wantError(t, other.Stop(long), "no child")
	if other.Running() {
		t.Error("without a target, the process itself is not killed")
	}
}

func TestStartMayBeOfAnotherKind(t *testing.T) {
	failure := errors.New("no such processor")
	_, err := Start(Command{Name: "x", Args: []string{"x"}, Log: filepath.Join(t.TempDir(), "log"), Start: func(*exec.Cmd) error { return failure }})
	if !errors.Is(err, failure) {
		t.Error(err)
	}
}

func TestWhatWasNeverStartedNeedsNoEnd(t *testing.T) {
	var p *Process
	p.Kill()
	if p.Running() || p.Failed() != nil || p.Stop(0) != nil {
		t.Error("it does")
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Await(ctx, time.Millisecond, func() error { cancel(); return errors.New("refused") })
	wantError(t, err, "the server is not ready", "refused")
}

func TestServeIsACommandLine(t *testing.T) {
	want := []string{"tandem", "serve", "--set", "a=1", "--set", "b=2"}
	if got := Serve("tandem", "a=1", "b=2"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFreeAddressesDiffer(t *testing.T) {
	addresses, err := FreeAddresses(5)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(addresses)
	if distinct := slices.Compact(slices.Clone(addresses)); len(distinct) != 5 {
		t.Errorf("%q", addresses)
	}
}
