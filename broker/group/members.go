package group

import "time"

// shards finds the groups of a group id, and says whether this broker has them.
type shards interface {
	// with runs fn under the lock of the shard that a group belongs to. It returns ErrNotCoordinator, ErrCoordinatorLoading or
	// ErrCoordinatorNotAvailable when it has not.
	with(groupID string, fn func(s *membership, now time.Time)) error
	// each runs fn for one shard of this broker after the other. ErrCoordinatorLoading: not all are there yet.
	each(fn func(s *membership)) error
}

// Members is the part of the Coordinator that knows who is in which group. Safe for concurrent use.
type Members struct{ shards shards }

// Join handles a JoinGroup. reply is called once, at once or when the members of the group have come together; it must not
// block.
func (m Members) Join(r JoinRequest, reply func(JoinResult)) {
	if r.GroupID == "" { // of no shard
		reply(refused(ErrInvalidGroupID, r.MemberID))
		return
	}
	err := m.shards.with(r.GroupID, func(s *membership, now time.Time) { s.join(now, r, reply) })
	if err != nil {
		reply(refused(err, r.MemberID))
	}
}

// Sync handles a SyncGroup. reply is called once, at once or when the leader's assignment is stored; it must not block.
func (m Members) Sync(r SyncRequest, reply func(SyncResult)) {
	if r.GroupID == "" {
		reply(SyncResult{Err: ErrInvalidGroupID})
		return
	}
	err := m.shards.with(r.GroupID, func(s *membership, now time.Time) { s.sync(now, r, reply) })
	if err != nil {
		reply(SyncResult{Err: err})
	}
}

// Heartbeat handles a Heartbeat. ErrRebalanceInProgress tells the member to join again.
func (m Members) Heartbeat(r HeartbeatRequest) error {
	if r.GroupID == "" {
		return ErrInvalidGroupID
	}
	var answer error
	if err := m.shards.with(r.GroupID, func(s *membership, now time.Time) { answer = s.heartbeat(now, r) }); err != nil {
		return err
	}
	return answer
}

// Leave handles a LeaveGroup. It returns what became of each member, in their order, or why nothing was done at all.
func (m Members) Leave(r LeaveRequest) (each []error, err error) {
	if r.GroupID == "" {
		return nil, ErrInvalidGroupID
	}
	var answer error
	if err := m.shards.with(r.GroupID, func(s *membership, now time.Time) { each, answer = s.leave(now, r) }); err != nil {
		return nil, err
	}
	return each, answer
}

// Describe tells about a group. Errors: ErrGroupIDNotFound (the state is then Dead), and those of a coordinator. An empty group
// id is no error: old clients could commit offsets under it.
func (m Members) Describe(groupID string) (Description, error) {
	var (
		d      Description
		answer error
	)
	if err := m.shards.with(groupID, func(s *membership, _ time.Time) { d, answer = s.describe(groupID) }); err != nil {
		return Description{}, err
	}
	return d, answer
}

// List lists the groups that a filter lets through, in no order. Errors: ErrCoordinatorLoading.
func (m Members) List(f Filter) ([]Listed, error) {
	var out []Listed
	if err := m.shards.each(func(s *membership) { out = append(out, s.list(f)...) }); err != nil {
		return nil, err
	}
	return out, nil
}
