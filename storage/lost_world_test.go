package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/meta"
)

// lostWorld is a world that has lost a part of its journal and goes on: it is started again and again, and the Raft groups that
// are whole are written to.
type lostWorld struct {
	*actor
	t    *testing.T
	w    *world
	hurt map[GroupID]bool // who has to be offline, at every start
	file string           // and says so with this name; "" = with any
	how  string
}

// open starts the world, wants exactly the hurt Raft groups to be offline, and the others to be as they were.
func (l *lostWorld) open() {
	l.t.Helper()
	s, err := l.w.start(l.dir)
	if err != nil {
		l.t.Fatalf("%s: %v", l.how, err)
	}
	l.t.Cleanup(func() { s.Close(false) })
	l.store, l.mu.store, l.mem = s, s, l.w.mem
	l.mu.off, l.producers = true, map[GroupID]*producer{}
	for _, g := range s.Groups() {
		if (g.Offline() != nil) != l.hurt[g.ID()] {
			l.t.Fatalf("%s: %s (%s): hurt is %v, offline: %v", l.how, g.ID(), g.Folder(), l.hurt[g.ID()], g.Offline())
		}
		if l.hurt[g.ID()] && !strings.Contains(g.Offline().Error(), l.file+", byte ") {
			l.t.Fatalf("%s: no file and byte in %v", l.how, g.Offline())
		}
	}
	for id := range l.hurt {
		if _, ok := s.Group(id); !ok {
			l.t.Fatalf("%s: %s is hurt, and gone", l.how, id)
		}
	}
	settled := l.w.model.settle(s)
	for id, gm := range l.w.model.groups {
		g, ok := s.Group(id)
		switch {
		case ok && l.hurt[id]:
			settled.groups[id] = gm
		case ok:
			if err := gm.check(g); err != nil {
				l.t.Fatalf("%s: %s: %v", l.how, g, err)
			}
		case l.hurt[id] || gm.is == present:
			l.t.Fatalf("%s: %s is gone", l.how, gm.folder)
		}
	}
	l.mu.model = settled
}

// write appends to all Raft groups that are whole, and syncs.
func (l *lostWorld) write(times int) {
	l.t.Helper()
	for range times {
		for _, g := range l.store.Groups() {
			if gm := l.model().groups[g.ID()]; !l.hurt[g.ID()] {
				if err := l.append(g, gm); err != nil {
					l.t.Fatalf("%s: %s: %v", l.how, gm.folder, err)
				}
			}
		}
	}
	if _, err := l.store.journal.Append(nil, true).Wait(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lostWorld) saveMark() {
	l.t.Helper()
	if waits, err := l.store.saveMark(); waits || err != nil || l.store.meta.Journal().Mark != l.store.journal.NextSequence()-1 {
		l.t.Fatalf("%s: waits %v, %v, mark %d behind record %d", l.how, waits, err, l.store.meta.Journal().Mark, l.store.journal.NextSequence()-1)
	}
}

func (l *lostWorld) checkpoint() {
	l.t.Helper()
	if _, err := l.checkpointAll(); err != nil {
		l.t.Fatalf("%s: %v", l.how, err)
	}
}

// kill takes what is left of a process that ends now, with all power.
func (l *lostWorld) kill() {
	next := capture(l.w.mem, l.dir, l.store, l.model(), nil, "")
	next.checkpointBytes = l.w.checkpointBytes
	l.store.Close(false)
	l.w = next
}

func (l *lostWorld) stop() {
	l.t.Helper()
	if err := l.store.Close(true); err != nil {
		l.t.Fatalf("%s: %v", l.how, err)
	}
	b, err := os.ReadFile(filepath.Join(l.dir, metaFile))
	if err != nil {
		l.t.Fatal(err)
	}
	l.w.meta, l.w.model = b, l.model()
}

// live is all that a journal can go through behind its damage: kills, records, rolls, checkpoints, copies of what is hurt, stops.
func (l *lostWorld) live() {
	l.t.Helper()
	how := l.how
	for i, step := range []func(){
		l.kill,
		func() { l.write(1); l.saveMark(); l.kill() },
		func() { l.write(1); l.kill() },
		func() { l.checkpoint(); l.kill() },
		func() { l.write(12); l.stop() },
		func() { l.w.checkpointBytes = 1; l.kill() },
		func() { l.write(1); l.checkpoint(); l.kill() },
		func() { l.checkpoint(); l.stop() },
		l.stop,
	} {
		l.how = fmt.Sprintf("%s, start %d", how, i+1)
		l.open()
		step()
	}
	l.open()
	l.kill()
}

// lose makes a lostWorld of before, whose last journal file is cut to size.
func lose(t *testing.T, before *world, dir, file string, size int64, hurt map[GroupID]bool) *lostWorld {
	t.Helper()
	w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
	cutFile(t, w.mem, file, size)
	d := &driver{rng: rand.New(rand.NewPCG(8, uint64(size))), dir: dir}
	return &lostWorld{actor: &actor{driver: d, rng: d.rng}, t: t, w: w, hurt: hurt, file: path.Base(file), how: fmt.Sprintf("cut at %d", size)}
}

// firstKept is what meta.db says is kept of the journal.
func (l *lostWorld) firstKept() uint64 {
	l.t.Helper()
	name := filepath.Join(l.dir, "peeked")
	if err := os.WriteFile(name, l.w.meta, 0o600); err != nil {
		l.t.Fatal(err)
	}
	jc, err := meta.Peek(name)
	if err != nil {
		l.t.Fatal(err)
	}
	return max(jc.First, 1)
}

// forgetTails makes meta.db one of a binary that did not know of tails.
func forgetTails(t *testing.T, w *world, dir string) {
	t.Helper()
	name := filepath.Join(dir, "older")
	if err := os.WriteFile(name, w.meta, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(name, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return errors.Join(tx.DeleteBucket([]byte("tails")), tx.Bucket([]byte("checkpoint")).Delete([]byte("tails")))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if w.meta, err = os.ReadFile(name); err != nil {
		t.Fatal(err)
	}
}

// checkpointAll takes a checkpoint that covers every entry, so that it needs nothing of the journal. It returns how far the
// journal was synced then.
func (d *actor) checkpointAll() (mark uint64, err error) {
	err = d.store.Checkpoint(context.Background(), func(_ context.Context, g *Group) error {
		gm := d.model().groups[g.ID()]
		last := g.LastIndex()
		if err := g.SaveSnapshot(gm.snapshotOf(gm.entries, last)); err != nil {
			return err
		}
		d.change(g.ID(), func(m *groupModel) { m.snapshot, m.durable = last, max(m.durable, last) })
		return nil
	})
	return d.store.meta.Journal().Mark, err
}

// marked is damaged, with so many more records of each Raft group, all below the mark that is stored.
func marked(t *testing.T, dir string, writes int) *world {
	t.Helper()
	return damaged(t, dir, func(a *actor) error {
		l := &lostWorld{actor: a, t: t}
		l.write(writes)
		l.saveMark()
		return nil
	})
}

// journalTail is the newest journal file that has records.
type journalTail struct {
	file   string
	ends   map[uint64]int64 // of its records, in bytes, by sequence
	owners ownership        // of its records, the oldest first
	mark   uint64           // the sequence of the last record
}

func tailOf(t *testing.T, w *world) (j journalTail) {
	t.Helper()
	if j.file, j.ends = newestRecords(t, w); len(j.ends) == 0 {
		t.Fatal("the journal has no records")
	}
	j.owners, j.mark = recordOwners(t, w)[j.file], slices.Max(slices.Collect(maps.Keys(j.ends)))
	return j
}

// owner is the Raft group of a record.
func (j journalTail) owner(sequence uint64) GroupID {
	return j.owners[len(j.owners)-1-int(j.mark-sequence)].id
}

// newestRecords is the newest journal file that has any, with their ends.
func newestRecords(t *testing.T, w *world) (file string, ends map[uint64]int64) {
	t.Helper()
	files := filesOf(t, w.mem, "/journal", "")
	for i := len(files) - 1; i >= 0 && len(ends) == 0; i-- {
		file, ends = files[i], recordEnds(t, w, files[i])
	}
	return file, ends
}

// recordEnds are the ends of all records of a journal file, in bytes, by sequence.
func recordEnds(t *testing.T, w *world, name string) map[uint64]int64 {
	t.Helper()
	b, err := readFile(w.mem, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[uint64]int64{}
	for at := 0; at+journal.HeaderLen <= len(b); at++ {
		if string(b[at:at+4]) == "TJR1" {
			length := int64(b[at+8])<<24 | int64(b[at+9])<<16 | int64(b[at+10])<<8 | int64(b[at+11])
			ends[uint64(b[at+22])<<8|uint64(b[at+23])] = int64(at) + length
		}
	}
	return ends
}
