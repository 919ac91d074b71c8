package main

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// fewFiles is the limit of open files below which a broker is warned of: every segment and every connection takes one, and
// running out of them while a segment is created stops the broker.
const fewFiles = 65536

// warnFewFiles looks at the limit that the Go runtime has raised as far as it may.
func warnFewFiles(logger *slog.Logger) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < fewFiles {
		logger.Warn("few open files are allowed to this process; raise the hard limit (ulimit -Hn)", "limit", limit.Cur, "wanted", fewFiles)
	}
}
