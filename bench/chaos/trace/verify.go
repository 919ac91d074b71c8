//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// promise is what a state must hold of one partition.
type promise struct {
	lane     *lane
	acked    int64 // records
	startMax int64 // retention may have deleted what lies below
	gone     bool  // its topic may have been deleted
}

func (p promise) folder() string { return fmt.Sprintf("%s-%d", p.lane.Topic, p.lane.Partition) }

// promises are those that had been made strictly before an instant. starts are where the logs begin at the end of the run.
func (r *recording) promises(ns int64, starts map[string]int64) []promise {
	var all []promise
	for _, l := range r.Lanes {
		p := promise{lane: l, gone: l.DeletedFrom > 0 && l.DeletedFrom < ns}
		p.startMax = starts[p.folder()]
		if !p.gone && !l.Cached {
			p.acked = l.ackedAt(ns)
		}
		all = append(all, p)
	}
	return all
}

// starts are where the logs begin in a data directory, by folder. The directory is changed.
func (w *worker) starts(dataDir string) (map[string]int64, error) {
	a, err := w.ask(dataDir)
	if err == nil && a.Err != "" {
		err = errors.New(a.Err)
	}
	starts := map[string]int64{}
	for _, f := range a.Logs {
		starts[f.Folder] = f.Start
	}
	return starts, err
}

// answer and found are what recoverlogs sends, by the names of their fields.
type answer struct {
	Err    string
	Second string
	Logs   []found
}

type found struct {
	Folder     string
	Group      string
	Offline    string
	Start, End int64
	Last       uint64
	Records    []byte
}

// checkAnswer holds what was recovered against the promises.
func checkAnswer(a answer, promises []promise) error {
	if a.Err != "" {
		return fmt.Errorf("recovery: %s", a.Err)
	}
	var errs []error
	if a.Second != "" {
		errs = append(errs, fmt.Errorf("second recovery: %s", a.Second))
	}
	logs := map[string]found{}
	for _, f := range a.Logs {
		if f.Offline != "" {
			errs = append(errs, fmt.Errorf("%q (%s) is offline: %s", f.Folder, f.Group, f.Offline))
		}
		if _, twice := logs[f.Folder]; twice {
			errs = append(errs, fmt.Errorf("two Raft groups in %q", f.Folder))
		}
		logs[f.Folder] = f
	}
	for _, p := range promises {
		f, ok := logs[p.folder()]
		delete(logs, p.folder())
		if !ok {
			if p.acked > 0 {
				errs = append(errs, fmt.Errorf("%s is gone, %d records were acknowledged", p.folder(), p.acked))
			}
			continue
		}
		if f.Offline == "" {
			if err := p.check(f.Start, f.End, f.Records); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.folder(), err))
			}
		}
	}
	for folder := range logs {
		if folder != "" && folder != "small-0" && folder != "mixed-0" {
			errs = append(errs, fmt.Errorf("a Raft group in %q, which nobody made", folder))
		}
	}
	return errors.Join(errs...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// check reads record batches from start to end: acknowledged ⊆ found ⊆ sent, in order, bytes equal.
func (p promise) check(start, end int64, records []byte) error {
	if start > p.startMax {
		return fmt.Errorf("begins at offset %d, retention has deleted up to %d at most", start, p.startMax)
	}
	if start > 0 && len(records) < largeRetentionBytes {
		return fmt.Errorf("retention left %d bytes, of %d that it must leave", len(records), largeRetentionBytes)
	}
	next := int64(-1)
	for len(records) > 0 {
		const prefix = 12
		if len(records) < prefix {
			return fmt.Errorf("%d bytes behind the last batch", len(records))
		}
		length := prefix + int64(binary.BigEndian.Uint32(records[8:]))
		if length < 61 || length > int64(len(records)) {
			return fmt.Errorf("a batch of %d bytes behind offset %d, %d are left", length, next, len(records))
		}
		raw := records[:length]
		records = records[length:]
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(raw); err != nil {
			return err
		}
		if next < 0 {
			if next = batch.FirstOffset; next > start {
				return fmt.Errorf("begins at offset %d, its first batch at %d", start, next)
			}
		}
		switch {
		case crc32.Checksum(raw[21:], castagnoli) != uint32(batch.CRC):
			return fmt.Errorf("the CRC of the batch at offset %d is wrong", batch.FirstOffset)
		case batch.FirstOffset != next:
			return fmt.Errorf("a batch at offset %d behind offset %d", batch.FirstOffset, next-1)
		}
		var err error
		if next, err = p.checkRecords(batch); err != nil {
			return err
		}
	}
	switch {
	case next < 0 && end > start:
		return fmt.Errorf("no batches in offsets [%d, %d)", start, end)
	case next >= 0 && next != end:
		return fmt.Errorf("the batches end at offset %d, the log at %d", next, end)
	case end < p.acked:
		return fmt.Errorf("ends at offset %d, %d records were acknowledged", end, p.acked)
	case end > p.lane.Sent:
		return fmt.Errorf("ends at offset %d, only %d records were sent", end, p.lane.Sent)
	}
	return nil
}

func (p promise) checkRecords(batch kmsg.RecordBatch) (next int64, err error) {
	rest := batch.Records
	for i := range int64(batch.NumRecords) {
		length, n := binary.Varint(rest)
		if n <= 0 || length < 0 || int64(n)+length > int64(len(rest)) {
			return 0, fmt.Errorf("record %d of the batch at offset %d is cut off", i, batch.FirstOffset)
		}
		var record kmsg.Record
		if err := record.ReadFrom(rest[:int64(n)+length]); err != nil {
			return 0, fmt.Errorf("record %d of the batch at offset %d: %w", i, batch.FirstOffset, err)
		}
		rest = rest[int64(n)+length:]
		number := batch.FirstOffset + int64(record.OffsetDelta)
		if number != batch.FirstOffset+i || !bytes.Equal(record.Key, key(number)) || !bytes.Equal(record.Value, p.lane.value(number)) {
			return 0, fmt.Errorf("at offset %d, record %q, which is not what was sent", batch.FirstOffset+i, record.Key)
		}
	}
	if len(rest) > 0 || int64(batch.LastOffsetDelta) != int64(batch.NumRecords)-1 {
		return 0, fmt.Errorf("the batch at offset %d has %d records up to %d, and %d bytes more", batch.FirstOffset, batch.NumRecords, batch.LastOffsetDelta, len(rest))
	}
	return batch.FirstOffset + int64(batch.NumRecords), nil
}

// recovered writes a state below dir and has a child open it.
func (w *worker) recover(s *state) error {
	if err := materialise(s.files, w.dir); err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	a, err := w.ask(filepath.Join(w.dir, "data"))
	if err != nil {
		return err
	}
	return checkAnswer(a, s.promises)
}
