package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// recordLog is what groups need of the shard that they live in.
type recordLog interface {
	// persist appends the record of a group, or its tombstone when v is nil, and calls done under the shard's lock when that is
	// committed or has failed; never before persist returns. Records of a group are written in the order of the calls.
	persist(groupID string, v *kmsg.GroupMetadataValue, done func(now time.Time, err error))
}

// membership is the groups of one shard and what they wait for. Guarded by the shard's lock.
type membership struct {
	log    recordLog
	timers timers
	byID   map[string]*group
}

// newMembership returns a membership without groups.
func newMembership(log recordLog) *membership {
	return &membership{log: log, byID: make(map[string]*group)}
}

// find returns a group, or nil.
func (m *membership) find(id string) *group { return m.byID[id] }

// findOrCreate returns a group, an Empty one that is not persisted when there was none (for offsets committed by name).
func (m *membership) findOrCreate(id string, now time.Time) *group { return nil }

// adopt puts a group of restoreGroup into its place, instead of an earlier one. For use while the log is replayed.
func (m *membership) adopt(g *group) { m.byID[g.id] = g }

// loaded starts the sessions of all members: the log has been replayed.
func (m *membership) loaded(now time.Time) {}

// drop forgets a group that is Empty (expired, deleted, or a tombstone was replayed).
func (m *membership) drop(id string) {}

// touch is a sign of life of a member by its OffsetCommit, which counts in Stable and PreparingRebalance.
func (m *membership) touch(g *group, memberID string, now time.Time) {}

// unload answers NOT_COORDINATOR to all who wait and forgets all groups; nothing is persisted.
func (m *membership) unload() {}
