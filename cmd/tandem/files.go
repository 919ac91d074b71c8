package main

import (
	"log/slog"
	"math"

	"golang.org/x/sys/unix"

	"github.com/tandembroker/tandem/broker/config"
)

// fewFiles is the limit of open files below which a broker is warned of: every connection takes one, and so does a segment that
// is being written to or was read not long ago (a quarter of the limit; others are closed and opened again).
const fewFiles = 65536

// limitFiles looks at the limit that the Go runtime has raised as far as it may, and keeps half of it from the connections.
func limitFiles(cfg *config.Config, logger *slog.Logger) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	most := min(uint64(cfg.Network.ConnectionsMax), connectionsMax(limit.Cur))
	if limit.Cur < fewFiles || most < uint64(cfg.Network.ConnectionsMax) {
		logger.Warn("few open files are allowed to this process; raise the hard limit (ulimit -Hn)", "limit", limit.Cur, "wanted",
			max(fewFiles, 2*cfg.Network.ConnectionsMax), "max.connections", most)
	}
	cfg.Network.ConnectionsMax, cfg.Network.ConnectionsCap = int(most), int(min(connectionsMax(limit.Cur), math.MaxInt32))
}

// connectionsMax is how many connections there may be where so many files may be open: clients that only connect must not be
// able to take what the next segment needs.
func connectionsMax(files uint64) uint64 { return max(files/2, 1) }
