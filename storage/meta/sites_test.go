package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/tandembroker/tandem/storage/entry"
)

func fullSites() *GroupCheckpoint {
	c := full()
	c.Sites = &GroupSites{HasEpochBase: true, Role: entry.Following, FenceTarget: 1, Base: 2, Shared: 3, Cut: entry.Cut{SiteEpoch: 4, Offset: 5},
		Spans: []entry.EpochSpan{{SiteEpoch: 0, FirstEpoch: 6, Base: -1, Shared: -1, Start: 0, End: 9},
			{SiteEpoch: 10, FirstEpoch: -1, Base: 11, Shared: 12, Start: -1, End: -1}}}
	return c
}

func TestGroupCheckpointOfLevel2Golden(t *testing.T) {
	want := strings.ReplaceAll(`01 02 0000 00000001 0000000000000002 0000000000000003 00000004 0000000000000005 00000002
00000000 00000006 ffffffffffffffff ffffffffffffffff 0000000000000000 0000000000000009
0000000a ffffffff 000000000000000b 000000000000000c ffffffffffffffff ffffffffffffffff`, "\n", " ")
	b := fullSites().Append(nil)
	front := full().Append(nil)
	if got := hex.EncodeToString(b[len(front):]); !bytes.HasPrefix(b, front) || got != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("encoded\n%s, docs/formats.md says\n%s", got, want)
	}
	var got GroupCheckpoint
	if err := got.Decode(b, 3); err != nil || !reflect.DeepEqual(&got, fullSites()) || got.Version() != 3 || full().Version() != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for n := range b {
		if err := new(GroupCheckpoint).Decode(b[:n], 3); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"trailing byte":           func(b []byte) []byte { return append(b, 0) },
		"reserved":                func(b []byte) []byte { b[len(front)+2] = 1; return b },
		"role":                    func(b []byte) []byte { b[len(front)+1] = 3; return b },
		"epochs that do not rise": func(b []byte) []byte { b[len(front)+83] = 0; return b },
		"as version 2":            nil,
	} {
		version := byte(3)
		c := bytes.Clone(b)
		if change == nil {
			version = 2
		} else {
			c = change(c)
		}
		if err := new(GroupCheckpoint).Decode(c, version); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzGroupCheckpointOfLevel2(f *testing.F) {
	f.Add(fullSites().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c GroupCheckpoint
		if c.Decode(b, 3) == nil && !bytes.Equal(c.Append(nil), b) {
			t.Fatalf("decoded %x, encoded %x", b, c.Append(nil))
		}
	})
}

// A promote ends the epoch base in force, and what it was is known all the same: the state must come back as it is.
func TestAdmissionStateOfLevel2RoundTrip(t *testing.T) {
	promoted := entry.NewSitesState(0)
	promoted.SiteEpoch, promoted.Role, promoted.Base, promoted.TermBase, promoted.EpochBase = 5, entry.Promoted, 5<<42, 7, 3
	fenced := promoted
	fenced.HasEpochBase, fenced.FenceTarget = true, 6
	following := entry.NewSitesState(9)
	following.SiteEpoch, following.Role, following.Shared, following.Cut = 1, entry.Following, 8, entry.Cut{SiteEpoch: 1, Offset: 7}
	lineage := entry.Lineage{LogStart: 4, Spans: []entry.EpochSpan{{SiteEpoch: 1, FirstEpoch: 2, Base: -1, Shared: 8, Start: 0, End: 9}}}
	for _, s := range []entry.State{entry.NewSitesState(5), promoted, fenced, following} {
		c := GroupCheckpoint{LogStart: 4}
		c.SetAdmissionState(s, &lineage)
		var again GroupCheckpoint
		if err := again.Decode(c.Append(nil), c.Version()); err != nil {
			t.Fatal(err)
		}
		if got := again.AdmissionState(); got != s {
			t.Errorf("got %+v, want %+v", got, s)
		}
		if got := again.Lineage(); !reflect.DeepEqual(got, lineage) {
			t.Errorf("got %+v, want %+v", got, lineage)
		}
	}
}

func TestRowVersionGoesByTheLevel(t *testing.T) {
	d := open1(t, filepath.Join(t.TempDir(), "meta.db"), Options{})
	err := d.Commit(Commit{Groups: map[entry.GroupID]*GroupCheckpoint{group(1): full(), group(2): fullSites()}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[entry.GroupID]byte{group(1): 2, group(2): 3} {
		err := d.bolt.View(func(tx *bolt.Tx) error {
			_, version, err := openUpTo(3, tx.Bucket([]byte(bucketRaft)).Get(id.Append(nil)))
			if err == nil && version != want {
				t.Errorf("row of version %d, want %d", version, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
