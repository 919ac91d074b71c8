package group

import (
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakeLog is a recordLog whose records are committed, or fail, when the test says so.
type fakeLog struct {
	open    []fakeRecord
	stored  map[string][]byte // last committed record of each group, as bytes
	written func(id string, v *kmsg.GroupMetadataValue)
	crowded bool
}

type fakeRecord struct {
	id    string
	value []byte // nil = tombstone
	done  func(now time.Time, err error)
}

func (l *fakeLog) persist(id string, v *kmsg.GroupMetadataValue, done func(now time.Time, err error)) {
	r := fakeRecord{id: id, done: done}
	if v != nil {
		r.value = v.AppendTo(nil)
	}
	if l.written != nil {
		l.written(id, v)
	}
	l.open = append(l.open, r)
}

func (l *fakeLog) full() bool { return l.crowded }

// settle ends the oldest append.
func (l *fakeLog) settle(now time.Time, err error) {
	r := l.open[0]
	l.open = l.open[1:]
	if err == nil {
		if r.value == nil {
			delete(l.stored, r.id)
		} else {
			l.stored[r.id] = r.value
		}
	}
	r.done(now, err)
}

// world is a membership under a clock of the test's own.
type world struct {
	log  *fakeLog
	opts membershipOptions
	s    *membership
	now  time.Time
	held bool // appends stay open
	ids  int
}

func newWorld(opts membershipOptions) *world {
	w := &world{log: &fakeLog{stored: make(map[string][]byte)}, now: time.UnixMilli(1_000_000)}
	opts.NewID = func() string { w.ids++; return fmt.Sprint(w.ids) }
	w.opts = opts
	w.s = newMembership(w.log, opts)
	return w
}

// pump commits what has been appended.
func (w *world) pump() {
	for !w.held && len(w.log.open) > 0 {
		w.log.settle(w.now, nil)
	}
}

// advance moves the clock, and stops wherever something is due.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for n := 0; ; n++ {
		if n > 100_000 {
			panic("the timers do not come to rest")
		}
		at, ok := w.s.timers.next()
		if !ok || at.After(end) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.s.timers.run(w.now)
		w.pump()
	}
	w.now = end
}

// restart begins anew with what was committed. Appends that are open are lost; who waits gets no answer.
func (w *world) restart(t testing.TB) {
	t.Helper()
	w.log.open = nil
	w.opts.MemberBytes = w.opts.MemberBytes.sameLimit()
	w.s = newMembership(w.log, w.opts)
	for id, b := range w.log.stored {
		v := kmsg.NewGroupMetadataValue()
		if err := v.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		g, err := restoreGroup(id, &v)
		if err != nil {
			t.Fatal(err)
		}
		w.s.adopt(g)
		w.s.takeOver(g, w.now)
	}
	w.s.loaded(w.now)
	w.pump()
}

func (b *budget) sameLimit() *budget {
	if b == nil {
		return nil
	}
	return &budget{limit: b.limit}
}

// check fails when a group contradicts itself.
func (w *world) check(t testing.TB) {
	t.Helper()
	bytes := int64(0)
	for id, g := range w.s.byID {
		if err := g.consistent(); err != nil {
			t.Fatalf("group %s: %v", id, err)
		}
		for _, m := range g.order {
			bytes += m.size()
			if m.session.index == 0 && !m.waiting() {
				t.Fatalf("group %s: nobody looks whether %s is alive", id, m.id)
			}
		}
		for p, timer := range g.pending {
			bytes += pendingBytes(p)
			if timer.index == 0 {
				t.Fatalf("group %s: pending %s stays for ever", id, p)
			}
		}
		if g.state == statePreparing && g.joinTimer.index == 0 {
			t.Fatalf("group %s: nothing ends its rebalance", id)
		}
		if len(g.unsynced) > 0 && g.syncTimer.index == 0 {
			t.Fatalf("group %s: nothing ends the wait for SyncGroup", id)
		}
	}
	if b := w.opts.MemberBytes; b != nil && b.used.Load() != bytes {
		t.Fatalf("members hold %d bytes, counted are %d", bytes, b.used.Load())
	}
}

// consistent compares what a group holds twice.
func (g *group) consistent() error {
	joining, offered, static := 0, map[string]int{}, 0
	for _, m := range g.order {
		if g.members[m.id] != m {
			return fmt.Errorf("%s is not in the map", m.id)
		}
		if m.joinWaiter != nil {
			joining++
		}
		if m.instance != nil {
			static++
			if g.instances[*m.instance] != m {
				return fmt.Errorf("instance %s is not in the map", *m.instance)
			}
		}
		for _, p := range m.protocols {
			offered[p.Name]++
		}
		if m.syncWaiter != nil && g.state != stateCompleting {
			return fmt.Errorf("%s waits for an assignment in %s", m.id, g.state)
		}
	}
	switch {
	case len(g.order) != len(g.members) || static != len(g.instances):
		return fmt.Errorf("%d, %d, %d members; %d instances", len(g.order), len(g.members), static, len(g.instances))
	case joining != g.joining:
		return fmt.Errorf("%d join, counted are %d", joining, g.joining)
	case fmt.Sprint(offered) != fmt.Sprint(g.offered):
		return fmt.Errorf("offered %v, counted are %v", offered, g.offered)
	case (g.state == stateEmpty) != (len(g.order) == 0) && g.state != statePreparing:
		return fmt.Errorf("%s with %d members", g.state, len(g.order))
	case len(g.order) > 0 && g.members[g.leader] == nil:
		return fmt.Errorf("leader %q is no member", g.leader)
	}
	for m := range g.unsynced {
		if g.members[m.id] != m {
			return fmt.Errorf("%s is to sync and no member", m.id)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
