package main

import (
	"bytes"
	"log/slog"
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tandembroker/tandem/broker/config"
)

func TestConnectionsLeaveFilesForSegments(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg := &config.Config{Network: config.Network{ConnectionsMax: math.MaxInt32}}
	limitFiles(cfg, slog.New(slog.NewTextHandler(&log, nil)))
	if n := uint64(cfg.Network.ConnectionsMax); n < limit.Cur && n != limit.Cur/2 || !strings.Contains(log.String(), "max.connections") && limit.Cur < math.MaxInt32 {
		t.Errorf("%d connections where %d files may be open\n%s", n, limit.Cur, &log)
	}
	cfg.Network.ConnectionsMax = 7
	if limitFiles(cfg, slog.New(slog.DiscardHandler)); cfg.Network.ConnectionsMax != 7 {
		t.Errorf("a limit of 7 connections became %d", cfg.Network.ConnectionsMax)
	}
}
