package group

import (
	"bytes"
	"slices"
	"time"
)

// member is one member of a group.
type member struct {
	id               string
	instance         *string // static membership; nil = dynamic
	clientID         string
	clientHost       string // "/" and the address, as Kafka has it
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	protocolType     string
	protocols        []Protocol // in the order of the client's preference
	assignment       []byte
	session          timer
	// fresh: its first JoinGroup has not been answered. It cannot send heartbeats then, and its client may be gone.
	fresh      bool
	joinWaiter func(JoinResult) // nil = it does not wait for the answer to a JoinGroup
	syncWaiter func(SyncResult) // nil = nor to a SyncGroup
}

// Protocol is one of the ways of assignment that a member offers.
type Protocol struct {
	Name     string
	Metadata []byte
}

// waiting says whether it is this broker's turn to speak, so that a heartbeat cannot be expected.
// Source: ClassicGroupMember.hasSatisfiedHeartbeat.
func (m *member) waiting() bool {
	return !m.fresh && (m.joinWaiter != nil || m.syncWaiter != nil)
}

// metadata is what the member says for a protocol; nil when it does not offer that.
func (m *member) metadata(name *string) []byte {
	if name == nil {
		return nil
	}
	for _, p := range m.protocols {
		if p.Name == *name {
			return p.Metadata
		}
	}
	return nil
}

// matches says whether the member has offered just this before.
func (m *member) matches(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// What counts in the budget of members besides their bytes: structs, places in maps and timers. A client can come with nothing
// else, many times.
const (
	memberOverhead   = 1024
	protocolOverhead = 128
	pendingOverhead  = 256
)

// size is the memory that the member takes, about.
func (m *member) size() int64 {
	n := memberOverhead + len(m.id) + len(m.clientID) + len(m.clientHost) + len(m.assignment)
	if m.instance != nil {
		n += len(*m.instance)
	}
	return int64(n) + protocolBytes(m.protocols)
}

func protocolBytes(protocols []Protocol) int64 {
	n := 0
	for _, p := range protocols {
		n += protocolOverhead + len(p.Name) + len(p.Metadata)
	}
	return int64(n)
}

// pendingBytes is the memory that a member id takes which was given out.
func pendingBytes(id string) int64 { return pendingOverhead + int64(len(id)) }

// distinct leaves out what has the name of an earlier one: Kafka's own clients offer each once.
func distinct(protocols []Protocol) []Protocol {
	seen := make(map[string]bool, len(protocols))
	return slices.DeleteFunc(protocols, func(p Protocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}
