package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// cpu is the processor that a process is kept on, counted from 1; anyCPU = wherever the system puts it.
type cpu int

const anyCPU cpu = 0

// startOn starts a process on one processor. The Go runtime asks at its start how many it may use.
func startOn(cmd *exec.Cmd, on cpu) error {
	if on == anyCPU {
		return cmd.Start()
	}
	var before unix.CPUSet
	runtime.LockOSThread() // a process starts with the mask of the thread that made it
	defer runtime.UnlockOSThread()
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("processors of this thread: %w", err)
	}
	var one unix.CPUSet
	one.Set(int(on) - 1)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("processor %d: %w", on, err)
	}
	err := cmd.Start()
	if e := unix.SchedSetaffinity(0, &before); err == nil {
		err = e
	}
	return err
}

// stayOn keeps all threads of this process on one processor, those to come too; anyCPU = all that there are.
func stayOn(on cpu) error {
	var set unix.CPUSet
	for i := range runtime.NumCPU() {
		if on == anyCPU || i == int(on)-1 {
			set.Set(i)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH { // it may have ended
			return fmt.Errorf("processor %d: %w", on, err)
		}
	}
	return nil
}
