package meta

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/tandembroker/tandem/storage/entry"
)

const (
	bucketTails = "tails"
	keyTails    = "tails" // in bucketCheckpoint
)

// Tail says which journal records of a Raft group a start needs: none below Need, and the newest one is Last.
type Tail struct{ Need, Last uint64 }

// Tails is the bucket tails. A Raft group that is not in it needs no record up to At.
type Tails struct {
	At     uint64 // the journal sequence up to which it is complete; 0 = an older binary never stored it
	Groups map[entry.GroupID]Tail
}

const tailLen = 16

// LoadTails reads the tails. Errors: ErrCorrupt, ErrVersion.
func (d *DB) LoadTails() (Tails, error) {
	t := Tails{Groups: map[entry.GroupID]Tail{}}
	err := d.bolt.View(func(tx *bolt.Tx) error {
		c := tx.Bucket([]byte(bucketCheckpoint))
		b := tx.Bucket([]byte(bucketTails))
		if c == nil || b == nil || c.Get([]byte(keyTails)) == nil {
			return nil // rows without it would be complete up to nowhere
		}
		at, err := open(c.Get([]byte(keyTails)))
		if err == nil && len(at) != 8 {
			err = fmt.Errorf("%w: %d bytes", ErrCorrupt, len(at))
		}
		if err != nil {
			return fmt.Errorf("%s/%s: %w", bucketCheckpoint, keyTails, err)
		}
		t.At = binary.BigEndian.Uint64(at)
		return b.ForEach(func(k, v []byte) error {
			value, err := open(v)
			if err == nil && (len(k) != entry.GroupIDLen || len(value) != tailLen) {
				err = fmt.Errorf("%w: key of %d bytes, value of %d", ErrCorrupt, len(k), len(value))
			}
			if err != nil {
				return fmt.Errorf("%s/%x: %w", bucketTails, k, err)
			}
			t.Groups[entry.ParseGroupID(k)] = Tail{binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])}
			return nil
		})
	})
	if err != nil {
		return t, fmt.Errorf("meta: %s: %w", d.path, err)
	}
	return t, nil
}

// putTails changes the rows of changed, of which a zero one is removed, and says up to where all rows are complete.
func putTails(tx *bolt.Tx, changed *Tails) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucketTails))
	if err != nil {
		return err
	}
	for id, t := range changed.Groups {
		if t == (Tail{}) {
			err = b.Delete(id.Append(nil))
		} else {
			value := binary.BigEndian.AppendUint64(make([]byte, 0, tailLen), t.Need)
			err = b.Put(id.Append(nil), seal(binary.BigEndian.AppendUint64(value, t.Last)))
		}
		if err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketCheckpoint)).Put([]byte(keyTails), seal(binary.BigEndian.AppendUint64(nil, changed.At)))
}
