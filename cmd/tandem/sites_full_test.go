//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk in the environment names a folder that the process mounts a disk of smallDiskBytes at, which it alone sees.
const (
	smallDisk      = "TANDEM_TEST_SMALL_DISK"
	smallDiskBytes = 64 << 20
	smallDiskCode  = 77 // exit code where there can be none
)

func mountSmallDisk() {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("tmpfs", os.Getenv(smallDisk), "tmpfs", 0, fmt.Sprintf("size=%d", smallDiskBytes))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no small disk:", err)
		os.Exit(smallDiskCode)
	}
}

// fillDisk writes a file of zeros that leaves 12 MiB, or removes it.
func fillDisk(op, dir string) (int, error) {
	file := filepath.Join(dir, "other")
	if op == "free" {
		return 1, os.Remove(file)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	zeros := make([]byte, 1<<20)
	for left := int64(s.Bavail)*s.Bsize - 12<<20; left > 0; left -= int64(len(zeros)) {
		if _, err := f.Write(zeros); err != nil {
			return 0, err
		}
	}
	return 1, nil
}

// TestStandbyWithAFullDisk takes no more, says so at both sites, and goes on by itself once there is room; the active does not mind.
func TestStandbyWithAFullDisk(t *testing.T) {
	t.Parallel()
	east, west := newSites(t)
	east.start()
	if err := os.MkdirAll(west.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if !canMount(t) {
		t.Skip("this machine lets nobody mount a small disk")
	}
	west.change("disk.reserve.bytes=4194304")
	west.process, west.address = startTandemAs(t, west.dir, func(c *exec.Cmd) {
		inNamespace(c)
		c.Env = append(c.Env, smallDisk+"="+west.dir)
	}, west.settings()...)
	east.write("t", 10, 10)
	west.has("t")
	west.breaks("fill", west.dir)
	east.write("t", 20_000, 1000)
	for _, s := range []*siteProcess{east, west} {
		s.tells("west takes no records", "make room on the disk of west; it goes on by itself")
		s.does(3, "switchover --to west --yes", "west cannot take over", "make room")
	}
	before := east.status()
	east.write("t", 1000, 1000) // the rest goes on
	west.breaks("free", west.dir)
	east.green()
	west.has("t")
	west.does(0, "verify", "equal: ")
	if n := west.linesOf("records of the other site are not taken"); n != 1 || before.Partitions.Halted != 0 {
		t.Errorf("%d lines say it; %+v", n, before.Partitions)
	}
	east.does(0, "switchover --to west --yes", "west is the active site")
}

// inNamespace lets the process mount what it alone sees, also where it is nobody special.
func inNamespace(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if id := os.Getuid(); id != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

func canMount(t *testing.T) bool {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "version")
	inNamespace(c)
	c.Env = append(os.Environ(), beTandem+"=1", smallDisk+"="+t.TempDir())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Logf("%v: %s", err, strings.TrimSpace(string(out)))
	}
	return err == nil
}
