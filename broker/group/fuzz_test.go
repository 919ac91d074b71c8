package group

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzRestore reads group records of any bytes: what is taken from them is a group without contradictions, that goes on, and whose
// own record says the same again.
func FuzzRestore(f *testing.F) {
	full := kmsg.NewGroupMetadataValue()
	full.Version, full.ProtocolType, full.Generation, full.CurrentStateTimestamp = groupRecordVersion, consumerType, 5, 1000
	full.Protocol, full.Leader = pointer("range"), pointer("a")
	for _, id := range []string{"a", "b"} {
		m := kmsg.NewGroupMetadataValueMember()
		m.MemberID, m.InstanceID, m.SessionTimeoutMillis, m.RebalanceTimeoutMillis = id, pointer("i"+id), 10_000, 60_000
		m.Subscription, m.Assignment = subscription("@t"), []byte(id)
		full.Members = append(full.Members, m)
	}
	f.Add(full.AppendTo(nil))
	for version := range int16(groupRecordVersion) {
		full.Version = version
		f.Add(full.AppendTo(nil))
	}
	empty := kmsg.NewGroupMetadataValue()
	empty.Version = groupRecordVersion
	f.Add(empty.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := kmsg.NewGroupMetadataValue()
		if len(b) > 1<<16 || v.ReadFrom(b) != nil {
			return
		}
		g, err := restoreGroup("g", &v)
		if err != nil {
			return
		}
		for _, m := range g.order {
			m.sessionTimeout = min(m.sessionTimeout, time.Hour) // of the 100 days below few are to be spent waiting
		}
		if err := g.consistent(); err != nil {
			t.Fatal(err)
		}
		again, err := restoreGroup("g", g.snapshot(g.assignments()))
		if err != nil {
			t.Fatal(err)
		}
		if again.generation != g.generation || again.leader != g.leader || len(again.order) != len(g.order) || !again.since.Equal(g.since) {
			t.Fatalf("%+v, then %+v", g, again)
		}
		for i, m := range g.order {
			if o := again.order[i]; o.id != m.id || o.sessionTimeout != m.sessionTimeout || !o.matches(m.protocols) || !slices.Equal(o.assignment, m.assignment) {
				t.Fatalf("%+v, then %+v", m, o)
			}
		}
		w := newWorld(membershipOptions{})
		w.s.adopt(g)
		w.s.loaded(w.now)
		w.check(t)
		w.advance(100 * 24 * time.Hour)
		w.check(t)
		if g.state != stateEmpty {
			t.Fatalf("nobody came back, and the group is %s", g.state)
		}
	})
}

// FuzzMembership sends requests of any content: each is answered, and groups do not contradict themselves.
func FuzzMembership(f *testing.F) {
	f.Add([]byte("\x00ab\x00ab\x01a\x02a\x06\x10\x03b\x04a\x01\x09\x08"))
	f.Add([]byte("\x00\x03\x00\x04\x05\x40\x07\x01\x01\x02\x02\x06\x80\x00\x03\x00\x06\xff"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1000 {
			return
		}
		w := newWorld(membershipOptions{InitialDelay: time.Second, SizeMax: 3, MemberBytes: &budget{limit: 3 * (memberOverhead + 2*protocolOverhead)}})
		f := &fuzzClients{world: w, script: script, ids: []string{""}}
		for len(f.script) > 0 {
			f.step()
			w.check(t)
		}
		w.held = false
		w.pump()
		w.advance(100 * 24 * time.Hour)
		w.check(t)
		if f.open != 0 {
			t.Fatalf("%d requests are not answered", f.open)
		}
	})
}

// fuzzClients takes requests from the bytes of a script.
type fuzzClients struct {
	*world
	script     []byte
	ids        []string
	generation int32
	open       int // requests without an answer
}

func (f *fuzzClients) next() byte {
	if len(f.script) == 0 {
		return 0
	}
	b := f.script[0]
	f.script = f.script[1:]
	return b
}

func (f *fuzzClients) pick() (id string, instance *string) {
	b := f.next()
	if b&0x80 != 0 {
		instance = pointer(string(rune('i' + b>>5&3)))
	}
	return f.ids[int(b&0x1f)%len(f.ids)], instance
}

func (f *fuzzClients) step() {
	switch f.next() % 8 {
	case 0, 1:
		f.join()
	case 2:
		id, instance := f.pick()
		f.open++
		f.s.sync(f.now, SyncRequest{
			GroupID: "g", MemberID: id, InstanceID: instance, Generation: f.generation - int32(f.next()&1),
			Assignments: maps.All(map[string][]byte{id: {f.next()}, "x": {1}}),
		}, func(SyncResult) { f.open-- })
	case 3:
		id, instance := f.pick()
		_ = f.s.heartbeat(f.now, HeartbeatRequest{GroupID: "g", MemberID: id, InstanceID: instance, Generation: f.generation})
	case 4:
		id, instance := f.pick()
		_, _ = f.s.leave(f.now, LeaveRequest{GroupID: "g", Members: []LeaveMember{{MemberID: id, InstanceID: instance}}})
	case 5:
		f.held = !f.held
	case 6:
		f.advance(time.Duration(f.next()) * 200 * time.Millisecond)
	case 7:
		if len(f.log.open) > 0 {
			err := error(nil)
			if f.next()&1 != 0 {
				err = ErrNotCoordinator
			}
			f.log.settle(f.now, err)
		}
	}
	f.pump()
}

func (f *fuzzClients) join() {
	id, instance := f.pick()
	flags := f.next()
	r := JoinRequest{
		GroupID: "g", MemberID: id, InstanceID: instance, ProtocolType: []string{consumerType, consumerType, consumerType, "connect"}[flags&3],
		SessionTimeout: 6 * time.Second, RebalanceTimeout: time.Duration(int8(f.next())) * time.Second,
		NeedsID: flags&4 != 0, SkipsAssignment: flags&8 != 0,
	}
	for n := f.next() & 3; n > 0; n-- {
		r.Protocols = append(r.Protocols, Protocol{Name: string(rune('p' + f.next()&3)), Metadata: f.script[:min(3, len(f.script))]})
	}
	f.open++
	f.s.join(f.now, r, func(res JoinResult) {
		f.open--
		f.generation = max(f.generation, res.Generation)
		if res.MemberID != "" && len(f.ids) < 32 && !slices.Contains(f.ids, res.MemberID) {
			f.ids = append(f.ids, res.MemberID)
		}
	})
}
