package raft

import (
	"cmp"
	"log/slog"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/log"
)

const (
	// appendEntriesMax is how many commands wait for the main loop of a Raft group, and how many it stores at once.
	appendEntriesMax = 64
	// never is far enough away for a timer that must not fire, and small enough that hashicorp/raft may double it.
	never = 50 * 365 * 24 * time.Hour
)

// Options configures a Host; the zero value is valid.
type Options struct {
	Logger *slog.Logger
	Now    func() time.Time // for the log's rate limit; hashicorp/raft has its own clock
	// Timeout is the heartbeat, election and lease timeout in one, since a lease apart from them deposes healthy leaders
	// (R5); 0 = 5 s. It must exceed the slowest disk sync, because heartbeats wait behind those (R1).
	Timeout time.Duration
	// CommitTimeout is how often an idle leader repeats the commit index to its followers; 0 = Timeout / 5.
	CommitTimeout time.Duration
	// Network connects the brokers of one process; nil = this Host is alone.
	Network *Network
	// HoldEpochBase says, at format level 2, that a log which no site was ever named in is not this site's to write: it gets no epoch
	// base when its leadership begins, and waits for the link's promote or follow. True unless this site is the active one in site epoch 0.
	// nil = never. It is called by many goroutines.
	HoldEpochBase func(storage.GroupID) bool
	// TrailingLogs is how many entries below a snapshot are kept for slow followers; 0 = none.
	TrailingLogs uint64
	// OnFatal is called when a machine can not go on (an entry that was checked does not decode): the process must end.
	OnFatal func(error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Network == nil {
		o.Network = NewNetwork()
	}
	if o.HoldEpochBase == nil {
		o.HoldEpochBase = func(storage.GroupID) bool { return false }
	}
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(err) }
	}
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.CommitTimeout = cmp.Or(o.CommitTimeout, o.Timeout/5)
	return o
}

// config is hashicorp/raft's configuration of one Raft group.
func (o *Options) config(id hraft.ServerID, logger *logger) *hraft.Config {
	return &hraft.Config{
		ProtocolVersion:    hraft.ProtocolVersionMax,
		HeartbeatTimeout:   o.Timeout,
		ElectionTimeout:    o.Timeout,
		LeaderLeaseTimeout: o.Timeout,
		CommitTimeout:      o.CommitTimeout,
		MaxAppendEntries:   appendEntriesMax,
		BatchApplyCh:       true,
		TrailingLogs:       o.TrailingLogs,
		SnapshotInterval:   never, // only Checkpoint takes snapshots
		SnapshotThreshold:  1 << 62,
		LocalID:            id,
		Logger:             logger,
		// The machine is restored by Host.Open, so that a bad snapshot takes one Raft group offline and names the reason.
		NoSnapshotRestoreOnStart: true,
		NoLegacyTelemetry:        true,
	}
}

// Boot is what a Raft group starts with when it does not exist yet.
type Boot struct {
	Folder     string // of the partition; "" = no segments (the metadata Raft group)
	Start      int64  // offset of the first record
	EpochFloor int32  // the first leader epoch; above those of a deleted topic of the same name
	LogOptions log.Options
	// Voters are the ServerIDs of the first members; nil = this broker alone.
	Voters []string
}
