package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Copies come back as what they are copies of, inline payloads included, again and again.
func TestCarryCopiesRecords(t *testing.T) {
	dir := memDir(t)
	o := Options{SegmentBytes: 4 << 10, MarkInterval: time.Hour}
	j, _ := mustOpen(t, dir, o)
	want := []Record{CreatedRecord(group(1), "orders-0", 2, 7), VoteRecord(group(1), 3, 3, "1@disk"), inlineEntry(1, 4, 300),
		inlineEntry(1, 5, 3000), DeleteRangeRecord(group(1), 5, 5), inlineEntry(1, 5, 200)}
	from := mustAppend(t, j, true, inlineEntry(1, 3, 100)) + 1
	for _, r := range want {
		mustAppend(t, j, true, r, inlineEntry(2, 1, 500))
	}
	for round := range 3 {
		done, err := j.CarryAll([]Live{{Group: group(1), From: from, Snapshot: 3}, {Group: group(3), From: 1, Hurt: "why"}})
		if err != nil || done[0].Err != nil || done[1].Err != nil || done[0].First <= from {
			t.Fatal(done, err)
		}
		from = done[0].First
		if err := j.TruncateFront(from); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		o.FirstKept = from
		var r *Recovery
		if j, r = mustOpen(t, dir, o); len(r.Damage) > 0 {
			t.Fatal(r.Damage)
		}
		var got []Record
		ends := 0
		for _, rec := range all(t, r) {
			switch {
			case rec.Kind == CarryEnd:
				e, err := rec.CarriedEnd()
				if err != nil || rec.Group == group(3) != (e.Hurt == "why") || rec.Group == group(1) != (e.Count == uint64(len(want)) && e.First == from) {
					t.Fatal(e, err)
				}
				ends++
			case rec.Group == group(1):
				if !rec.Carried {
					t.Fatalf("round %d: record %d is no copy", round, rec.Sequence)
				}
				rec.Carried, rec.inline = false, 0
				got = append(got, rec)
			}
		}
		if len(got) != len(want) || ends != 2 {
			t.Fatalf("%d copies, %d ends", len(got), ends)
		}
		for i := range got {
			compare(t, &got[i], &want[i])
		}
	}
}

// Copies that never got their end are none of the next carry's, whose records they are not, nor of the one behind it.
func TestCarryPassesOverCopiesWithoutTheirEnd(t *testing.T) {
	dir := memDir(t)
	j, _ := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	want := []Record{VoteRecord(group(1), 3, 3, "1@disk"), inlineEntry(1, 1, 300), inlineEntry(1, 2, 200)}
	mustAppend(t, j, true, want...)
	live := []Live{{Group: group(1), From: 1}}
	g, err := j.gatherLive(live, j.NextSequence())
	if err != nil {
		t.Fatal(err)
	}
	cut := carrier{journal: j, gathered: g, group: group(1)}
	for _, at := range g.groups[group(1)].records[:2] {
		h, body, err := g.read(at)
		if err != nil {
			t.Fatal(err)
		}
		r := Record{Kind: Carry, Class: h.class, LogType: h.logType, Group: h.group, Index: h.index, Term: h.term, Body: append([]byte{byte(h.kind), 0, 0, 0}, body...)}
		if h.inline != 0 {
			r.inline = h.inline + carriedPrefix
		}
		cut.chunk = append(cut.chunk, r)
	}
	if err := cut.flush(); err != nil {
		t.Fatal(err)
	}
	g.close()
	for round := range 3 {
		done, err := j.CarryAll(live) // from the same place on: something else keeps the journal
		if err != nil || done[0].Err != nil {
			t.Fatalf("round %d: %v, %v", round, err, done[0].Err)
		}
		recs := recordsOf(t, j)
		e, err := recs[len(recs)-1].CarriedEnd()
		if err != nil || e.Count != uint64(len(want)) || e.First != done[0].First {
			t.Fatalf("round %d: %+v, %v", round, e, err)
		}
	}
}

// What is left of a group with a lost record is not carried as if it were whole.
func TestCarryRefusesAHole(t *testing.T) {
	dir := memDir(t)
	j, _ := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	for i := range 5 {
		mustAppend(t, j, true, inlineEntry(1, uint64(i+1), 300), inlineEntry(2, uint64(i+1), 300))
	}
	name := filepath.Join(dir, fileName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n := len(whole) / 10
	for record := range 10 {
		b := append([]byte(nil), whole...)
		b[record*n+n/2] ^= 0xff
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		done, err := j.CarryAll([]Live{{Group: group(1), From: 1}, {Group: group(2), From: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range done {
			if hit := record%2 == i; hit != errors.Is(done[i].Err, ErrCorrupt) {
				t.Fatalf("record %d damaged, group %d: %v", record+1, i+1, done[i].Err)
			}
		}
		now, err := os.ReadFile(name) // with the copies of the other group
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, now[len(b):]...)
	}
}
