package meta

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/tandembroker/tandem/storage/entry"
)

func open1(t *testing.T, path string, o Options) *DB {
	t.Helper()
	d, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func group(n int32) entry.GroupID { return entry.GroupID{Topic: [16]byte{0: 7}, Partition: n} }

func full() *GroupCheckpoint {
	return &GroupCheckpoint{
		SnapshotIndex: 1, SnapshotTerm: 2, CurrentTerm: 3, VotedTerm: 4, LogStart: 5, LogEnd: 6, EndSegment: 7, EndPosition: 8,
		LogDir: 9, SiteEpoch: 10, TermBase: 11, EpochBase: 12, LeaderEpoch: 13, AppendSequence: 14, ValidatedTerm: 15,
		ConfigurationIndex: 16, Candidate: "1@d", Configuration: []byte("cf"), Folder: "t-0", State: []byte{1},
		Sealed: []SealedSegment{{0, 100}, {5, 200}}, EpochsCRC: 17, Replacing: &Replacement{0, 5, 150},
	}
}

func TestGroupCheckpointGolden(t *testing.T) {
	want := strings.ReplaceAll(`
0000000000000001 0000000000000002 0000000000000003 0000000000000004
0000000000000005 0000000000000006 0000000000000007 0000000000000008
0009 0000 0000000a 000000000000000b 0000000c 0000000d 000000000000000e 000000000000000f 0000000000000010
00000003 314064 00000002 6366 00000003 742d30 00000001 01
00000002 0000000000000000 00000064 0000000000000005 000000c8 00000011 01 0000000000000000 0000000000000005 00000096`, "\n", " ")
	if got := hex.EncodeToString(full().Append(nil)); got != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("encoded\n%s, docs/formats.md says\n%s", got, want)
	}
	var got GroupCheckpoint
	if err := got.Decode(full().Append(nil), 2); err != nil || !reflect.DeepEqual(&got, full()) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestGroupCheckpointRefused(t *testing.T) {
	good := full().Append(nil)
	for n := range good {
		var c GroupCheckpoint
		if err := c.Decode(good[:n], 2); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for name, b := range map[string][]byte{
		"trailing byte":                    append(bytes.Clone(good), 0),
		"reserved":                         append(append(bytes.Clone(good[:66]), 1), good[67:]...),
		"absurd length":                    append(append(bytes.Clone(good[:112]), 0xff, 0xff, 0xff, 0xff), good[116:]...),
		"sealed segments that do not rise": append(append(bytes.Clone(good[:len(good)-30]), 0), good[len(good)-29:]...),
		"segment behind the end":           append(append(bytes.Clone(good[:len(good)-30]), 9), good[len(good)-29:]...),
		"length past end":                  append(append(bytes.Clone(good[:112]), 0, 0, 1, 0), good[116:]...),
	} {
		var c GroupCheckpoint
		if err := c.Decode(b, 2); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A row of version 1 has no list; what is stored in its place says so.
func TestGroupCheckpointOfVersion1(t *testing.T) {
	want := full()
	want.Sealed, want.EpochsCRC, want.Replacing = nil, 0, nil
	b := want.Append(nil)
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{})
	err := d.bolt.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucketRaft)).Put(group(1).Append(nil), sealAs(1, b[:len(b)-9]))
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		rows, bad, err := d.LoadGroups()
		if err != nil || len(bad) > 0 || !reflect.DeepEqual(rows[group(1)], want) {
			t.Fatalf("got %+v, bad %v, %v", rows[group(1)], bad, err)
		}
		if err := d.Commit(Commit{Groups: rows}); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzGroupCheckpoint(f *testing.F) {
	f.Add(full().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c GroupCheckpoint
		if c.Decode(b, 2) == nil && !bytes.Equal(c.Append(nil), b) {
			t.Fatalf("decoded %x, encoded %x", b, c.Append(nil))
		}
	})
}

func TestAdmissionStateRoundTrip(t *testing.T) {
	for _, s := range []entry.State{
		entry.NewState(5),
		{SiteEpoch: 1, FenceTarget: entry.NoFence, HasEpochBase: true, TermBase: 2, EpochBase: 3, LastTerm: 4, AppendSequence: 5,
			LastEpoch: 6, NextOffset: 7},
	} {
		var c GroupCheckpoint
		c.SetAdmissionState(s, nil)
		var again GroupCheckpoint
		if err := again.Decode(c.Append(nil), 2); err != nil {
			t.Fatal(err)
		}
		if got := again.AdmissionState(); got != s {
			t.Errorf("got %+v, want %+v", got, s)
		}
	}
}

func TestCommitSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{Initial: Identity{ClusterID: "c", NodeID: 3, DiskID: "d", SiteDomain: "s"}})
	jc := JournalCheckpoint{First: 4, Mark: 9, Clean: true}
	if err := d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{group(1): full(), group(2): full()}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(Commit{Removed: []entry.GroupID{group(2), group(3)}, Journal: &jc}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = open1(t, path, Options{Check: func(string) error { return errors.New("checked after a clean stop") }})
	rows, bad, err := d.LoadGroups()
	if err != nil || len(bad) > 0 || len(rows) != 1 || !reflect.DeepEqual(rows[group(1)], full()) {
		t.Fatalf("rows %v, bad %v, %v", rows, bad, err)
	}
	if d.Journal() != jc || !d.WasClean() {
		t.Fatalf("journal %+v, clean %v", d.Journal(), d.WasClean())
	}
	id, err := d.Identity()
	if want := (Identity{"c", 3, "d", "s", FormatLevelMin}); err != nil || id != want {
		t.Fatalf("identity %+v, %v", id, err)
	}
}

func TestCheckRunsAfterAnUncleanStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{})
	d.Close()
	checked := 0
	check := func(p string) error { checked++; return CheckFile(p) }
	d = open1(t, path, Options{Check: check})
	if checked != 1 {
		t.Fatalf("checked %d times", checked)
	}
	if err := d.Commit(Commit{Journal: &JournalCheckpoint{Clean: true}}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	open1(t, path, Options{Check: check}).Close()
	if checked != 1 {
		t.Fatal("checked after a clean stop")
	}
	if _, err := Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	put := func(bucket, key string, v []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), v) }
	}
	newer := seal([]byte("x"))
	newer[4] = 2
	binary.BigEndian.PutUint32(newer, crc32.Checksum(newer[4:], entry.Castagnoli))
	for _, c := range []struct {
		name string
		mend func(*bolt.Tx) error
		want error
		says string
	}{
		{"format level", put(bucketIdentity, "format.level", seal([]byte("3"))), ErrVersion, "format level 3"},
		{"value version", put(bucketIdentity, "cluster.id", newer), ErrVersion, "version 2"},
		{"value CRC", put(bucketIdentity, "cluster.id", []byte("0123456789")), ErrCorrupt, "cluster.id"},
		{"journal checkpoint", put(bucketCheckpoint, keyJournal, seal([]byte("12"))), ErrCorrupt, "journal checkpoint"},
		{"version of a group", put(bucketRaft, string(group(1).Append(nil)), sealAs(4, []byte("x"))), ErrVersion, "version 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "meta.db")
			d := open1(t, path, Options{})
			if err := d.bolt.Update(c.mend); err != nil {
				t.Fatal(err)
			}
			d.Close()
			d, err := Open(path, Options{})
			if err == nil {
				_, _, err = d.LoadGroups()
				d.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestDamagedGroupHurtsOnlyItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{})
	if err := d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{group(1): full(), group(2): full()}}); err != nil {
		t.Fatal(err)
	}
	err := d.bolt.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucketRaft))
		v := bytes.Clone(b.Get(group(1).Append(nil)))
		v[20]++
		return b.Put(group(1).Append(nil), v)
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = open1(t, path, Options{})
	rows, bad, err := d.LoadGroups()
	if err != nil || len(rows) != 1 || rows[group(2)] == nil || !errors.Is(bad[group(1)], ErrCorrupt) {
		t.Fatalf("rows %v, bad %v, %v", rows, bad, err)
	}
}

func TestTx(t *testing.T) {
	d := open1(t, filepath.Join(t.TempDir(), "meta.db"), Options{})
	err := d.Update(func(tx Tx) error {
		return errors.Join(tx.Put("cluster/topics", []byte("a"), []byte("1")), tx.Put("cluster/topics", []byte("b"), nil),
			tx.Put("cluster", []byte("c"), []byte("3")), tx.Delete("cluster/none", []byte("x")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Update(func(tx Tx) error { return tx.Put("raft", []byte("a"), nil) }); err == nil {
		t.Fatal("wrote a bucket of the storage layer")
	}
	stop := errors.New("stop")
	if err := d.Update(func(tx Tx) error { return errors.Join(tx.Delete("cluster", []byte("c")), stop) }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	var seen []string
	err = d.View(func(tx Tx) error {
		v, err := tx.Get("cluster", []byte("c"))
		if err != nil || string(v) != "3" {
			return fmt.Errorf("c = %q, %v: an aborted transaction left its delete", v, err)
		}
		if v, err := tx.Get("cluster/none", []byte("c")); v != nil || err != nil {
			return fmt.Errorf("a bucket that is not there has %q, %v", v, err)
		}
		return errors.Join(tx.Each("cluster/topics", func(k, v []byte) error { seen = append(seen, string(k)+string(v)); return nil }),
			tx.Each("cluster", func(k, v []byte) error { seen = append(seen, string(k)+string(v)); return nil }))
	})
	if err != nil || !reflect.DeepEqual(seen, []string{"a1", "b", "c3"}) {
		t.Fatalf("%v, %v", seen, err)
	}
	d.Close()
	if err := d.Update(func(Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

// A file of thousands of groups, so that Peek meets branch pages and buckets with pages of their own.
func TestPeekAgreesWithBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{NoSync: true})
	for round := range 5 {
		groups := map[entry.GroupID]*GroupCheckpoint{}
		for i := range 400 {
			groups[group(int32(round*400+i))] = full()
		}
		jc := JournalCheckpoint{First: uint64(round), Mark: 77, Clean: round%2 == 0}
		if err := d.Commit(Commit{Groups: groups, Journal: &jc}); err != nil {
			t.Fatal(err)
		}
		got, err := Peek(path)
		if err != nil || got != jc {
			t.Fatalf("round %d: %+v, %v", round, got, err)
		}
	}
}

// Whatever bytes are damaged, Peek neither panics nor takes an unclean file for a clean one.
func TestPeekBelievesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	d := open1(t, path, Options{NoSync: true})
	if err := d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{group(1): full()}}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		b := bytes.Clone(good)
		for range 1 + rng.IntN(8) {
			b[rng.IntN(len(b))] ^= byte(1 + rng.IntN(255))
		}
		if rng.IntN(8) == 0 {
			b = b[:rng.IntN(len(b))]
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if jc, err := Peek(path); err == nil && jc.Clean {
			t.Fatalf("seed %d: a damaged unclean file is taken for a clean one", seed)
		}
	}
}

func TestLeftoverOfAnInterruptedCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	if err := os.WriteFile(path+".new", []byte("half a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	open1(t, path, Options{})
}

func TestConcurrentUse(t *testing.T) {
	d := open1(t, filepath.Join(t.TempDir(), "meta.db"), Options{NoSync: true})
	var wg sync.WaitGroup
	for w := range int32(4) {
		wg.Go(func() {
			for i := range int32(20) {
				id := group(w*100 + i)
				if err := d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{id: full()}}); err != nil {
					t.Error(err)
				}
				if _, err := d.Identity(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if rows, _, _ := d.LoadGroups(); len(rows) != 80 {
		t.Fatalf("%d rows", len(rows))
	}
}

// A disk without room for the pages of a commit leaves the file as it was, and the next commit is tried. Every other failure ends
// all writes: a failed sync, one of the metadata machine, which has no second try.
func TestCommitOnAFullDiskIsTriedAgain(t *testing.T) {
	full1 := &fs.PathError{Op: "write", Path: "meta.db", Err: syscall.ENOSPC}
	for name, c := range map[string]struct {
		err   error
		after bool // the transaction is there all the same
		again bool
	}{
		"a page":                    {full1, false, true},
		"a meta page, half":         {full1, true, false},
		"another error":             {&fs.PathError{Op: "write", Path: "meta.db", Err: syscall.EIO}, false, false},
		"a sync, of a delayed page": {syscall.ENOSPC, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "meta.db")
			d := open1(t, path, Options{NoSync: true})
			write := d.write
			d.write = func(fn func(*bolt.Tx) error) error {
				return errors.Join(write(func(tx *bolt.Tx) error {
					if err := fn(tx); err != nil || c.after {
						return err
					}
					return errRolledBack
				}), c.err)
			}
			jc := JournalCheckpoint{First: 5, Mark: 9}
			err := d.Commit(Commit{Journal: &jc})
			d.write = write
			if errors.Is(err, ErrNoSpace) != c.again || err == nil || d.Journal() == jc {
				t.Fatalf("%v, the journal's checkpoint is %+v", err, d.Journal())
			}
			err = d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{group(1): full()}, Journal: &jc})
			if (err == nil) != c.again || (d.Failed() == nil) != c.again {
				t.Fatalf("then: %v, failed %v", err, d.Failed())
			}
			if !c.again {
				return
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open1(t, path, Options{NoSync: true})
			if groups, bad, err := d.LoadGroups(); err != nil || len(groups) != 1 || len(bad) != 0 || d.Journal() != jc {
				t.Fatalf("%d groups, %d bad, %+v, %v", len(groups), len(bad), d.Journal(), err)
			}
		})
	}
}

var errRolledBack = errors.New("rolled back")
