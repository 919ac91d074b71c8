package handler

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
)

// acks=all waits for the commit, every other for the leader's own log. With one replica nobody would notice the difference.
func TestAcksWaitForWhatTheyPromise(t *testing.T) {
	store, err := storage.Open(storage.Options{Dirs: []string{t.TempDir()}, NodeID: 1, MetaNoSync: true, ReserveBytes: -1, BallastBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	host := raft.NewHost(store, raft.Options{})
	partitions, err := partition.Open(host, partition.Options{Topic: func(s partition.Spec) partition.Spec { return s }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		partitions.Close()
		if err := host.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := store.Close(true); err != nil {
			t.Error(err)
		}
	}()
	p, err := partitions.Create(ctx, partition.Spec{Topic: "t", TopicID: uuid.New()})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	b := record.NewBuilder()
	b.Append(1, nil, []byte("x"))
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	a := p.Append(batch, func() {})
	for acks, want := range map[int16]<-chan struct{}{acksAll: a.Done(), acksOne: a.Stored(), acksNone: a.Stored()} {
		if got := (&produceReply{acks: acks}).settled(a); got != want {
			t.Errorf("acks=%d waits for the wrong thing", acks)
		}
	}
	select {
	case <-a.Done():
	case <-ctx.Done():
		t.Fatal("not committed")
	}
	if _, err := a.Result(); err != nil {
		t.Fatal(err)
	}
}
