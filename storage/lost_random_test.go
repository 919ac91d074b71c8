package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/vfs"
)

// lostRecord is a record in the bytes of a journal file.
type lostRecord struct {
	end      int64
	kind     journal.Kind
	group    GroupID
	index    uint64
	sequence uint64
}

// lostRecords are those of a journal file.
func lostRecords(t *testing.T, w *world, name string) (list []lostRecord) {
	t.Helper()
	b, err := readFile(w.mem, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+journal.HeaderLen <= len(b); at++ {
		if string(b[at:at+4]) == "TJR1" {
			list = append(list, lostRecord{int64(at) + int64(binary.BigEndian.Uint32(b[at+8:])), journal.Kind(b[at+5]),
				entry.ParseGroupID(b[at+32:]), binary.BigEndian.Uint64(b[at+56:]), binary.BigEndian.Uint64(b[at+16:])})
		}
	}
	return list
}

// Any history, then a mark that meta.db stores, a few appends behind it, and a journal that loses its end, anywhere: a Raft group is
// offline that has lost a record below the mark which it needs, and no other; what was durable at the mark is there in the others, at
// this start and at all later ones.
func TestLostEndBehindAnyHistory(t *testing.T) {
	dir := scratchDir(t)
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	hurtOnes, wholeOnes := 0, 0
	for seed := range seeds {
		d := &driver{rng: rand.New(rand.NewPCG(seed, 77)), dir: dir}
		d.mu.rng, d.mu.off = rand.New(rand.NewPCG(seed, 78)), true
		w := &world{mem: vfs.NewMem()}
		d.mem = w.mem
		l := &lostWorld{actor: &actor{driver: d, rng: d.rng}, t: t, w: w, how: fmt.Sprintf("seed %d", seed)}
		for life := range 1 + d.rng.IntN(3) {
			if d.rng.IntN(3) == 0 {
				l.w.checkpointBytes = 1
			}
			l.open()
			for range 10 + d.rng.IntN(20) {
				var err error
				switch d.rng.IntN(12) {
				case 0:
					_, err = l.store.saveMark()
				case 1:
					left := map[GroupID]bool{}
					for _, id := range crashGroups {
						left[id] = l.rng.IntN(3) == 0
					}
					err = l.store.Checkpoint(t.Context(), func(_ context.Context, g *Group) error {
						if left[g.ID()] {
							return nil
						}
						return l.snapshot(g)
					})
				default:
					_, err = l.step(crashGroups[l.rng.IntN(len(crashGroups))])
				}
				if err != nil {
					t.Fatalf("%s, life %d: %v", l.how, life, err)
				}
			}
			if _, err := l.store.journal.Append(nil, true).Wait(); err != nil {
				t.Fatal(err)
			}
			if err := l.store.dropJournal(); err != nil { // snapshots count for the tails with this, the end of a checkpoint
				t.Fatal(err)
			}
			if d.rng.IntN(2) == 0 {
				l.write(1)
			}
			for range 2 { // the first one may store what was looked at before
				if _, err := l.store.saveMark(); err != nil {
					t.Fatal(err)
				}
			}
			mark := l.store.meta.Journal().Mark
			marked := l.model()
			if d.rng.IntN(2) == 0 {
				l.write(1)
			}
			l.kill()
			loseAny(t, l.w, marked, mark, dir, fmt.Sprintf("seed %d, life %d", seed, life), d.rng, &hurtOnes, &wholeOnes)
		}
	}
	if hurtOnes == 0 || wholeOnes == 0 {
		t.Fatalf("%d hurt, %d whole", hurtOnes, wholeOnes)
	}
	t.Logf("%d hurt, %d whole", hurtOnes, wholeOnes)
}

// loseAny cuts before's newest journal file anywhere, three times, and lives on.
func loseAny(t *testing.T, before *world, marked model, mark uint64, dir, how string, rng *rand.Rand, hurtOnes, wholeOnes *int) {
	t.Helper()
	for range 3 {
		file, _ := newestRecords(t, before)
		records := lostRecords(t, before, file)
		if len(records) == 0 {
			return
		}
		names := filesOf(t, before.mem, "/journal", "")
		rolled, err := strconv.ParseUint(path.Base(names[len(names)-1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		told := mark >= rolled-1 // else the loss ends above the tails: all in front of the last file was on disk
		keep := rng.IntN(len(records))
		size := int64(0)
		if keep > 0 {
			size = records[keep-1].end
		}
		size += rng.Int64N(records[keep].end - size)
		w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model.forgiving()}
		cutFile(t, w.mem, file, size)
		s, err := w.start(dir)
		if err != nil {
			t.Fatal(err)
		}
		hurt := map[GroupID]bool{}
		for _, g := range s.Groups() {
			if g.Offline() == nil {
				continue
			}
			hurt[g.ID()] = true
			cp := marked.groups[g.ID()]
			just := slices.ContainsFunc(records[keep:], func(r lostRecord) bool {
				return r.group == g.ID() && r.sequence <= mark && (r.kind != journal.Entry || cp == nil || r.index > cp.snapshot)
			})
			if told && !just {
				t.Errorf("%s, cut at %d of %s, mark %d: %s is hurt by nothing: %v", how, size, path.Base(file), mark, g, g.Offline())
			}
		}
		for id, gm := range marked.groups {
			g, ok := s.Group(id)
			switch {
			case gm.is == present && !ok:
				t.Errorf("%s, cut at %d of %s, mark %d: %s is gone", how, size, path.Base(file), mark, gm.folder)
			case gm.is == deletedForGood && ok && !hurt[id]:
				t.Errorf("%s, cut at %d: %s is back", how, size, g)
			case gm.is == present && !hurt[id]:
				if g.mu.last < gm.durable || g.Vote() != gm.vote {
					t.Errorf("%s, cut at %d of %s, mark %d: %s ends at %d with vote %+v, had %d and %+v", how, size, path.Base(file), mark, g, g.mu.last, g.Vote(),
						gm.durable, gm.vote)
				}
			}
		}
		*hurtOnes += len(hurt)
		*wholeOnes += len(s.Groups()) - len(hurt)
		s.Close(false)
		if t.Failed() {
			for _, r := range records {
				t.Logf("%d: %s of %s, index %d, ends at %d, tail %+v", r.sequence, r.kind, r.group, r.index, r.end, s.tails.stored[r.group])
			}
			t.FailNow()
		}
		d := &driver{rng: rand.New(rand.NewPCG(3, uint64(size))), dir: dir}
		again := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: w.model}
		cutFile(t, again.mem, file, size)
		again.model.groups = maps.Clone(again.model.groups)
		maps.DeleteFunc(again.model.groups, func(id GroupID, gm *groupModel) bool { return hurt[id] && gm.is == deletedForGood })
		lw := &lostWorld{actor: &actor{driver: d, rng: d.rng}, t: t, w: again, hurt: hurt, how: fmt.Sprintf("%s, cut at %d", how, size)}
		lw.live()
	}
}
