package handler_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestLeaderEpochBehindALostPartition: a topic whose data is lost is deleted and created again. Clients that know the old one
// ignore leader epochs below those that they have seen.
func TestLeaderEpochBehindALostPartition(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	mustProduce(t, b, "t", batch(t, nil, "x"))
	for range 3 {
		b.Restart()
	}
	seen := leaderEpoch(t, b, "t")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(b.Config().LogDirs[0], "t-0")); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	deleteTopic(t, b, "t")
	b.CreateTopic("t", 1)
	if now := leaderEpoch(t, b, "t"); now <= seen {
		t.Errorf("leader epoch %d, clients have seen %d", now, seen)
	}
}
