package site

import (
	"errors"
	"time"
)

// Role of a site.
type Role uint8

const (
	Standby Role = 0
	Active  Role = 1
)

func (r Role) String() string {
	if r == Active {
		return "active"
	}
	return "standby"
}

// Record is the durable state of a site's role.
type Record struct {
	Role       Role
	Epoch      uint32 // the site epoch that it writes, or follows
	Planned    bool   // Active: it took over by switchover
	Seen       uint32 // highest site epoch heard of
	Refused    uint32 // highest target of a switchover that it will never promote itself to
	LastTarget uint32 // highest target that it handed out: a target is used once
	Fencing    uint32 // Active: the target of the switchover that is going on; 0 = none
	StopRenew  bool   // Standby: taking over by waiting, so it renews the active's lease no more
}

// Options of a Site.
type Options struct {
	Index, PeerIndex uint32        // 0 to Sites-1, different
	Lease            time.Duration // how long the active may acknowledge after it was last confirmed; 0 = no lease
	Drift            time.Duration // what the standby waits on top: two clocks may differ by this within one lease
}

// Errors of operator orders.
var (
	ErrBusy       = errors.New("site: another change of the role is being stored")
	ErrNotActive  = errors.New("site: not an active site that serves")
	ErrServes     = errors.New("site: this site is active and serves")
	ErrNotLeased  = errors.New("site: the active is not known to be under a lease: say that it is down")
	ErrSwitching  = errors.New("site: a switchover is going on")
	ErrNoFailover = errors.New("site: no failover is going on")
	ErrExhausted  = errors.New("site: no site epoch is left")
)

// View is what links and partitions of this site know of its role. It may be older than the Site.
type View struct {
	Role       Role
	Epoch      uint32
	Planned    bool
	Fencing    uint32
	LastTarget uint32
	Abandoned  bool // the switchover to Fencing is to be given up
	Serving    bool // Active, confirmed in this run
	Boot       Boot
	PeerBoot   Boot // newest run of the other site that is known; 0 = none
	// Metadata is the n of the version of the active's logical metadata that stands here, under Epoch; 0 = none. Of a standby; the Site does
	// not know it, the driver fills it in.
	Metadata uint64
	// RTT is how long a message and its answer take between the sites at this moment, about; 0 = unknown. The driver fills it in.
	RTT time.Duration
}

// Site is one site's role. Not safe for concurrent use.
type Site struct {
	options Options
	boot    Boot
	rec     Record  // durable
	next    *Record // being stored
	// declined: the promotion by a switchover was refused, and is not tried again before a tick. Meanwhile whoever orders a failover is heard.
	declined bool
	reply    Message // sent once next is durable

	confirmed bool   // Active: may serve in this run
	above     uint32 // highest epoch of another active that was heard of in this run
	peerBoot  Boot
	fenced    Partitions // of the switchover that is going on, as far as this site knows
	abandoned uint32     // Active: the target that the standby is asked to refuse, until it has
	drained   map[PartitionID]uint32

	leased     bool          // Active: acknowledges only below leaseUntil
	leaseUntil time.Duration // own clock
	keepLease  bool          // what is being stored is a self-promotion
	giver      bool          // Standby: the active of this epoch is known, in this run, to be leased
	waiting    bool          // Standby: takes over once the lease that it gave last has ended
	waitFrom   time.Duration
}

// Found is the active site that no other one has met yet, in its first run or a later one: it has nobody to ask. rec is what it has made
// durable; an epoch above 0 says that it was made active by a failover.
func Found(options Options, boot Boot, rec Record) *Site {
	s := Restart(options, boot, rec)
	s.confirmed = true
	return s
}

// Restart is a site that begins a new run with what it had made durable. An active does not serve before it is confirmed. A standby
// that was waiting for the end of a lease renews no more, but does not wait on: meanwhile the active may have been failed over to, and
// write without a lease.
func Restart(options Options, boot Boot, rec Record) *Site {
	s := &Site{options: options, boot: boot, rec: rec, drained: map[PartitionID]uint32{}}
	s.leased = rec.Role == Active && options.Lease > 0
	return s
}

// Record is the durable state.
func (s *Site) Record() Record { return s.rec }

// View is what links are told. A site that is taking over hands nothing over any more: the other one could go by that and be promoted too.
func (s *Site) View() View {
	return View{Role: s.rec.Role, Epoch: s.rec.Epoch, Planned: s.rec.Planned, Fencing: s.rec.Fencing, LastTarget: s.rec.LastTarget, Abandoned: s.givesUp(),
		Serving: s.Serving() && (!s.failing() || s.keepLease), Boot: s.boot, PeerBoot: s.peerBoot}
}

// givesUp says that the standby is asked to refuse the target of the switchover that is going on.
func (s *Site) givesUp() bool {
	return s.Serving() && s.rec.Fencing != 0 && s.rec.Fencing == s.abandoned
}

// Serving says that clients are served here.
func (s *Site) Serving() bool { return s.rec.Role == Active && s.confirmed }

// MayAcknowledge says whether a write may be acknowledged now. It is asked when the answer leaves, not when the write comes.
func (s *Site) MayAcknowledge(now time.Duration) bool {
	return s.Serving() && (!s.leased || now < s.leaseUntil)
}

// PeerLeased says that this site, a standby, has learned in this run and epoch that the active acknowledges only under a lease.
func (s *Site) PeerLeased() bool { return s.rec.Role == Standby && s.giver }

// Step takes one input at the time now of this site's monotonic clock. Errors: those of operator orders; nothing has happened then.
func (s *Site) Step(now time.Duration, in Input) ([]Effect, error) {
	switch in := in.(type) {
	case Tick:
		return s.tick(now), nil
	case Received:
		return s.receive(in.Message), nil
	case Stored:
		return s.stored(now), nil
	case NotStored:
		s.next, s.reply, s.keepLease, s.declined = nil, nil, false, true
	case Partitions:
		s.fenced = in
		return s.promotePlanned(), nil // the marks may have come before it
	case Drained:
		if in.Boot == s.boot && s.rec.Role == Standby {
			s.drained[in.Partition] = in.Target
		}
		return s.promotePlanned(), nil
	case Met:
		s.options.PeerIndex = in.Index
	case Failover:
		return s.failover(now, in.ActiveIsDown)
	case AbortFailover:
		return s.abortFailover()
	case Switchover:
		return s.switchover()
	case AbortSwitchover:
		return s.abortSwitchover()
	case SelfPromote:
		return s.selfPromote()
	}
	return nil, nil
}

func (s *Site) tick(now time.Duration) []Effect {
	s.declined = false
	effects := []Effect{Send{Hello{Role: s.rec.Role, Epoch: s.rec.Epoch, Boot: s.boot, Sent: now}}}
	if s.givesUp() {
		effects = append(effects, Send{Refuse{s.abandoned}})
	}
	if s.next == nil && s.waitOver(now) && s.nextOwned() < epochsMax {
		return append(effects, s.promote(s.nextOwned(), false)...)
	}
	return append(effects, s.promotePlanned()...)
}

func (s *Site) receive(m Message) []Effect {
	switch m := m.(type) {
	case Hello:
		return s.hello(m)
	case Greeting:
		return s.greeting(m)
	case Refuse:
		return s.refuse(m)
	case Refused:
		if s.rec.Role == Active && s.rec.Fencing == m.Target && s.next == nil {
			rec := s.rec
			rec.Fencing = 0
			return s.store(rec)
		}
	}
	return nil
}

// store asks for rec to be made durable.
func (s *Site) store(rec Record) []Effect {
	s.next = &rec
	return []Effect{Store{rec}}
}

// stored takes over what has become durable.
func (s *Site) stored(now time.Duration) []Effect {
	if s.next == nil {
		return nil
	}
	old, reply := s.rec, s.reply
	s.rec, s.next, s.reply = *s.next, nil, nil
	switch {
	case s.rec.Epoch != old.Epoch || s.rec.Role != old.Role:
		s.enter()
		s.keepLease = false
	case s.rec.StopRenew && !old.StopRenew:
		s.waiting, s.waitFrom = true, now
	case !s.rec.StopRenew && old.StopRenew:
		s.waiting = false
	}
	if reply != nil {
		return []Effect{Send{reply}}
	}
	return nil
}

// enter begins a new epoch, in either role.
func (s *Site) enter() {
	clear(s.drained)
	s.giver, s.waiting = false, false
	s.confirmed = s.rec.Role == Active && s.above <= s.rec.Epoch
	if s.keepLease {
		return
	}
	// After a failover the site has no lease until its first renewal: the other one may be gone for good. After a switchover the
	// other one is there, and is asked first.
	s.leased, s.leaseUntil = s.options.Lease > 0 && s.rec.Role == Active && s.rec.Planned, 0
}

// hello answers, and follows a site that was promoted above this one.
func (s *Site) hello(m Hello) []Effect {
	effects := s.heard(m.Role, m.Epoch, m.Boot)
	same := m.Epoch == s.rec.Epoch && m.Role == Active && s.rec.Role == Standby
	failing := s.failing()
	return append(effects, Send{Greeting{Role: s.rec.Role, Epoch: s.rec.Epoch, Boot: s.boot, Nonce: m.Boot, Sent: m.Sent,
		Failing: failing, Renews: same && !failing, Leased: s.Serving() && s.leased && !failing}})
}

// failing says that this site is taking over, as far as anybody may rely on.
func (s *Site) failing() bool {
	return s.rec.StopRenew || s.next != nil && (s.next.StopRenew || s.next.Role == Active && s.next.Epoch != s.rec.Epoch)
}

func (s *Site) greeting(m Greeting) []Effect {
	if m.Nonce != s.boot {
		return nil // to an earlier run: what it says may have changed since
	}
	effects := s.heard(m.Role, m.Epoch, m.Boot)
	if s.rec.Role == Active && s.next == nil && s.above <= s.rec.Epoch && m.Role == Standby && m.Epoch <= s.rec.Epoch && !m.Failing {
		// Nobody was promoted above this site: it goes on in its epoch. An active of a lower epoch has to step down first.
		s.confirmed = true
	}
	switch {
	case m.Epoch != s.rec.Epoch:
	case s.rec.Role == Active && m.Role == Standby && m.Renews && s.confirmed && s.options.Lease > 0:
		s.leased, s.leaseUntil = true, max(s.leaseUntil, m.Sent+s.options.Lease)
	case s.rec.Role == Standby && m.Role == Active && m.Leased:
		s.giver = true
	}
	return effects
}

// heard takes note of the other site's role. A site that was promoted above this one is followed.
func (s *Site) heard(role Role, epoch uint32, boot Boot) []Effect {
	s.peerBoot = boot
	if epoch <= s.rec.Epoch || role != Active || epoch >= epochsMax {
		return nil
	}
	s.confirmed, s.above = false, max(s.above, epoch) // at once; whoever asks for the role must not wait for a disk
	if s.next != nil {
		return nil // the other site says it again
	}
	rec := s.rec
	rec.Role, rec.Epoch, rec.Seen = Standby, epoch, max(rec.Seen, epoch)
	rec.Planned, rec.Fencing, rec.StopRenew = false, 0, false
	return s.store(rec)
}
