//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tandembroker/tandem/bench/internal/process"
)

const (
	startLimit = 60 * time.Second
	loadLimit  = 10 * time.Minute
	// largeRetentionBytes is the least that retention may leave of the topic that has one.
	largeRetentionBytes = 1 << 20
)

// settings of the traced broker: the smallest that it takes, so that a small load makes it roll, checkpoint, retain and unlink.
var settings = []string{
	"num.partitions=2", "log.segment.bytes=1048576", "journal.segment.bytes=" + journalSegmentBytes, "checkpoint.bytes=1048576",
	"checkpoint.payload.bytes=1048576", "checkpoint.interval.ms=250", "log.retention.check.interval.ms=100",
	"journal.inline.max.bytes=" + inlineBytesMax, "disk.reserve.bytes=0", "disk.ballast.bytes=65536",
}

const (
	journalSegmentBytes = "1048576"
	inlineBytesMax      = "16384"
)

// straceArgs: everything that changes files, file descriptors or processes; -xx and -s for all bytes that were written.
func straceArgs(output string) []string {
	return []string{"-f", "--seccomp-bpf", "--absolute-timestamps=format:unix,precision:ns", "--signal=none", "-qqq", "-xx", "-s", "16777216",
		"-o", output, "-e", "trace=openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync," +
			"sync_file_range,msync,mmap,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat," +
			"close,dup,dup2,dup3,fcntl,lseek,copy_file_range,splice,sendfile,clone,clone3,fork,vfork,execve,io_uring_setup"}
}

// recording is a run of the broker, as it is kept in a folder: trace-1, trace-2, ... (a broker that was killed, its successor,
// ..., the last one was stopped), end-1, end-2, ... (the disk behind each), and load.json.
type recording struct {
	dir string

	Root  string // the folder that the traces know; the data directory is data/ in it
	Lanes []*lane
	Runs  int // of the broker
}

func (r *recording) trace(phase int) string {
	return filepath.Join(r.dir, fmt.Sprintf("trace-%d", phase))
}
func (r *recording) end(phase int) string { return filepath.Join(r.dir, fmt.Sprintf("end-%d", phase)) }

func openRecording(dir string) (*recording, error) {
	r := &recording{dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, "load.json"))
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(b, r)
}

// record runs the load against a traced broker that is killed in the middle of it.
func record(ctx context.Context, o options, dir string) (*recording, error) {
	if err := checkStrace(ctx); err != nil {
		return nil, err
	}
	root, err := filepath.Abs(filepath.Join(dir, "disk"))
	if err != nil {
		return nil, err
	}
	r := &recording{dir: dir, Root: root, Lanes: newLanes(o.bursts)}
	if err := os.MkdirAll(r.Root, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	b, err := startBroker(ctx, o.tandem, filepath.Join(r.Root, "data"), straceArgs(r.trace(1)))
	if err != nil {
		return nil, err
	}
	defer func() { b.kill() }()
	if err := createTopics(ctx, b.address); err != nil {
		return nil, err
	}
	loads := r.load(ctx, b.address, o.seed)
	for r.Runs = 1; r.Runs <= o.kills; r.Runs++ {
		if err := r.await(ctx, loads, float64(r.Runs)/float64(o.kills+1)); err != nil {
			return nil, err
		}
		b.kill()
		if err := os.CopyFS(r.end(r.Runs), os.DirFS(r.Root)); err != nil {
			return nil, err
		}
		if err := b.start(ctx, straceArgs(r.trace(r.Runs+1))); err != nil {
			return nil, err
		}
	}
	if err := loads.wait(); err != nil {
		return nil, err
	}
	if err := b.stop(); err != nil {
		return nil, err
	}
	if err := os.CopyFS(r.end(r.Runs), os.DirFS(r.Root)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return r, os.WriteFile(filepath.Join(dir, "load.json"), text, 0o644)
}

func checkStrace(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("strace is not installed: apt-get install strace")
	}
	if err != nil {
		return fmt.Errorf("strace cannot trace here (5.3 or newer, and the right to ptrace, are needed): %w: %s", err, out)
	}
	return nil
}

// loads are the producers of a run.
type loads struct {
	done chan struct{}
	err  error
}

func (l *loads) wait() error {
	<-l.done
	return l.err
}

func (r *recording) load(ctx context.Context, address string, seed uint64) *loads {
	l := &loads{done: make(chan struct{})}
	errs := make([]error, len(r.Lanes))
	var wg sync.WaitGroup
	for i, lane := range r.Lanes {
		wg.Go(func() {
			errs[i] = lane.run(ctx, address, seed)
			if lane.Topic == "doomed" && errs[i] == nil {
				errs[i] = lane.delete(ctx, address)
			}
		})
	}
	go func() { // awaited by wait
		wg.Wait()
		l.err = errors.Join(errs...)
		close(l.done)
	}()
	return l
}

// await waits until a part of the load is acknowledged; a third into the load the doomed topic goes.
func (r *recording) await(ctx context.Context, l *loads, part float64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		done, total := 0, 0
		for _, lane := range r.Lanes {
			lane.mu.Lock()
			done += len(lane.Acked)
			lane.mu.Unlock()
			total += lane.Bursts * (lane.BurstMax + 1) / 2
		}
		if progress := float64(done) / float64(total); progress >= part {
			return nil
		} else if progress > 0.33 {
			r.doom()
		}
		select {
		case <-l.done:
			if l.err == nil {
				return nil // it was smaller than expected: the broker is killed idle
			}
			return l.err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// doom ends the producer of the topic that is deleted.
func (r *recording) doom() {
	for _, lane := range r.Lanes {
		if lane.Topic == "doomed" {
			lane.once.Do(func() { close(lane.gone) })
		}
	}
}

// broker is a tandem process, under strace or not. Its ports stay the same over restarts, so that clients find it again.
type broker struct {
	binary, dataDir, address, admin, logFile string

	process *process.Process
}

func startBroker(ctx context.Context, binary, dataDir string, strace []string) (*broker, error) {
	addresses, err := process.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	b := &broker{binary: binary, dataDir: dataDir, address: addresses[0], admin: addresses[1], logFile: filepath.Dir(dataDir) + ".log"}
	return b, b.start(ctx, strace)
}

// start runs the broker, under strace when there are arguments for it, and waits until it is ready.
func (b *broker) start(ctx context.Context, strace []string) (err error) {
	own := []string{"log.dirs=" + b.dataDir, "listeners=PLAINTEXT://" + b.address, "admin.listener=" + b.admin}
	command := process.Command{Name: "tandem", Args: process.Serve(b.binary, slices.Concat(own, settings)...), Log: b.logFile}
	if strace != nil {
		command.Args = slices.Concat([]string{"strace"}, strace, command.Args)
		command.Target = onlyChild
	}
	if b.process, err = process.Start(command); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := b.process.AwaitReady(ctx, b.admin); err != nil {
		b.kill()
		return err
	}
	return nil
}

// onlyChild is the broker that strace runs.
func onlyChild(strace int) (int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", strace, strace))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(children)))
}

// stop drains the broker, which must end with exit code 0.
func (b *broker) stop() error { return b.process.Stop(startLimit) }

// kill ends the broker with SIGKILL and waits for its end, and strace's.
func (b *broker) kill() { b.process.Kill() }
