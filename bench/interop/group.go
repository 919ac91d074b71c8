package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// settleLimit is how long a group may take to be stable and to read again: a session timeout of 6 s, a rebalance, and the slow
	// start of the members' programs on few cores.
	settleLimit = 60 * time.Second
	// goneLimit is below the session timeout: a member that left is not one that was given up.
	goneLimit = 4 * time.Second
	groupTick = 50 * time.Millisecond
	feedPause = 20 * time.Millisecond
	// catchUpPause is well above the interval at which members commit by themselves.
	catchUpPause = 2 * time.Second
)

// group is a consumer group under test: it reads the matrix and a live topic of its own.
type group struct {
	s      *suite
	cast   cast
	name   string
	live   string
	parts  int32 // of live
	kafka  *kgo.Client
	admin  *kadm.Client
	active []*member
	joined int
	killed *member
	feeds  sync.Mutex // held while a record is fed, and while none may be

	mu struct {
		sync.Mutex
		seen map[position]*sighting
		fed  map[position]reading
		ends []int64 // of live, acknowledged
	}
}

// sighting is a record that members have read.
type sighting struct {
	reading
	by []*member
}

func (s *suite) newGroup(ctx context.Context, c cast) (*group, error) {
	name := strings.ReplaceAll(c.name, " ", "-")
	g := &group{s: s, cast: c, name: s.prefix + "group-" + name, parts: max(4, int32(len(c.initial)+2))}
	g.mu.seen, g.mu.fed, g.mu.ends = map[position]*sighting{}, map[position]reading{}, make([]int64, g.parts)
	var err error
	if g.live, err = s.topic(ctx, "live-"+name, g.parts); err != nil {
		return nil, err
	}
	if g.kafka, err = s.client(kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return nil, err
	}
	g.admin = kadm.NewClient(g.kafka)
	return g, nil
}

// topics are those that members subscribe to.
func (g *group) topics() []string {
	if g.cast.liveOnly {
		return []string{g.live}
	}
	return []string{g.s.matrix.topic, g.live}
}

// partitions is how many there are in topics.
func (g *group) partitions() int {
	if g.cast.liveOnly {
		return int(g.parts)
	}
	return matrixPartitions + int(g.parts)
}

// close kills the members that are left.
func (g *group) close() {
	for _, m := range g.active {
		_ = m.kill()
	}
	g.kafka.Close()
}

// join starts a member.
func (g *group) join(p player) error {
	m, err := startMember(p, memberJob{
		address: g.s.address, group: g.name, clientID: fmt.Sprintf("%s-%d", p.name, g.joined), rangeOnly: g.cast.rangeOnly, topics: g.topics(),
	}, g.saw)
	if err != nil {
		return err
	}
	g.joined++
	g.active = append(g.active, m)
	return nil
}

// saw takes a record that a member has read: all must read the same at a position.
func (g *group) saw(m *member, r reading) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if written := g.s.matrix.readings[r.position]; m.emptyIsNull && written.bare == r.bare {
		r.hash = written.hash
	}
	before := g.mu.seen[r.position]
	if before == nil {
		before = &sighting{reading: r}
		g.mu.seen[r.position] = before
	}
	before.by = append(before.by, m)
	if r.timestamp < 0 { // not shown
		r.timestamp = before.timestamp
	} else if before.timestamp < 0 {
		before.timestamp = r.timestamp
	}
	if before.reading != r {
		return fmt.Errorf("%s read %s; %s read %s", m.id, g.s.matrix.tell(r), before.by[0].id, g.s.matrix.tell(before.reading))
	}
	return nil
}

// feed writes to every partition of the live topic, again and again, until it is stopped.
func (g *group) feed(ctx context.Context) (stop func() error) {
	fed, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { // stopped and awaited by stop
		for fed.Err() == nil {
			if err := g.feedOnce(ctx); err != nil {
				ended <- err
				return
			}
			select {
			case <-fed.Done():
			case <-time.After(feedPause):
			}
		}
		ended <- nil
	}()
	return sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
}

// feedOnce writes one record to each partition of the live topic.
func (g *group) feedOnce(ctx context.Context) error {
	g.feeds.Lock()
	defer g.feeds.Unlock()
	var records []*kgo.Record
	for p := range g.parts {
		records = append(records, &kgo.Record{Topic: g.live, Partition: p, Key: fmt.Appendf(nil, "key %d", p), Value: fmt.Appendf(nil, "at %s", time.Now())})
	}
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	if err := g.kafka.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("feed %s: %w", g.live, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range records {
		at := position{r.Topic, r.Partition, r.Offset}
		g.mu.fed[at] = reading{at, r.Timestamp.UnixMilli(), content{key: r.Key, value: r.Value}.hashes()}
		g.mu.ends[r.Partition] = r.Offset + 1
	}
	return nil
}

// await waits until done says "", and fails with what it says when that takes too long, or when a member fails.
func (g *group) await(ctx context.Context, limit time.Duration, done func(context.Context) string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(groupTick)
	defer tick.Stop()
	last := "nothing yet"
	for {
		for _, m := range g.active {
			if err := m.failed(); err != nil {
				return err
			}
		}
		if why := done(ctx); why == "" {
			return nil
		} else if ctx.Err() == nil {
			last = why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, m := range g.active {
				last += fmt.Sprintf("\n%s complained: %s", m.id, tail(m.errors.String()))
			}
			return fmt.Errorf("after %v: %s", limit, last)
		}
	}
}

// settle waits until the group is stable with the active members and no others, every partition has one owner, and each owner
// of a live partition has read something that was not there when settle began.
func (g *group) settle(ctx context.Context) error {
	g.mu.Lock()
	marks := slices.Clone(g.mu.ends)
	g.mu.Unlock()
	return g.await(ctx, settleLimit, func(ctx context.Context) string {
		owners, why := g.owners(ctx)
		if why != "" {
			return why
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for p, mark := range marks {
			owner := owners[position{topic: g.live, partition: int32(p)}]
			fresh := func(offset int64) bool {
				s := g.mu.seen[position{g.live, int32(p), offset}]
				return s != nil && slices.ContainsFunc(s.by, func(m *member) bool { return m.id == owner })
			}
			for ; mark < g.mu.ends[p] && !fresh(mark); mark++ {
			}
			if mark == g.mu.ends[p] {
				return fmt.Sprintf("%s owns %s-%d and reads nothing of it", owner, g.live, p)
			}
		}
		return ""
	})
}

// owners are the client ids of the partitions' owners, when the group is stable and all have one.
func (g *group) owners(ctx context.Context) (map[position]string, string) {
	described, err := g.admin.DescribeGroups(ctx, g.name)
	if err != nil {
		return nil, err.Error()
	}
	d := described[g.name]
	if d.Err != nil {
		return nil, d.Err.Error()
	}
	owners, ids := map[position]string{}, []string{}
	for _, m := range d.Members {
		ids = append(ids, m.ClientID)
		assigned, ok := m.Assigned.AsConsumer()
		if !ok {
			return nil, fmt.Sprintf("%s: no assignment of member %s", d.State, m.ClientID)
		}
		for _, t := range assigned.Topics {
			for _, p := range t.Partitions {
				at := position{topic: t.Topic, partition: p}
				if other, twice := owners[at]; twice {
					return nil, fmt.Sprintf("%s: %s-%d belongs to %s and %s", d.State, t.Topic, p, other, m.ClientID)
				}
				owners[at] = m.ClientID
			}
		}
	}
	want := []string{}
	for _, m := range g.active {
		want = append(want, m.id)
	}
	slices.Sort(want)
	slices.Sort(ids)
	if d.State != "Stable" || !slices.Equal(ids, want) || len(owners) != g.partitions() {
		return nil, fmt.Sprintf("group is %s with members %v, wanted %v; %d partitions are owned, wanted %d", d.State, ids, want, len(owners), g.partitions())
	}
	return owners, ""
}

// leave lets the n-th active member leave, which the coordinator must know of before the member's session could end.
func (g *group) leave(ctx context.Context, n int) error {
	m := g.active[n]
	if m.leavesBySignal() { // with a record in hand, kcat would commit it and not print it
		g.feeds.Lock()
		defer g.feeds.Unlock()
		if err := g.readAll(ctx); err != nil {
			return err
		}
	}
	g.active = slices.Delete(g.active, n, n+1)
	if err := m.leave(); err != nil {
		_ = m.kill()
		return err
	}
	return g.await(ctx, goneLimit, func(ctx context.Context) string {
		described, err := g.admin.DescribeGroups(ctx, g.name)
		if err != nil {
			return err.Error()
		}
		for _, other := range described[g.name].Members {
			if other.ClientID == m.id {
				return fmt.Sprintf("%s has left and is still a member", m.id)
			}
		}
		return ""
	})
}

func (g *group) leaveAll(ctx context.Context) error {
	for len(g.active) > 0 {
		if err := g.leave(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) kill(n int) error {
	g.killed = g.active[n]
	g.active = slices.Delete(g.active, n, n+1)
	return g.killed.kill()
}

// readAll waits until every record of both topics has been read, and compares them with what was written.
func (g *group) readAll(ctx context.Context) error {
	g.mu.Lock()
	want := maps.Clone(g.mu.fed)
	g.mu.Unlock()
	if !g.cast.liveOnly {
		maps.Copy(want, g.s.matrix.readings)
	}
	if err := g.await(ctx, settleLimit, func(context.Context) string {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.mu.seen) < len(want) {
			return fmt.Sprintf("%d of %d records are read%s", len(g.mu.seen), len(want), g.missing(want))
		}
		return ""
	}); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for at, s := range g.mu.seen {
		if first := s.by[0]; len(s.by) > 1 && first.exact && first != g.killed {
			return fmt.Errorf("%v was read by %s, and again by %s", at, first.id, s.by[1].id)
		}
	}
	for at, s := range g.mu.seen {
		if s.timestamp < 0 {
			s.timestamp = want[at].timestamp
		}
		if s.reading != want[at] {
			return fmt.Errorf("%s read %s; written is %s", s.by[0].id, g.s.matrix.tell(s.reading), g.s.matrix.tell(want[at]))
		}
	}
	return nil
}

// missing tells who has read what around the records that nobody has read.
func (g *group) missing(want map[position]reading) string {
	const linesMax = 20
	text, lines := "", 0
	for _, at := range slices.SortedFunc(maps.Keys(want), comparePositions) {
		s := g.mu.seen[at]
		around := s == nil
		for _, next := range []int64{-1, 1} {
			_, written := want[position{at.topic, at.partition, at.offset + next}]
			around = around || written && g.mu.seen[position{at.topic, at.partition, at.offset + next}] == nil
		}
		if !around || lines == linesMax {
			continue
		}
		lines++
		text += fmt.Sprintf("\n%v:", at)
		if s != nil {
			for _, m := range s.by {
				text += " " + m.id
			}
		}
	}
	return text
}

// ended: the group is empty, and its committed offsets are the ends of all partitions.
func (g *group) ended(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	described, err := g.admin.DescribeGroups(ctx, g.name)
	if err != nil {
		return err
	}
	if d := described[g.name]; d.State != "Empty" || len(d.Members) != 0 || d.Err != nil {
		return fmt.Errorf("group is %s with %d members: %w", d.State, len(d.Members), d.Err)
	}
	return g.committed(ctx)
}

// committed: the committed offsets are the ends of all partitions.
func (g *group) committed(ctx context.Context) error {
	ends, err := g.admin.ListEndOffsets(ctx, g.topics()...)
	if err := errors.Join(err, ends.Error()); err != nil {
		return err
	}
	committed, err := g.admin.FetchOffsets(ctx, g.name)
	if err != nil {
		return err
	}
	for topic, partitions := range ends {
		for partition, end := range partitions {
			if at, ok := committed.Lookup(topic, partition); end.Offset > 0 && (!ok || at.At != end.Offset) {
				return fmt.Errorf("%s-%d ends at %d; committed is %d (present: %v)", topic, partition, end.Offset, at.At, ok)
			}
		}
	}
	return nil
}

// catchUp lets members that commit now and then do so. Nothing is written meanwhile, but for members that can set offsets back.
func (g *group) catchUp(ctx context.Context) error {
	if !slices.ContainsFunc(g.active, func(m *member) bool { return !m.exact }) {
		return nil
	}
	amends, fed := g.amends(), time.Time{}
	return g.await(ctx, settleLimit, func(ctx context.Context) string {
		if amends > 0 && time.Since(fed) > catchUpPause {
			amends, fed = amends-1, time.Now()
			if err := g.feedOnce(ctx); err != nil {
				return err.Error()
			}
		}
		if err := g.committed(ctx); err != nil {
			return err.Error()
		}
		return ""
	})
}

// amends is how many more records of each partition may be needed to have the ends committed. The group is stable, so that each
// member has taken over what it will when it commits the first; the second comes behind all of that.
func (g *group) amends() int {
	if slices.ContainsFunc(g.active, func(m *member) bool { return m.setsBack }) {
		return 2
	}
	return 0
}

// goesOn starts a member in the group that all have left: it reads what comes, and nothing that was there.
func (g *group) goesOn(ctx context.Context, p player) error {
	g.mu.Lock()
	before := maps.Clone(g.mu.fed)
	g.mu.Unlock()
	if err := g.join(p); err != nil {
		return err
	}
	last := g.active[0]
	stop := g.feed(ctx)
	if err := errors.Join(g.settle(ctx), stop(), g.readAll(ctx), g.catchUp(ctx)); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for at, s := range g.mu.seen {
		_, old := before[at]
		if old = old || at.topic != g.live; old && slices.Contains(s.by, last) {
			return fmt.Errorf("%v was committed, and is read again", at)
		}
	}
	return nil
}

func (g *group) summary() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	matrix, again := map[position]reading{}, 0
	for at, s := range g.mu.seen {
		if at.topic == g.s.matrix.topic {
			matrix[at] = s.reading
		}
		if len(s.by) > 1 {
			again++
		}
	}
	text := fmt.Sprintf("%d members, %d records, %d of them read again", g.joined, len(g.mu.seen), again)
	if !g.cast.liveOnly {
		text += fmt.Sprintf("; matrix: %s", digestOfReadings(matrix))
	}
	return text
}
