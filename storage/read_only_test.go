//go:build linux

package storage

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// readOnlyDir tells the test binary, run by TestReadOnlyDirectory in namespaces of its own, which folder it may not write to.
const readOnlyDir = "TANDEM_TEST_READ_ONLY_DIR"

// A data directory that cannot be written to is refused by name: one without the right to write, and one on a file system that
// is mounted read-only. A user namespace makes both possible for everybody, root included: in it the test is nobody to whom
// modes do not apply, and may mount.
func TestReadOnlyDirectory(t *testing.T) {
	if dir := os.Getenv(readOnlyDir); dir != "" {
		openReadOnly(t, dir)
		return
	}
	for name, c := range map[string]struct {
		uid   int // in the namespace; root may mount there
		cause error
	}{
		"no right to write":     {1000, syscall.EACCES},
		"read-only file system": {0, syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o555); err != nil {
				t.Fatal(err)
			}
			if c.uid != 0 && os.Getuid() != 0 {
				openReadOnly(t, dir) // modes apply to us as we are
				return
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			command := exec.Command(self, "-test.run=^TestReadOnlyDirectory$", "-test.v")
			command.Env = append(os.Environ(), readOnlyDir+"="+dir)
			command.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: c.uid, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: c.uid, HostID: os.Getgid(), Size: 1}},
			}
			out, err := command.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Skipf("no user namespaces here: %v", err)
			}
			if err == nil && strings.Contains(string(out), "--- SKIP") {
				t.Skipf("no mounts in user namespaces here:\n%s", out)
			}
			if err != nil || !strings.Contains(string(out), c.cause.Error()) {
				t.Errorf("%v, want %q\n%s", err, c.cause, out)
			}
		})
	}
}

func openReadOnly(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() == 0 {
		const kept = syscall.MS_NOSUID | syscall.MS_NODEV // flags of the mount beneath, which the namespace may not take off
		err := syscall.Mount(dir, dir, "", syscall.MS_BIND, "")
		if err == nil {
			err = syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|kept, "")
		}
		if err != nil {
			t.Skip("mount: ", err)
		}
	}
	_, err := Open(testOptions(dir))
	if err == nil || !strings.Contains(err.Error(), "not writable") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
}
