//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "/r"

func hexText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return `"` + b.String() + `"`
}

// follows has a disk do what a trace says. "@text@" stands for a string.
func follows(t *testing.T, lines ...string) (*disk, []event) {
	t.Helper()
	var text strings.Builder
	for i, l := range lines {
		parts := strings.Split(l, "@")
		for j := 1; j < len(parts); j += 2 {
			parts[j] = hexText(parts[j])
		}
		pid, call, _ := strings.Cut(strings.Join(parts, ""), " ")
		fmt.Fprintf(&text, "%s  1700000000.%09d %s\n", pid, i, call)
	}
	name := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := readTrace(name, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	s := newSystem(d, root, events)
	for _, e := range events {
		if _, err := s.take(e); err != nil {
			t.Fatalf("line %d: %v", e.line, err)
		}
	}
	return d, events
}

// contents is `path=content` of all files, and `path/` of folders.
func contents(files []file) string {
	var all []string
	for _, f := range files {
		switch {
		case f.path == "":
		case f.dir:
			all = append(all, f.path+"/")
		default:
			all = append(all, fmt.Sprintf("%s=%s", f.path, f.content))
		}
	}
	return strings.Join(all, " ")
}

func TestWhatIsDurable(t *testing.T) {
	for name, c := range map[string]struct {
		lines       []string
		synced, now string
	}{
		"a name without a sync of its folder": {[]string{
			`1 openat(AT_FDCWD, @/r/a@, O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3`, `1 write(3, @xy@, 2) = 2`, `1 fsync(3) = 0`,
		}, "", "a=xy"},
		"a file and its folder": {[]string{
			`1 openat(AT_FDCWD, @/r/a@, O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3`, `1 write(3, @xy@, 2) = 2`, `1 fdatasync(3) = 0`,
			`1 openat(AT_FDCWD, @/r@, O_RDONLY|O_CLOEXEC) = 4`, `1 fsync(4) = 0`, `1 pwrite64(3, @Z@, 1, 1) = 1`,
		}, "a=xy", "a=xZ"},
		"a write that ends behind the beginning of the sync": {[]string{
			`1 openat(AT_FDCWD, @/r/a@, O_RDWR|O_CREAT, 0644) = 3`, `1 openat(AT_FDCWD, @/r@, O_RDONLY) = 4`, `1 fsync(4) = 0`,
			`2 pwrite64(3, @xy@, 2, 0 <unfinished ...>`, `1 fsync(3 <unfinished ...>`, `2 <... pwrite64 resumed>) = 2`, `1 <... fsync resumed>) = 0`,
		}, "a=", "a="}, // thread 2 is another process here: it has no descriptor 3
		"the same of a thread": {[]string{
			`1 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, stack=0x1} => {parent_tid=[2]}, 88) = 2`,
			`1 openat(AT_FDCWD, @/r/a@, O_RDWR|O_CREAT, 0644) = 3`, `1 openat(AT_FDCWD, @/r@, O_RDONLY) = 4`, `1 fsync(4) = 0`,
			`2 pwrite64(3, @xy@, 2, 0 <unfinished ...>`, `1 fsync(3 <unfinished ...>`, `2 <... pwrite64 resumed>) = 2`, `1 <... fsync resumed>) = 0`,
		}, "a=", "a=xy"},
		"calls that fail, or write less": {[]string{
			`1 openat(AT_FDCWD, @/r/a@, O_RDWR|O_CREAT, 0644) = 3`, `1 write(3, @abcd@, 4) = 2`, `1 pwrite64(3, @Z@, 1, 0) = -1 ENOSPC (No space left on device)`,
			`1 unlinkat(AT_FDCWD, @/r/a@, AT_REMOVEDIR) = -1 ENOTDIR (Not a directory)`, `1 openat(AT_FDCWD, @/r@, O_RDONLY) = 4`,
			`1 fsync(3) = -1 EIO (Input/output error)`, `1 fsync(4) = 0`,
		}, "a=", "a=ab"},
		"renames, folders, truncations": {[]string{
			`1 mkdirat(AT_FDCWD, @/r/d@, 0755) = 0`, `1 openat(AT_FDCWD, @/r@, O_RDONLY) = 4`, `1 fsync(4) = 0`, `1 close(4) = 0`,
			`1 openat(AT_FDCWD, @/r/d@, O_RDONLY|O_DIRECTORY) = 4`, `1 openat(4, @a@, O_RDWR|O_CREAT, 0644) = 3`, `1 write(3, @abcd@, 4) = 4`,
			`1 fsync(3) = 0`, `1 fsync(4) = 0`, `1 ftruncate(3, 1) = 0`, `1 renameat(AT_FDCWD, @/r/d/a@, AT_FDCWD, @/r/d/b@) = 0`,
		}, "d/ d/a=abcd", "d/ d/b=a"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := follows(t, c.lines...)
			r := rand.New(rand.NewPCG(1, 1))
			if got := contents(d.lose(syncedOnly, r)); got != c.synced {
				t.Errorf("synced is %q, want %q", got, c.synced)
			}
			if got := contents(d.lose(all, r)); got != c.now {
				t.Errorf("written is %q, want %q", got, c.now)
			}
		})
	}
}

// Each loss by chance must come up with all that it can leave, and with nothing else.
func TestLossByChance(t *testing.T) {
	d, _ := follows(t,
		`1 openat(AT_FDCWD, @/r@, O_RDONLY) = 4`, `1 openat(AT_FDCWD, @/r/a@, O_RDWR|O_CREAT, 0644) = 3`, `1 pwrite64(3, @AB@, 2, 0) = 2`,
		`1 fsync(3) = 0`, `1 fsync(4) = 0`, `1 pwrite64(3, @c@, 1, 1) = 1`, `1 pwrite64(3, @d@, 1, 2) = 1`,
		`1 renameat(AT_FDCWD, @/r/a@, AT_FDCWD, @/r/b@) = 0`, `1 openat(AT_FDCWD, @/r/n@, O_RDWR|O_CREAT, 0644) = 5`)
	contentsOf := []string{"AB", "Ac", "Acd", "AB\x00", "Ac\x00"} // versions of the piece and sizes; the size also cuts
	want := map[loss][]string{}
	for _, c := range contentsOf {
		want[ordered] = append(want[ordered], "a="+c, "b="+c, "b="+c+" n=")
		want[anything] = append(want[anything], "a="+c, "b="+c, "b="+c+" n=", "a="+c+" n=")
	}
	for l, want := range want {
		seen := map[string]bool{}
		for i := range uint64(3000) {
			got := contents(d.lose(l, rand.New(rand.NewPCG(i, 2))))
			if !slices.Contains(want, got) {
				t.Fatalf("%s: %q", l, got)
			}
			seen[got] = true
		}
		for _, w := range want {
			if !seen[w] {
				t.Errorf("%s: never %q", l, w)
			}
		}
	}
}

func TestPromisesAreOlderThanTheNextCall(t *testing.T) {
	_, events := follows(t, `1 fsync(3) = 0`, `1 fsync(3) = 0`)
	l := &lane{Acked: []ack{{events[0].next - 1, 5}, {events[0].next, 9}}}
	if got := l.ackedAt(events[1].next); got != 5 || !events[1].end {
		t.Fatalf("%d records are promised", got)
	}
}

func TestCutStringIsAnError(t *testing.T) {
	if _, _, err := parseLine(`1 1700000000.000000001 write(3, "\x61"..., 5) = 5`, 1, map[int]*call{}); err == nil {
		t.Fatal("a trace without all its bytes is believed")
	}
}
