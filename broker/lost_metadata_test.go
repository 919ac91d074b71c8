package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/tandembroker/tandem/storage/entry"
)

// copyMarks makes the meta.db in to one that has not followed the mark of its journal since the one in from.
func copyMarks(t *testing.T, from, to string) {
	t.Helper()
	source, err := bolt.Open(filepath.Join(from, "meta.db"), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := bolt.Open(filepath.Join(to, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = target.Update(func(out *bolt.Tx) error {
		return source.View(func(in *bolt.Tx) error {
			for _, name := range []string{"checkpoint", "tails"} {
				if err := out.DeleteBucket([]byte(name)); err != nil {
					return err
				}
				b, err := out.CreateBucket([]byte(name))
				if err == nil {
					err = in.Bucket([]byte(name)).ForEach(b.Put)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err = errors.Join(err, target.Close()); err != nil {
		t.Fatal(err)
	}
}

// Topics were created in the moment before the process ended; the journal loses their commands, above the newest mark that anybody
// stored, while meta.db has what they did already. It keeps that, and what is done next counts: nothing is taken for a repetition.
func TestCommandsLostBehindTheMarkAreNotTakenForRepeated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, settings(t, dir))
	r.produce(t, "whole", 0, 10)
	marked := copyWhenMarked(t, dir)
	file, records := journalRecords(t, marked)
	size, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		r.produce(t, fmt.Sprintf("last-%d", i), 0, 1)
	}
	killed := copyWhenMarked(t, dir)
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	var lost int
	file, all := journalRecords(t, killed)
	for _, record := range all[len(records):] {
		if record.group == entry.MetadataGroup {
			lost++
		}
	}
	if lost < 20 {
		t.Fatalf("%d records of metadata behind the mark", lost)
	}
	copyMarks(t, marked, killed)
	if err := os.Truncate(file, size.Size()); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		r := start(t, settings(t, killed))
		r.consume(t, "whole", 10+round*5)
		r.produce(t, "whole", 10+round*5, 15+round*5)
		for i := range round {
			r.consume(t, fmt.Sprintf("new-%d", i), 3)
		}
		r.produce(t, fmt.Sprintf("new-%d", round), 0, 3)
		r.consume(t, fmt.Sprintf("new-%d", round), 3)
		for i := range 20 {
			if _, ok := r.controller.Image().Topic(fmt.Sprintf("last-%d", i)); !ok {
				t.Fatalf("start %d: meta.db had topic last-%d", round, i)
			}
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	}
}
