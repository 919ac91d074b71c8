package handler_test

import (
	"context"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

// TestGroupsOfClientsCrossTheGap: a group that had committed what was lost reads nothing a second time after the promotion, and gets
// what comes next.
func TestGroupsOfClientsCrossTheGap(t *testing.T) {
	for name, consume := range groupConsumers(t) {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t)
			h.topic("t", 1)
			h.pair.set(func(p *pair) { p.peers = nil }) // the other site is gone
			c := h.dial()
			for range 3 {
				produced(c, "t", 9)
			}
			if code := commitOffset(c, "g", "t", 1000); code != 0 {
				t.Fatalf("commit: %d", code)
			}
			h.follow(1)
			h.promote(4)
			ctx, cancel := context.WithCancel(h.ctx())
			offsets, ended := make(chan int64, 100), make(chan struct{})
			go func() {
				defer close(ended)
				consume(ctx, t, h.address, offsets)
			}()
			defer func() {
				cancel()
				<-ended
			}()
			h.until("no member is stable", func() bool {
				d, err := h.groups.Members().Describe("g")
				return err == nil && d.State == "Stable"
			})
			for i := range int64(2) {
				produced(c, "t", 9)
				select {
				case at := <-offsets:
					if at != 4<<42+i {
						t.Fatalf("record at %d, want %d", at, 4<<42+i)
					}
				case <-ctx.Done():
					t.Fatal("nothing comes")
				}
			}
		})
	}
}

// lose makes the log what a standby has of it that had received keep records, and promotes it.
func (h *half) lose(name string, keep int64) {
	h.t.Helper()
	p := h.partition(name)
	h.pair.role(false)
	followed := func(shared int64) entry.Header {
		return entry.Header{Kind: entry.Follow, SiteEpoch: 1, Body: entry.Followed{SiteEpoch: 1, Shared: shared}.Append(nil)}
	}
	h.order(p, followed(-1), nil)
	h.order(p, entry.Header{Kind: entry.TruncateTo, SiteEpoch: 1, Body: entry.Truncation{Offset: keep}.Append(nil)}, nil)
	h.until("the log is not cut", func() bool { _, hw, _, end := p.Offsets(); return hw == keep && end == keep })
	h.order(p, followed(keep), nil)
	h.until("the log does not follow", p.Follows)
	h.promote(4)
}

// TestRunningConsumersCrossTheGap: whoever has read what was lost goes on with what comes next: nothing is read twice, nobody is set back
// and nobody stops.
func TestRunningConsumersCrossTheGap(t *testing.T) {
	for name, consume := range partitionConsumers(t) {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t)
			h.topic("t", 1)
			h.pair.set(func(p *pair) { p.peers = nil })
			c := h.dial()
			for range 7 {
				produced(c, "t", 9)
			}
			ctx, cancel := context.WithCancel(h.ctx())
			offsets, ended := make(chan int64, 100), make(chan struct{})
			go func() {
				defer close(ended)
				consume(ctx, t, h.address, offsets)
			}()
			defer func() {
				cancel()
				<-ended
			}()
			want := func(offset int64) {
				t.Helper()
				select {
				case at := <-offsets:
					if at != offset {
						t.Fatalf("record at %d, want %d", at, offset)
					}
				case <-ctx.Done():
					t.Fatal("nothing comes")
				}
			}
			for i := range int64(7) {
				want(i)
			}
			h.lose("t", 3)
			before := h.fetches.Load()
			if name != "kafka-go" { // which compares its position with the end of the log by itself, and does not fetch beyond
				h.until("nobody fetches in the gap", func() bool { return h.fetches.Load() > before+2 })
			}
			for i := range int64(2) {
				produced(c, "t", 9)
				want(4<<42 + i)
			}
		})
	}
}
