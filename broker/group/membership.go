package group

import (
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kmsg"

	logentry "github.com/tandembroker/tandem/storage/entry"
)

const (
	// freshMax is how long a new member may wait for the answer to its first JoinGroup. Source: Kafka's
	// group.new.member.join.timeout.ms.
	freshMax = 5 * time.Minute
	// pendingMax bounds the member ids of one group that were given out and not used. A client may ask for any number of them.
	pendingMax = 10_000
	// absentRetry is how often at most a rebalance is tried again in which nobody takes part.
	absentRetry = time.Second
	// generationBits is the part of a generation that is counted; above it is the site epoch (docs/formats.md, section 1).
	generationBits = logentry.LeaderEpochBits
	generationMask = 1<<generationBits - 1
)

// recordLog is what groups need of the shard that they live in.
type recordLog interface {
	// persist appends the record of a group, or its tombstone when v is nil, and calls done under the shard's lock when that is
	// committed or has failed; never before persist returns. Records of a group are written in the order of the calls.
	persist(groupID string, v *kmsg.GroupMetadataValue, done func(now time.Time, err error))
	// full says that the disk does not keep up: nothing should be persisted that can be done without.
	full() bool
}

// membershipOptions are the limits of groups. Their fields are Kafka's defaults where zero; SizeMax 0 = unlimited as in Kafka,
// InitialDelay 0 = none.
type membershipOptions struct {
	SiteEpoch    int32         // in which the groups are looked after
	InitialDelay time.Duration // group.initial.rebalance.delay.ms
	SessionMin   time.Duration // group.min.session.timeout.ms
	SessionMax   time.Duration // group.max.session.timeout.ms
	SizeMax      int           // group.max.size
	MemberBytes  *budget       // memory of all members, and of member ids that are given out; nil = unlimited
	Logger       *slog.Logger
	NewID        func() string // the random part of a member id
}

// membership is the groups of one shard and what they wait for. Guarded by the shard's lock. It does no I/O of its own, starts
// no goroutine and asks no clock: now comes with each call.
type membership struct {
	opts   membershipOptions
	log    recordLog
	timers timers
	byID   map[string]*group
}

// newMembership returns a membership without groups.
func newMembership(log recordLog, opts membershipOptions) *membership {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.NewID == nil {
		opts.NewID = uuid.NewString
	}
	if opts.SessionMin == 0 {
		opts.SessionMin = 6 * time.Second
	}
	if opts.SessionMax == 0 {
		opts.SessionMax = 30 * time.Minute
	}
	return &membership{opts: opts, log: log, byID: make(map[string]*group)}
}

// find returns a group, or nil.
func (s *membership) find(id string) *group { return s.byID[id] }

// findOrCreate returns a group, an Empty one that is not persisted when there was none (for offsets committed by name).
func (s *membership) findOrCreate(id string, now time.Time) *group {
	g, ok := s.byID[id]
	if !ok {
		g = newGroup(id, s.opts.SiteEpoch<<generationBits, now)
		s.byID[id] = g
	}
	return g
}

// adopt puts a group of restoreGroup into its place, instead of an earlier one. For use while the log is replayed.
func (s *membership) adopt(g *group) { s.byID[g.id] = g }

// takeOver begins a group anew that was looked after in an earlier site epoch, at this site or the other: its members are unknown here, so
// that none of them commits what it has read of a log that went on elsewhere. They join again, and fetch the committed offsets. How many there
// were is kept: within one site Kafka's members survive a new coordinator, so a promotion costs a group no initial rebalance delay either.
func (s *membership) takeOver(g *group, now time.Time) {
	if g.generation>>generationBits >= s.opts.SiteEpoch {
		return
	}
	fresh := newGroup(g.id, s.opts.SiteEpoch<<generationBits, now) // now: offsets are not older than the takeover
	fresh.protocolType, fresh.before = g.protocolType, len(g.order)
	fresh.topics = fresh.subscriptions()
	s.byID[g.id] = fresh
}

// loaded starts the sessions of all members: the log has been replayed. Members that go on with their heartbeats do not notice
// that their coordinator was away.
func (s *membership) loaded(now time.Time) {
	for _, g := range s.byID {
		for _, m := range g.order {
			s.opts.MemberBytes.add(m.size())
			s.alive(g, m, now)
		}
		if s.opts.SizeMax > 0 && len(g.order) > s.opts.SizeMax {
			s.prepareRebalance(g, now, "the group is larger than group.max.size allows")
		}
	}
}

// drop forgets a group (expired, deleted, or a tombstone was replayed). Member ids that it has given out are unknown from now on.
func (s *membership) drop(id string) {
	if g, ok := s.byID[id]; ok {
		s.forget(g)
		delete(s.byID, id)
	}
}

// unload answers NOT_COORDINATOR to all who wait and forgets all groups; nothing is persisted.
func (s *membership) unload() {
	for _, g := range s.byID {
		s.forget(g)
	}
	clear(s.byID)
}

func (s *membership) forget(g *group) {
	g.state = stateDead
	for _, m := range g.order {
		s.answerJoin(g, m, refused(ErrNotCoordinator, m.id))
		s.answerSync(m, SyncResult{Err: ErrNotCoordinator})
		s.timers.stop(&m.session)
		s.opts.MemberBytes.add(-m.size())
	}
	for id := range g.pending {
		s.withdraw(g, id)
	}
	s.timers.stop(&g.joinTimer)
	s.timers.stop(&g.syncTimer)
}

// touch is a sign of life of a member by its OffsetCommit, which counts in Stable and PreparingRebalance.
func (s *membership) touch(g *group, memberID string, now time.Time) {
	if m, ok := g.members[memberID]; ok && (g.state == stateStable || g.state == statePreparing) {
		s.alive(g, m, now)
	}
}

// alive starts a member's session anew.
func (s *membership) alive(g *group, m *member, now time.Time) {
	s.expect(g, m, now.Add(m.sessionTimeout))
}

// expect removes a member that gives no sign of life until then.
func (s *membership) expect(g *group, m *member, until time.Time) {
	if m.session.fire == nil {
		m.session.fire = func(now time.Time) { s.expire(g, m, now) }
	}
	s.timers.set(&m.session, until)
}

// expire is the end of a member's session.
func (s *membership) expire(g *group, m *member, now time.Time) {
	if m.waiting() {
		return // its session starts anew with the answer that it waits for
	}
	s.opts.Logger.Info("member failed", "group", g.id, "member", m.id, "session", m.sessionTimeout)
	s.remove(g, m)
	s.afterRemoval(g, now, "a member's session ended")
}

// remove takes a member out of its group. Whatever it waits for is answered with UNKNOWN_MEMBER_ID: its client, if it is still
// there, joins as a new member.
func (s *membership) remove(g *group, m *member) {
	s.answerJoin(g, m, refused(ErrUnknownMember, ""))
	s.answerSync(m, SyncResult{Err: ErrUnknownMember})
	s.timers.stop(&m.session)
	s.opts.MemberBytes.add(-m.size())
	g.remove(m)
}

// afterRemoval goes on with a group that members have been taken out of.
func (s *membership) afterRemoval(g *group, now time.Time, reason string) {
	switch g.state {
	case stateStable, stateCompleting:
		s.prepareRebalance(g, now, reason)
	case statePreparing:
		if g.allJoined() {
			s.completeJoin(g, now)
		}
	case stateEmpty, stateDead:
	}
}

// withdraw takes back a member id that was given out, when it has been used or will not be. False: it is none.
func (s *membership) withdraw(g *group, memberID string) bool {
	t, ok := g.pending[memberID]
	if ok {
		s.timers.stop(t)
		delete(g.pending, memberID)
		s.opts.MemberBytes.add(-pendingBytes(memberID))
	}
	return ok
}

// expirePending is the end of the time in which a member id had to be used.
func (s *membership) expirePending(g *group, memberID string, now time.Time) {
	s.withdraw(g, memberID)
	s.opts.Logger.Info("member id was not used", "group", g.id, "member", memberID)
	if g.state == statePreparing && g.allJoined() {
		s.completeJoin(g, now)
	}
}

// answerJoin answers a waiting JoinGroup.
func (s *membership) answerJoin(g *group, m *member, r JoinResult) bool {
	if m.joinWaiter == nil {
		return false
	}
	m.joinWaiter(r)
	m.joinWaiter = nil
	g.joining--
	return true
}

// answerSync answers a waiting SyncGroup.
func (s *membership) answerSync(m *member, r SyncResult) bool {
	if m.syncWaiter == nil {
		return false
	}
	m.syncWaiter(r)
	m.syncWaiter = nil
	return true
}
