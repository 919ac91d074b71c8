package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

func testOptions(dir string) Options {
	return Options{Dirs: []string{dir}, NodeID: 1, ReserveBytes: -1, BallastBytes: -1, MetaNoSync: true}
}

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(false) })
	return s
}

func groupID(n int) GroupID {
	return GroupID{Topic: [16]byte{0: 0xaa, 15: byte(n)}, Partition: int32(n)}
}

func createGroup(t testing.TB, s *Store, n int) (*Group, *producer) {
	t.Helper()
	g, err := s.CreateGroup(groupID(n), fmt.Sprintf("topic-%d", n), 0, log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return g, newProducer(rand.New(rand.NewPCG(uint64(n), 1)), 0)
}

func mustAppend(t testing.TB, g *Group, p *producer, entries ...Entry) {
	t.Helper()
	if err := g.Append(entries, p.state); err != nil {
		t.Fatal(err)
	}
}

// payloads reads all records of a group from its segments.
func payloads(t testing.TB, g *Group) []byte {
	t.Helper()
	b, err := readAll(g)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readAll(g *Group) ([]byte, error) {
	var all []byte
	end := g.State().NextOffset
	if got := g.Log().LogEnd(); g.uncutIndex() != 0 { // the state is behind the truncation, the segments are not
		end = got
	} else if got != end {
		return nil, fmt.Errorf("log ends at %d, the admission state says %d", got, end)
	}
	for at := g.Log().LogStart(); at < end; {
		x, err := g.Log().Read(at, 1<<20, end, true)
		if err != nil {
			return nil, fmt.Errorf("read offset %d: %w", at, err)
		}
		b, err := x.ReadAll()
		x.Release()
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			return nil, fmt.Errorf("nothing at offset %d, the log ends at %d", at, end)
		}
		all = append(all, b...)
		for len(b) > 0 {
			batch, rest, err := record.Next(b)
			if err != nil {
				return nil, err
			}
			if err := batch.CheckCRC(); err != nil {
				return nil, err
			}
			at, b = batch.LastOffset()+1, rest
		}
	}
	return all, nil
}

func snapshotAt(g *Group, index uint64) Snapshot {
	e, _ := g.Entry(index)
	return Snapshot{Index: index, Term: e.Term, Configuration: []byte("configuration"), ConfigurationIndex: 1,
		State: fmt.Appendf(nil, "state at %d", index)}
}

// snapshotAll is what a checkpoint does when everything stored is applied.
func snapshotAll(_ context.Context, g *Group) error {
	return g.SaveSnapshot(snapshotAt(g, g.LastIndex()))
}

// contents describes what a group holds, for comparison across a restart.
func contents(t testing.TB, g *Group) string {
	t.Helper()
	var b strings.Builder
	snap, _ := g.Snapshot()
	fmt.Fprintf(&b, "state %+v vote %+v snapshot %d/%d %q %q\n", g.State(), g.Vote(), snap.Index, snap.Term, snap.State, snap.Configuration)
	for i := snap.Index + 1; ; i++ {
		e, ok := g.Entry(i)
		if !ok {
			break
		}
		fmt.Fprintf(&b, "%d: term %d type %d at %v+%d data %x\n", e.Index, e.Term, e.Type, e.Place, e.PlaceLength, e.Data)
	}
	if g.Log() != nil {
		fmt.Fprintf(&b, "payloads %x\n", payloads(t, g))
	}
	return b.String()
}

func TestStoreSurvivesReopen(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, checkpoint := range []bool{true, false} {
			t.Run(fmt.Sprintf("clean=%v,checkpoint=%v", clean, checkpoint), func(t *testing.T) {
				o := testOptions(t.TempDir())
				s := openStore(t, o)
				g, p := createGroup(t, s, 1)
				m, err := s.CreateGroup(entry.MetadataGroup, "", 0, log.Options{})
				if err != nil {
					t.Fatal(err)
				}
				mp := newProducer(rand.New(rand.NewPCG(9, 9)), 0)
				mustAppend(t, m, mp, mp.noop(), mp.command(entry.Header{Kind: entry.Metadata, Body: []byte("{}")}, nil))
				if err := m.SetVote(Vote{Term: 3, VotedTerm: 3, Candidate: "1@x"}); err != nil {
					t.Fatal(err)
				}
				mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(300, entry.Synced), p.data(40000, entry.Synced))
				mustAppend(t, g, p, p.data(30000, entry.Cached), p.data(100, entry.Cached))
				mustAppend(t, g, p, p.data(50, entry.Cached))
				mustAppend(t, g, p, p.data(20000, entry.Synced))
				if checkpoint {
					if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
						t.Fatal(err)
					}
					mustAppend(t, g, p, p.data(20000, entry.Synced), p.data(10, entry.Synced))
				}
				before, beforeMeta, id := contents(t, g), contents(t, m), s.Identity()
				if err := s.Close(clean); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, o)
				if s.Identity() != id || id.ClusterID == "" || id.DiskID == "" {
					t.Fatalf("identity %+v, was %+v", s.Identity(), id)
				}
				if s.Meta().WasClean() != clean {
					t.Fatalf("clean = %v", s.Meta().WasClean())
				}
				g, _ = s.Group(groupID(1))
				m, _ = s.Group(entry.MetadataGroup)
				if after := contents(t, g); after != before {
					t.Fatalf("was\n%s\nis\n%s", before, after)
				}
				if after := contents(t, m); after != beforeMeta {
					t.Fatalf("was\n%s\nis\n%s", beforeMeta, after)
				}
				p.resume(g.mu.last, p.term, g.State())
				mustAppend(t, g, p, p.data(100, entry.Synced), p.data(20000, entry.Synced))
			})
		}
	}
}

func TestAppendRefusesWhatDoesNotFollow(t *testing.T) {
	s := openStore(t, testOptions(t.TempDir()))
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for _, c := range []struct {
		name string
		e    Entry
		want error
	}{
		{"gap", Entry{Index: 4, Term: 1, Type: typeNoop}, ErrGap},
		{"again", Entry{Index: 2, Term: 1, Type: typeNoop}, ErrGap},
		{"older term", Entry{Index: 3, Term: 0, Type: typeNoop}, ErrTerm},
		{"no header", Entry{Index: 3, Term: 1, Type: TypeCommand, Data: []byte{1}}, entry.ErrCorrupt},
		{"payload without a header", Entry{Index: 3, Term: 1, Type: typeNoop, Payload: []byte("x")}, ErrCorrupt},
		{"payload that its header does not know", Entry{Index: 3, Term: 1, Type: TypeCommand,
			Data: (&entry.Header{Kind: entry.LogStart, Body: entry.LogStartBody(0)}).Append(nil), Payload: []byte("x")}, ErrCorrupt},
	} {
		if err := g.Append([]Entry{c.e}, p.state); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if g.LastIndex() != 2 || s.Failed() != nil {
		t.Fatalf("last index %d, %v", g.LastIndex(), s.Failed())
	}
	mustAppend(t, g, p, p.data(10, entry.Synced))
}

func TestVotes(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	g, _ := createGroup(t, s, 1)
	for _, c := range []struct {
		v    Vote
		want error
	}{
		{Vote{2, 2, "a"}, nil},
		{Vote{2, 2, "a"}, nil},
		{Vote{2, 2, "b"}, ErrTerm}, // a second vote in one term
		{Vote{1, 1, "b"}, ErrTerm},
		{Vote{3, 2, "a"}, nil},
		{Vote{2, 2, "a"}, ErrTerm},
		{Vote{3, 3, "b"}, nil},
		{Vote{4, 3, "b"}, nil},
	} {
		if err := g.SetVote(c.v); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.v, err)
		}
	}
	for range 2 { // from the journal, then from meta.db
		s.Close(false)
		s = openStore(t, o)
		g, _ = s.Group(groupID(1))
		if g.Vote() != (Vote{4, 3, "b"}) {
			t.Fatalf("vote %+v", g.Vote())
		}
		if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruncateSuffix(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	keep := *p
	mustAppend(t, g, p, p.data(20000, entry.Synced), p.data(100, entry.Synced), p.data(100, entry.Synced))
	if err := g.TruncateSuffix(4, keep.state); err != nil {
		t.Fatal(err)
	}
	p.resume(3, 1, keep.state)
	mustAppend(t, g, p, p.noop(), p.data(700, entry.Synced))
	before := contents(t, g)
	s.Close(false)
	s = openStore(t, o)
	g, _ = s.Group(groupID(1))
	if after := contents(t, g); after != before {
		t.Fatalf("was\n%s\nis\n%s", before, after)
	}
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	if err := g.TruncateSuffix(5, keep.state); !errors.Is(err, ErrCompacted) {
		t.Fatalf("truncated below the snapshot: %v", err)
	}
}

func TestSnapshotRefused(t *testing.T) {
	s := openStore(t, testOptions(t.TempDir()))
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	if err := g.SaveSnapshot(snapshotAt(g, 2)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		snap Snapshot
		want error
	}{
		{Snapshot{Index: 1, Term: 1}, ErrCompacted}, {Snapshot{Index: 4, Term: 1}, ErrGap}, {Snapshot{Index: 3, Term: 2}, ErrTerm},
		{Snapshot{Index: 2, Term: 1, State: []byte("again")}, nil},
	} {
		if err := g.SaveSnapshot(c.snap); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.snap, err)
		}
	}
	if err := g.TruncatePrefix(3); !errors.Is(err, ErrGap) {
		t.Fatalf("dropped entries above the snapshot: %v", err)
	}
	if err := g.TruncatePrefix(2); err != nil || g.FirstIndex() != 3 || g.LastIndex() != 3 {
		t.Fatalf("%v, %d to %d", err, g.FirstIndex(), g.LastIndex())
	}
	if g.RetainFrom() != 0 {
		t.Fatalf("retain from %d", g.RetainFrom())
	}
}

func TestDeleteGroup(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	for i := range 3 {
		g, p := createGroup(t, s, i)
		mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	}
	if err := s.DeleteGroup(groupID(0)); err != nil { // known from the journal only
		t.Fatal(err)
	}
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteGroup(groupID(1)); err != nil { // known from meta.db
		t.Fatal(err)
	}
	if err := s.DeleteGroup(groupID(1)); !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	other := groupID(9)
	if _, err := s.CreateGroup(other, "topic-1", 0, log.Options{}); err != nil { // its name is free again
		t.Fatal(err)
	}
	if _, err := s.CreateGroup(groupID(1), "topic-x", 0, log.Options{}); !errors.Is(err, ErrExists) { // its id is not, yet
		t.Fatal(err)
	}
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateGroup(groupID(1), "topic-x", 0, log.Options{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.Close(false)
		s = openStore(t, o)
		if n := len(s.Groups()); n != 3 {
			t.Fatalf("%d groups", n)
		}
		for _, g := range s.Groups() {
			if g.Offline() != nil {
				t.Fatal(g.Offline())
			}
		}
		if g, _ := s.Group(groupID(1)); g == nil || g.LastIndex() != 0 || g.State() != entry.NewState(0) {
			t.Fatalf("the new group has the old one's state: %+v", g)
		}
		if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(o.Dirs[0], "topic-*"))
	if len(left) != 3 {
		t.Fatalf("folders %v", left)
	}
}

func TestFolderWithForeignRecordsIsNeverTaken(t *testing.T) {
	o := testOptions(t.TempDir())
	dir := filepath.Join(o.Dirs[0], "topic-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "00000000000000000000.log")
	if err := os.WriteFile(file, []byte("somebody's"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, o)
	if _, err := s.CreateGroup(groupID(1), "topic-1", 0, log.Options{}); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "somebody's" {
		t.Fatalf("%q, %v", b, err)
	}
	for _, bad := range []string{"../x", "a/b", ".", "..", "journal", "meta.db", "x-delete", strings.Repeat("x", 300), ".."} {
		if _, err := s.CreateGroup(groupID(2), bad, 0, log.Options{}); err == nil {
			t.Errorf("folder %q taken", bad)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	o := testOptions(t.TempDir())
	openStore(t, o)
	_, err := Open(o)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), filepath.Join(o.Dirs[0], ".lock")) {
		t.Fatalf("got %v", err)
	}
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	s.Close(true)
	for name, mend := range map[string]func(*Options){
		"node.id":    func(o *Options) { o.NodeID = 2 },
		"cluster.id": func(o *Options) { o.ClusterID = "another" },
	} {
		bad := o
		mend(&bad)
		_, err := Open(bad)
		if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "meta.properties") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(o.Dirs[0], "meta.properties"))
	if err != nil || !bytes.Contains(b, []byte("version=1\n")) {
		t.Fatalf("%q, %v", b, err)
	}
	if err := os.Rename(filepath.Join(o.Dirs[0], "meta.db"), filepath.Join(o.Dirs[0], "gone")); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(o); err == nil {
		// An empty journal proves nothing was acknowledged; one with records must be refused.
		g, p := createGroup(t, s, 1)
		mustAppend(t, g, p, p.noop())
		s.Close(true)
		os.Remove(filepath.Join(o.Dirs[0], "meta.db"))
		_, err = Open(o)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "meta.db is missing") {
			t.Fatalf("got %v", err)
		}
	} else if !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// The journal must shrink with checkpoints, or a restart would take ever longer.
func TestCheckpointBoundsTheJournal(t *testing.T) {
	o := testOptions(t.TempDir())
	o.JournalSegmentBytes, o.CheckpointBytes = 64<<10, 256<<10
	o.Logger = slog.New(slog.DiscardHandler)
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	idle, ip := createGroup(t, s, 2)
	mustAppend(t, idle, ip, ip.noop(), ip.epochBase(), ip.data(100, entry.Synced))
	mustAppend(t, g, p, p.noop(), p.epochBase())
	most := int64(0)
	for range 400 {
		mustAppend(t, g, p, p.data(8000, entry.Synced))
		select {
		case <-s.CheckpointC():
			if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
				t.Fatal(err)
			}
			if err := g.TruncatePrefix(g.LastIndex()); err != nil {
				t.Fatal(err)
			}
		default:
		}
		most = max(most, s.journal.Size())
	}
	if most > 512<<10 {
		t.Fatalf("the journal grew to %d bytes", most)
	}
	before := contents(t, g) + contents(t, idle)
	s.Close(false)
	s = openStore(t, o)
	g, _ = s.Group(groupID(1))
	idle, _ = s.Group(groupID(2))
	if after := contents(t, g) + contents(t, idle); after != before {
		t.Fatal("contents changed")
	}
}

// A process that is killed young, again and again, must not leave its successors an ever longer journal.
func TestReplayedJournalCountsTowardsTheCheckpoint(t *testing.T) {
	o := testOptions(t.TempDir())
	o.CheckpointBytes = 64 << 10
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for life := 0; ; life++ {
		if life == 20 {
			t.Fatalf("no checkpoint due with a journal of %d bytes", s.journal.Size())
		}
		p.resume(g.LastIndex(), p.term, g.State())
		for range 4 {
			mustAppend(t, g, p, p.data(2000, entry.Synced))
		}
		s.Close(false)
		s = openStore(t, o)
		g, _ = s.Group(groupID(1))
		select {
		case <-s.CheckpointC():
			return
		default:
		}
	}
}

func TestNeverClosedTwice(t *testing.T) {
	s := openStore(t, testOptions(t.TempDir()))
	g, p := createGroup(t, s, 1)
	if err := s.Close(true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(true); err != nil {
		t.Fatal(err)
	}
	if err := g.Append([]Entry{p.noop()}, p.state); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after Close: %v", err)
	}
	if _, err := s.CreateGroup(groupID(7), "x-0", 0, log.Options{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("create after Close: %v", err)
	}
}
