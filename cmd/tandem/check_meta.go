package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/tandembroker/tandem/storage/meta"
)

// checkMetaCommand is the hidden subcommand that checks a bbolt file. It is a process of its own because a damaged file makes
// bbolt panic or touch memory that is not there, which no recover catches.
const checkMetaCommand = "check-meta"

func checkMeta(args []string, stderr io.Writer) int {
	if len(args) != 1 {
		_, _ = fmt.Fprintf(stderr, "usage: tandem %s FILE\n", checkMetaCommand)
		return exitUsage
	}
	if err := meta.CheckFile(args[0]); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitDone
}

// checkMetaInChild runs check-meta on path in a child process. Errors: what the child said, or how it died.
func checkMetaInChild(path string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("check of %s: %w", path, err)
	}
	command := exec.Command(self, checkMetaCommand, path)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		text, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n\n") // of a crash, the message without the stacks
		return fmt.Errorf("%s is damaged: %s (%w)", path, text, err)
	}
	return nil
}
