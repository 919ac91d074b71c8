package sites

import (
	"testing"
	"time"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// A lag that is not known is as long as that has lasted, and what lacks when it becomes known may be as old.
func TestUnknownLagCountsFromWhenItBegan(t *testing.T) {
	id := site.PartitionID{}
	log := site.LogView{Term: 1, Tip: entry.NewSitesState(0), Lineage: &entry.Lineage{}}
	for _, h := range []entry.Header{
		{Kind: entry.EpochBase, Body: entry.EpochBaseBody(1, 0)},
		{Kind: entry.Data, Rows: []entry.Row{{BaseOffset: 0, LastOffset: 0}, {BaseOffset: 1, LastOffset: 1}}},
	} {
		if err := log.Tip.Advance(&h); err != nil {
			t.Fatal(err)
		}
		if err := log.Lineage.Advance(&h); err != nil {
			t.Fatal(err)
		}
	}
	log.Durable = log.Tip
	view := site.View{Role: site.Active, Serving: true}
	link := site.NewLink(id, site.LinkOptions{})
	var l lag
	const limit = 5 * time.Second
	if !l.exceeds(0, limit) {
		t.Fatal("nothing was ever looked at")
	}
	link.Step(0, view, log, site.LogMoved{})
	l.note(10*time.Second, link, &log)
	l.note(12*time.Second, link, &log)
	if l.exceeds(15*time.Second, limit) || !l.exceeds(15*time.Second+1, limit) {
		t.Fatal("not known since 10 s")
	}
	link.Step(0, view, log, site.Received{Message: site.Ack{Partition: id, End: site.Position{Next: 1}}})
	l.note(14*time.Second, link, &log)
	if l.exceeds(15*time.Second, limit) || !l.exceeds(15*time.Second+1, limit) {
		t.Fatal("one record lacks, which may have come at 10 s")
	}
	link.Step(0, view, log, site.Received{Message: site.Ack{Partition: id, End: site.Position{Next: 2}}})
	l.note(16*time.Second, link, &log)
	if l.exceeds(time.Hour, limit) {
		t.Fatal("nothing lacks")
	}
	l.forget()
	if !l.exceeds(time.Hour, limit) {
		t.Fatal("forgotten, and taken for none")
	}
}
