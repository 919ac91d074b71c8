package group

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"
)

// TestElections: leadership of the partitions of __consumer_offsets is lost and won again while clients commit and join. A commit
// that was acknowledged is there in all leaderships that follow, one that never was asked for in none, and each request is
// answered.
func TestElections(t *testing.T) {
	s := newSite(t)
	id := s.topic("t")
	s.check(s.commit("g0", "t", id, 1))
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { s.commits(fmt.Sprint("g", i), 150) })
		clients.Go(func() { s.joins(fmt.Sprint("m", i), 10) })
	}
	done := make(chan struct{})
	go func() { // ends with the clients, for whom the test waits
		clients.Wait()
		close(done)
	}()
	for elections := 0; ; elections++ {
		select {
		case <-done:
			if elections == 0 {
				t.Error("nothing happened")
			}
			t.Logf("%d elections, %d appends failed", elections, s.Counts().Failed)
			return
		case <-time.After(time.Duration(1+elections%7) * time.Millisecond):
		}
		if p, ok := s.partitions.Get(OffsetsTopic, int32(elections%5)); ok {
			if g, ok := s.host.Group(p.GroupID()); ok {
				g.Elect()
			}
		}
	}
}

// commits is a client that commits one offset after the other, whatever becomes of them, and looks at what there is.
func (s *site) commits(group string, until int64) {
	acked, asked := int64(-1), int64(-1)
	for end := time.Now().Add(patience); acked < until; {
		if time.Now().After(end) {
			s.t.Errorf("%s stays at %d of %d", group, acked, asked)
			return
		}
		asked++
		ch := make(chan outcome, 1)
		s.Commit(CommitRequest{GroupID: group, Generation: -1, RetentionMs: -1, Offsets: []Commit{
			{TopicPartition: TopicPartition{"t", 0}, Offset: asked, LeaderEpoch: -1},
		}}, func(each []error, err error) { ch <- outcome{each, err} })
		switch o := <-ch; {
		case o.err == nil && o.each[0] == nil:
			acked = asked
		case errors.Is(o.err, ErrCoordinatorLoading), errors.Is(o.err, ErrNotCoordinator), errors.Is(o.err, ErrCoordinatorNotAvailable):
			time.Sleep(time.Millisecond) // a client's retry.backoff.ms
		default:
			s.t.Errorf("%s: %+v", group, o)
			return
		}
		if got, err := s.Fetch(group, []TopicPartition{{"t", 0}}); err == nil && (got[0].Offset < acked || got[0].Offset > asked) {
			s.t.Errorf("%s has %d, acknowledged is %d, asked for %d", group, got[0].Offset, acked, asked)
			return
		}
	}
}

// joins is a client that comes and goes.
func (s *site) joins(group string, times int) {
	for end := time.Now().Add(patience); times > 0; {
		if time.Now().After(end) {
			s.t.Errorf("%s does not get in, %d times", group, times)
			return
		}
		joined := make(chan JoinResult, 1)
		s.Members().Join(JoinRequest{
			GroupID: group, ProtocolType: consumerType, Protocols: []Protocol{{Name: "range"}}, SessionTimeout: 10 * time.Second,
			RebalanceTimeout: 5 * time.Millisecond, // for members that were there before, and whose leaving was lost
		}, func(r JoinResult) { joined <- r })
		j := <-joined
		if j.Err != nil {
			time.Sleep(time.Millisecond) // a client's retry.backoff.ms
			continue
		}
		synced := make(chan SyncResult, 1)
		s.Members().Sync(SyncRequest{
			GroupID: group, MemberID: j.MemberID, Generation: j.Generation, Assignments: maps.All(map[string][]byte{j.MemberID: []byte("a")}),
		}, func(r SyncResult) { synced <- r })
		if r := <-synced; r.Err == nil {
			if string(r.Assignment) != "a" {
				s.t.Errorf("%s is assigned %q", group, r.Assignment)
			}
			times--
		}
		_, _ = s.Members().Leave(LeaveRequest{GroupID: group, Members: []LeaveMember{{MemberID: j.MemberID}}})
	}
}
