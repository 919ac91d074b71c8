package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string // what must be in there
	}{
		{nil, exitUsage, "", "tandem serve"},
		{[]string{"help"}, exitDone, "tandem serve", ""},
		{[]string{"--help"}, exitDone, "tandem serve", ""},
		{[]string{"version"}, exitDone, "tandem ", ""},
		{[]string{"dr"}, exitUsage, "", "tandem dr switchover"},
		{[]string{"dr", "help"}, exitDone, "tandem dr switchover", ""},
		{[]string{"sevre"}, exitUsage, "", `unknown command "sevre"`},
		{[]string{"serve", "-h"}, exitDone, "", "-set"},
		{[]string{"serve", "-x"}, exitUsage, "", "-x"},
		{[]string{"serve", "file"}, exitUsage, "", `unexpected argument "file"`},
		{[]string{"serve", "--set", "log.dris=/x"}, exitUsage, "", `did you mean "log.dirs"?`},
		{[]string{"serve", "--set=num.partitions=0", "--set", "node.id=x"}, exitUsage, "", "num.partitions=0"},
		{[]string{"serve", "-c", "/nowhere/server.properties"}, exitUsage, "", "/nowhere/server.properties"},
		{[]string{checkMetaCommand}, exitUsage, "", "usage"},
		{[]string{checkMetaCommand, "/nowhere/meta.db"}, exitFailed, "", "/nowhere/meta.db"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(c.args, &stdout, &stderr); code != c.code {
			t.Errorf("%q: exit code %d, want %d\n%s%s", c.args, code, c.code, &stdout, &stderr)
		}
		if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: stdout %q, stderr %q; want %q and %q in them", c.args, &stdout, &stderr, c.stdout, c.stderr)
		}
	}
}

func TestMemoryOfMachine(t *testing.T) {
	if n := memoryOfMachine(); n < 64<<20 || n > 1<<50 {
		t.Errorf("this machine has %d bytes of memory?", n)
	}
}
