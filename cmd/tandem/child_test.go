//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// beTandem in the environment makes the test binary be tandem: the same code as the product's, as a process of its own that may
// end and be killed.
const beTandem = "TANDEM_TEST_BE_TANDEM"

func TestMain(m *testing.M) {
	switch os.Getenv(beTandem) {
	case "":
		manyAtATime()
		os.Exit(m.Run())
	case "die":
		dying(slog.New(slog.NewTextHandler(os.Stderr, nil)))(errors.New(strings.Repeat("x", 1<<20))) // more than a pipe takes
	}
	if os.Getenv(smallDisk) != "" {
		mountSmallDisk()
	}
	go breakOnRequest() // ends with the process
	if text := os.Getenv(wrongClock); text != "" && os.Args[1] == "serve" {
		os.Exit(serveWithClock(text, os.Args[2:]))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// manyAtATime lets more tests run in parallel than there are processors, unless a flag says how many: most of the time they wait for processes.
func manyAtATime() {
	const parallel = "test.parallel"
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == parallel })
	if !told {
		_ = flag.Set(parallel, fmt.Sprint(3*runtime.GOMAXPROCS(0))) // a number is taken
	}
}

// breakOnRequest reads lines "write PATTERN" and "sync PATTERN" from standard input: from then on the kernel answers such calls
// on all open files whose path matches with EIO. "fill FOLDER" leaves 12 MiB free there, "free FOLDER" takes that back. It answers "broken N", the number of files, or why it could not.
func breakOnRequest() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		op, pattern, _ := strings.Cut(lines.Text(), " ")
		n, err := 0, error(nil)
		if op == "fill" || op == "free" {
			n, err = fillDisk(op, pattern)
		} else {
			n, err = breakFiles(op, pattern)
		}
		if err != nil {
			fmt.Println("cannot:", err)
			continue
		}
		fmt.Println("broken", n)
	}
}

// calls that fail. What is mapped into memory cannot be broken so; nothing is written that way.
var calls = map[string][]uintptr{
	"write": {unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV},
	"sync":  {unix.SYS_FSYNC, unix.SYS_FDATASYNC},
}

func breakFiles(op, pattern string) (files int, err error) {
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return 0, err
	}
	var fds []uint32
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil {
			continue // closed meanwhile
		}
		if ok, err := filepath.Match(pattern, name); err != nil {
			return 0, err
		} else if !ok {
			continue
		}
		var fd uint32
		if _, err := fmt.Sscan(filepath.Base(link), &fd); err != nil {
			return 0, err
		}
		fds = append(fds, fd)
	}
	return len(fds), install(filter(calls[op], fds))
}

// filter is a seccomp program: EIO for these calls on these files, all else is allowed.
func filter(calls []uintptr, fds []uint32) []unix.SockFilter {
	const number, firstArgument = 0, 16 // places in struct seccomp_data; the argument's low half, on a little-endian machine
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(to uint32, skip int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: to, Jt: uint8(skip)}
	}
	end := func(with uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: with} }
	p := []unix.SockFilter{load(number)}
	for i, c := range calls {
		p = append(p, equal(uint32(c), len(calls)-i))
	}
	p = append(p, end(unix.SECCOMP_RET_ALLOW), load(firstArgument))
	for i, fd := range fds {
		p = append(p, equal(fd, len(fds)-i))
	}
	return append(p, end(unix.SECCOMP_RET_ALLOW), end(unix.SECCOMP_RET_ERRNO|uint32(unix.EIO)))
}

// install puts the program in front of every thread's system calls, for good.
func install(program []unix.SockFilter) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&f)))
	if errno != 0 {
		return errno
	}
	if r != 0 {
		return fmt.Errorf("thread %d has a filter of its own", r)
	}
	return nil
}
