package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLagsAreFromTheAckToTheFirstSight(t *testing.T) {
	start := time.Now()
	at := func(end int64, ms int) mark { return mark{end, start.Add(time.Duration(ms) * time.Millisecond)} }
	acks := []mark{at(3, 10), at(6, 20), at(9, 30), at(12, 40)}
	seen := []mark{at(3, 12), at(9, 29), at(12, 65)}
	got, err := lagsOf(acks, seen, start.Add(15*time.Millisecond))
	if want := []time.Duration{9 * time.Millisecond, 0, 25 * time.Millisecond}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v: the first does not count, the third was seen before its ack", got, err, want)
	}
	if _, err := lagsOf(acks, seen[:2], start); err == nil {
		t.Error("a batch that was never seen has a lag")
	}
}

// writeLog makes a partition's folder: each of segments is the base offsets of its batches, of three records each.
func writeLog(t *testing.T, segments ...[]int64) string {
	t.Helper()
	dir := t.TempDir()
	for _, bases := range segments {
		var all []byte
		for _, base := range bases {
			b := makeBatch(lagBatch, uint64(base))
			binary.BigEndian.PutUint64(b, uint64(base))
			clear(b[17:43]) // CRC, deltas and the times, which differ
			binary.BigEndian.PutUint32(b[23:], 2)
			all = append(all, b...)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%020d.log", bases[0])), all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLogsAreComparedWhateverTheirSegments(t *testing.T) {
	one := writeLog(t, []int64{0, 3}, []int64{6, 9})
	for _, c := range []struct {
		name     string
		segments [][]int64
		promoted bool
		bad      string // part of the error; empty = equal
	}{
		{"other segments", [][]int64{{0}, {3, 6, 9}}, false, ""},
		{"one batch less", [][]int64{{0, 3, 6}}, false, "behind offset 8: one log goes on, the other EOF"},
		{"one batch more", [][]int64{{0, 3, 6, 9, 12}}, false, "behind offset 11: one log EOF, the other goes on"},
		{"one batch missing", [][]int64{{0, 3, 9}}, false, "the batches at offset 6 differ"},
		{"one batch twice", [][]int64{{0, 3, 3, 6}}, false, "the batches at offset 6 differ"},
	} {
		got, err := comparePartition(one, writeLog(t, c.segments...), c.promoted)
		switch {
		case c.bad == "" && (err != nil || got.records != 12 || got.bytes != 4*lagBatch):
			t.Errorf("%s: %+v, %v", c.name, got, err)
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%s: %v, want %q", c.name, err, c.bad)
		}
	}
	gap := [][]int64{{0, 3}, {100}}
	if _, err := comparePartition(writeLog(t, gap...), writeLog(t, gap...), false); err == nil {
		t.Error("a gap in both logs is passed over")
	}
	if got, err := comparePartition(writeLog(t, gap...), writeLog(t, gap...), true); err != nil || got.records != 9 {
		t.Errorf("a gap of a promotion: %+v, %v", got, err)
	}
	twice := [][]int64{{0, 3, 3}}
	if _, err := comparePartition(writeLog(t, twice...), writeLog(t, twice...), true); err == nil {
		t.Error("offsets that do not rise are passed over")
	}
	if _, err := comparePartition(t.TempDir(), one, false); err == nil {
		t.Error("an empty folder is a log")
	}
}

// The loops write what they are told, and leave nothing.
func TestLoopsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	c, folder, err := startChildOn(cpu(1), "_disk", dir, "1000000", "200", "1000000", "200")
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for size := int64(0); size < 50_000; time.Sleep(time.Millisecond) { // polling is all that another process can do
		size = 0
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if info, err := os.Stat(name); err == nil {
				size += info.Size()
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes in %v", size, files)
		}
	}
	c.stop()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// A process is kept where it was put, and this one is not.
func TestStartOnMovesNobodyElse(t *testing.T) {
	var before, after, child unix.CPUSet
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	c, _, err := startChildOn(cpu(1), "_disk", t.TempDir(), "1", "1", "1", "1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	if err := unix.SchedGetaffinity(c.cmd.Process.Pid, &child); err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Fatal(err)
	}
	if child.Count() != 1 || !child.IsSet(0) || after != before {
		t.Errorf("the child has %d processors, this thread %d of %d", child.Count(), after.Count(), before.Count())
	}
}
