package meta

import (
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Tx is a transaction of the metadata machine. Buckets are named by a path, "cluster" or "cluster/topics". It is valid until
// the function it was given to returns.
type Tx struct {
	tx *bolt.Tx
}

// Update runs fn in a write transaction; on nil it is durable, on an error of fn nothing of it is. It costs two fdatasyncs.
func (d *DB) Update(fn func(tx Tx) error) error {
	return d.update(func(tx *bolt.Tx) error { return fn(Tx{tx}) })
}

// View runs fn in a read transaction. Keep it short: a long one blocks the writer when the file grows.
func (d *DB) View(fn func(tx Tx) error) error {
	err := d.bolt.View(func(tx *bolt.Tx) error { return fn(Tx{tx}) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

func (tx Tx) bucket(path string) *bolt.Bucket {
	top, rest, more := strings.Cut(path, "/")
	b := tx.tx.Bucket([]byte(top))
	for more && b != nil {
		top, rest, more = strings.Cut(rest, "/")
		b = b.Bucket([]byte(top))
	}
	return b
}

// Get returns a copy of the value of key; nil, nil when there is none. Errors: ErrCorrupt, ErrVersion.
func (tx Tx) Get(bucket string, key []byte) ([]byte, error) {
	b := tx.bucket(bucket)
	if b == nil {
		return nil, nil
	}
	v := b.Get(key)
	if v == nil {
		return nil, nil
	}
	value, err := open(v)
	if err != nil {
		return nil, fmt.Errorf("%s/%q: %w", bucket, key, err)
	}
	return value, nil
}

// Put stores a copy of value; buckets on the way are created.
func (tx Tx) Put(bucket string, key, value []byte) error {
	if reserved(bucket) {
		return fmt.Errorf("meta: bucket %s belongs to the storage layer", bucket)
	}
	top, rest, more := strings.Cut(bucket, "/")
	b, err := tx.tx.CreateBucketIfNotExists([]byte(top))
	for more && err == nil {
		top, rest, more = strings.Cut(rest, "/")
		b, err = b.CreateBucketIfNotExists([]byte(top))
	}
	if err != nil {
		return fmt.Errorf("meta: bucket %s: %w", bucket, err)
	}
	return b.Put(append([]byte(nil), key...), seal(value)) // bbolt keeps the key until the commit
}

// Delete removes key; a missing one is no error.
func (tx Tx) Delete(bucket string, key []byte) error {
	if reserved(bucket) {
		return fmt.Errorf("meta: bucket %s belongs to the storage layer", bucket)
	}
	b := tx.bucket(bucket)
	if b == nil {
		return nil
	}
	return b.Delete(key)
}

// Each calls fn with copies of all keys and values of bucket, in key order; sub-buckets are passed over.
// Errors: fn's, ErrCorrupt, ErrVersion.
func (tx Tx) Each(bucket string, fn func(key, value []byte) error) error {
	b := tx.bucket(bucket)
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return nil
		}
		value, err := open(v)
		if err != nil {
			return fmt.Errorf("%s/%q: %w", bucket, k, err)
		}
		return fn(append([]byte(nil), k...), value)
	})
}
