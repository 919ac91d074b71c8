package journal

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

const sector = 512 // what a disk writes as one

// disk follows a journal folder from call to call, and knows what a power loss may leave of it: of each file the content of
// its last sync, with any subset of the sectors changed since; of the folder the names of its last sync, with any subset of
// the files created and unlinked since.
type disk struct {
	dir    string
	synced map[string][]byte // content of each file's last sync
	names  map[string]bool   // names of the folder's last sync
	gone   map[string][]byte // unlinked since: what they held
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, synced: map[string][]byte{}, names: map[string]bool{}, gone: map[string][]byte{}}
}

// done follows a call that went well (seam.after).
func (d *disk) done(op, name string) {
	switch op {
	case "library sync", "library close":
		d.syncFile(filepath.Base(d.last()))
	case "sync":
		d.syncFile(filepath.Base(name))
	case "sync folder":
		if name == d.dir {
			d.names, d.gone = map[string]bool{}, map[string][]byte{}
			for n := range d.now() {
				d.names[n] = true
			}
		}
	}
}

// ask sees a call that is about to run (seam.before).
func (d *disk) ask(op, name string) {
	if op == "remove" {
		d.gone[filepath.Base(name)], _ = os.ReadFile(name)
	}
}

func (d *disk) syncFile(base string) { d.synced[base], _ = os.ReadFile(filepath.Join(d.dir, base)) }

func (d *disk) last() string {
	names := slices.Sorted(maps.Keys(d.now()))
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// now is the folder as programs see it.
func (d *disk) now() map[string][]byte {
	files := map[string][]byte{}
	entries, _ := os.ReadDir(d.dir)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(d.dir, e.Name()))
		if err == nil {
			files[e.Name()] = b
		}
	}
	return files
}

// lose writes one state that a power loss may leave now to dir.
func (d *disk) lose(rng *rand.Rand, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	now := d.now()
	all := maps.Clone(d.gone)
	maps.Copy(all, now)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		_, exists := now[name]
		if exists != d.names[name] && rng.IntN(2) == 0 {
			exists = !exists // the create or the unlink did not reach the disk
		}
		if !exists {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), torn(rng, d.synced[name], all[name]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// torn is old with any subset of the sectors that differ in now, at any size in between.
func torn(rng *rand.Rand, old, now []byte) []byte {
	keep := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	b := bytes.Clone(now)
	for at := 0; at < len(b); at += sector {
		end := min(at+sector, len(b))
		if rng.Float64() < keep {
			continue
		}
		clear(b[at:end])
		if at < len(old) {
			copy(b[at:end], old[at:])
		}
	}
	lo, hi := min(len(old), len(now)), max(len(old), len(now))
	switch size := lo + rng.IntN(hi-lo+1); {
	case rng.IntN(3) == 0 || size >= len(b):
	default:
		b = b[:size]
	}
	if len(now) < len(old) && rng.IntN(2) == 0 {
		b = bytes.Clone(old) // the truncation did not reach the disk
	}
	return b
}

// powerStates is how many states TestPowerLoss looks at.
func powerStates(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("TANDEM_POWER_STATES")); err == nil {
		return n
	}
	if testing.Short() {
		return 300
	}
	return 3000
}

func TestPowerLoss(t *testing.T) {
	states := powerStates(t)
	for seed := uint64(1); states > 0; seed++ {
		states -= losePower(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// history is what one run of a journal promised.
type history struct {
	sent  []Record // in sequence order
	acked uint64   // sequence: everything up to here was acknowledged as synced
	keep  uint64   // FirstKept in meta.db
	mark  uint64   // mark in meta.db

	states int // looked at
}

// losePower runs a random workload, takes states between its calls, and opens each. It returns how many there were.
func losePower(t *testing.T, seed uint64) (states int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	root := memDir(t)
	defer os.RemoveAll(root)
	d := newDisk(filepath.Join(root, "journal"))
	h := &history{}
	s := &seam{after: d.done}
	s.before = func(op, name string) error {
		d.ask(op, name)
		for range 1 + rng.IntN(2) {
			checkState(t, d, h, rng, filepath.Join(root, "state"), op, 2)
		}
		return nil
	}
	j, r, err := Open(d.dir, s.options(Options{SegmentBytes: 1500, MarkInterval: time.Hour}))
	if err != nil {
		t.Error(err)
		return 1
	}
	defer r.Close()
	indexes := map[int]uint64{}
	for i := 0; i < 25 && !t.Failed(); i++ {
		var recs []Record
		for range 1 + rng.IntN(4) {
			g := rng.IntN(4)
			indexes[g]++
			recs = append(recs, inlineEntry(g, indexes[g], 1+rng.IntN(700)))
		}
		sync := rng.IntN(3) > 0
		h.sent = append(h.sent, recs...) // before: part of it may be there whatever comes back
		first, err := j.Append(recs, sync).Wait()
		if err != nil {
			t.Error(err)
			break
		}
		if sync {
			h.acked = first + uint64(len(recs)) - 1
		}
		if rng.IntN(8) == 0 {
			h.keep, h.mark = max(h.keep, 1+rng.Uint64N(j.Mark()+1)), j.Mark()
			if err := j.TruncateFront(h.keep); err != nil {
				t.Error(err)
			}
		}
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	return h.states
}

// checkState makes a state, opens it, and compares with h. With depth it then loses power while that very repair runs.
func checkState(t *testing.T, d *disk, h *history, rng *rand.Rand, dir, op string, depth int) {
	if t.Failed() {
		return
	}
	h.states++
	defer os.RemoveAll(dir)
	if err := d.lose(rng, dir); err != nil {
		t.Error(err)
		return
	}
	s := &seam{}
	if depth > 0 && rng.IntN(4) == 0 {
		again := newDisk(dir)
		for name, b := range again.now() {
			again.synced[name], again.names[name] = b, true
		}
		s.after = again.done
		s.before = func(op, name string) error {
			again.ask(op, name)
			checkState(t, again, h, rng, dir+"+", "repair: "+op, depth-1)
			return nil
		}
	}
	o := s.options(Options{SegmentBytes: 1500, MarkInterval: time.Hour, FirstKept: h.keep, Mark: h.mark})
	j, r, err := Open(dir, o)
	if err != nil {
		t.Errorf("before %s: open: %v", op, err)
		return
	}
	s.before, s.after = nil, nil
	defer func() { _ = j.Close(); _ = r.Close() }()
	if len(r.Damage) != 0 {
		t.Errorf("before %s: damage %+v", op, r.Damage)
	}
	next := max(h.keep, 1)
	for _, rec := range all(t, r) {
		if rec.Kind == Mark && rec.Sequence == next && (depth < 2 || next > uint64(len(h.sent))) {
			next++ // of Close, or of an earlier repair of this state
			continue
		}
		if rec.Sequence != next || next > uint64(len(h.sent)) {
			t.Errorf("before %s: record %d, want %d of %d", op, rec.Sequence, next, len(h.sent))
			return
		}
		compare(t, &rec, &h.sent[next-1])
		next++
	}
	if next <= h.acked {
		t.Errorf("before %s: records from %d on are lost, %d was acknowledged (cut %+v)", op, next, h.acked, r.Cut)
	}
	if j.NextSequence() < next {
		t.Errorf("before %s: next sequence %d, %d records are there", op, j.NextSequence(), next-1)
	}
}

// What a repair gives to its caller, and what is appended behind it, is promised: it survives the next power loss. The first
// stop is a kill, which leaves everything with the system and nothing new on the disk, or a power loss.
func TestPowerLossBehindARepair(t *testing.T) {
	for seed := range uint64(powerStates(t) / 5) {
		rng := rand.New(rand.NewPCG(seed, 2))
		root := memDir(t)
		d := newDisk(filepath.Join(root, "a"))
		j, _ := mustOpen(t, d.dir, (&seam{before: func(op, name string) error { d.ask(op, name); return nil }, after: d.done}).options(
			Options{SegmentBytes: 1500, MarkInterval: time.Hour}))
		for i := range 3 + rng.IntN(12) {
			mustAppend(t, j, rng.IntN(2) == 0, inlineEntry(1, uint64(i+1), 1+rng.IntN(700)))
		}
		second := newDisk(filepath.Join(root, "b"))
		if rng.IntN(2) == 0 {
			if err := d.lose(rng, second.dir); err != nil {
				t.Fatal(err)
			}
			second.synced = second.now()
		} else {
			s := sample{}
			for name, b := range d.now() {
				s.names, s.content = append(s.names, name), append(s.content, b)
			}
			s.write(t, second.dir, nil)
			second.synced = d.synced
		}
		for name := range second.now() {
			second.names[name] = d.names[name] || second.synced[name] != nil
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j, r := mustOpen(t, second.dir, (&seam{before: func(op, name string) error { second.ask(op, name); return nil }, after: second.done}).options(
			Options{SegmentBytes: 1500, MarkInterval: time.Hour}))
		promised := all(t, r)
		for i := range 2 {
			rec := inlineEntry(2, uint64(i+1), 300)
			rec.Sequence = mustAppend(t, j, true, rec)
			promised = append(promised, rec)
		}
		if err := second.lose(rng, filepath.Join(root, "c")); err != nil {
			t.Fatal(err)
		}
		_, r = mustOpen(t, filepath.Join(root, "c"), (&seam{}).options(Options{MarkInterval: time.Hour}))
		there := map[uint64]Record{}
		for _, rec := range all(t, r) {
			there[rec.Sequence] = rec
		}
		for i := range promised {
			got := there[promised[i].Sequence]
			if got.Sequence == 0 {
				t.Fatalf("seed %d: record %d is lost, cut %+v", seed, promised[i].Sequence, r.Cut)
			}
			compare(t, &got, &promised[i])
		}
		if len(r.Damage) != 0 {
			t.Fatalf("seed %d: damage %+v", seed, r.Damage)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
}

// A mark that a killed process wrote last, and did not sync: once a file follows it, a power loss must not tear it.
func TestUnsyncedMarkIsSyncedBeforeAFileFollows(t *testing.T) {
	root := memDir(t)
	d := newDisk(filepath.Join(root, "a"))
	j, _ := mustOpen(t, d.dir, (&seam{before: func(op, name string) error { d.ask(op, name); return nil }, after: d.done}).options(
		Options{MarkInterval: time.Hour}))
	mustAppend(t, j, true, inlineEntry(1, 1, 100))
	j.duty.Lock()
	_, err := j.write([]request{{records: []Record{{Kind: Mark}}}})
	j.duty.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	killed := newDisk(filepath.Join(root, "b"))
	s := sample{}
	for name, b := range d.now() {
		s.names, s.content = append(s.names, name), append(s.content, b)
		killed.names[name] = true
	}
	s.write(t, killed.dir, nil)
	killed.synced = d.synced
	name := fileName(1)
	if bytes.Equal(killed.synced[name], killed.now()[name]) {
		t.Fatal("the mark is on disk before anything was done about it")
	}
	mustOpen(t, killed.dir, (&seam{before: func(op, name string) error { killed.ask(op, name); return nil }, after: killed.done}).options(
		Options{MarkInterval: time.Hour}))
	if !bytes.Equal(killed.synced[name], killed.now()[name]) {
		t.Fatalf("%d bytes of %d are on disk, and a file follows", len(killed.synced[name]), len(killed.now()[name]))
	}
}
