package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// state is where a classic group is between two generations. Source: Kafka's ClassicGroupState.
type state uint8

const (
	stateEmpty      state = iota // no members; offsets may be there
	statePreparing               // members are to join again
	stateCompleting              // all have joined; the leader's assignment is awaited
	stateStable                  // every member has, or can ask for, its assignment
	stateDead                    // no longer in the map of groups
)

// String is the name that clients see.
func (s state) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// group is one classic consumer group. Guarded by the lock of its shard. Its methods do no I/O, start nothing and ask no clock:
// what they want written goes to the recordLog of its membership, what they want to be woken for into its timers.
type group struct {
	id           string
	state        state
	since        time.Time // when it came into this state
	generation   int32     // siteEpoch << 18 | n
	protocolType string    // "" = none: nobody ever joined, or only offsets were committed by name
	protocol     *string   // what the members voted for; nil while there is none
	leader       string    // member id; "" = none
	members      map[string]*member
	instances    map[string]string   // static members: instance id to member id
	pending      map[string]*timer   // member ids that were given out and have not joined yet
	unsynced     map[string]struct{} // members of this generation that have not sent SyncGroup
	topics       map[string]struct{} // what the members subscribe to; nil = not known
	joined       int                 // members that wait for the answer to their JoinGroup
	grown        bool                // a member came while the first rebalance was being delayed
}

// member is one member of a group.
type member struct {
	id               string
	instance         *string // static membership; nil = dynamic
	clientID         string
	clientHost       string // "/" and the address, as Kafka has it
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	protocols        []protocol // in the order of the client's preference
	assignment       []byte
}

// protocol is one of the ways of assignment that a member offers.
type protocol struct {
	name     string
	metadata []byte
}

// snapshot is the record that a broker needs to go on with this group: members with their assignments once it is Stable, none
// otherwise. Member metadata is that of the chosen protocol, as Kafka's.
func (g *group) snapshot() *kmsg.GroupMetadataValue { return nil }

// restoreGroup is the inverse of snapshot for a record read at start, of any version. Sessions of its members begin at now, so
// that members who go on with their heartbeats do not notice the restart. It fails when the record makes no sense.
func restoreGroup(id string, v *kmsg.GroupMetadataValue, now time.Time) (*group, error) {
	return nil, nil
}

// validateCommit says whether an OffsetCommit is accepted: nil or a Kafka error. instance is nil for a dynamic member.
// Source: ClassicGroup.validateOffsetCommit.
func (g *group) validateCommit(memberID string, instance *string, generation int32) error { return nil }

// subscribed says whether offsets of a topic are in use by members: when the subscriptions are not known, those of a consumer
// group count as subscribed to everything. Source: ClassicGroup.isSubscribedToTopic.
func (g *group) subscribed(topic string) bool { return false }

// consumers says whether members speak the consumer protocol (and not, say, Kafka Connect's).
func (g *group) consumers() bool { return g.protocolType == "consumer" }
