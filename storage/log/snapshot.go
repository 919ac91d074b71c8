package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
)

// ProducerEntry is what Kafka keeps of a producer in a .snapshot file.
type ProducerEntry struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32
	LastOffset       int64 // of the producer's last batch
	OffsetDelta      int32 // of the last batch: last offset less base offset
	Timestamp        int64 // ms
	CoordinatorEpoch int32 // -1 = none
	TxnFirstOffset   int64 // of the open transaction; -1 = none
}

// Layout of a .snapshot: version i16, CRC32C u32 of all behind it, count i32, entries. Source: Kafka's ProducerStateManager.
const (
	snapshotVersion  = 1
	snapshotCRCPos   = 2
	snapshotBody     = 6
	snapshotHeader   = 10
	producerEntryLen = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8

	snapshotsKept = 2
)

func encodeSnapshot(entries []ProducerEntry) []byte {
	b := make([]byte, snapshotHeader, snapshotHeader+len(entries)*producerEntryLen)
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[snapshotBody:], uint32(len(entries)))
	for i := range entries {
		e := &entries[i]
		b = binary.BigEndian.AppendUint64(b, uint64(e.ProducerID))
		b = binary.BigEndian.AppendUint16(b, uint16(e.ProducerEpoch))
		b = binary.BigEndian.AppendUint32(b, uint32(e.LastSequence))
		b = binary.BigEndian.AppendUint64(b, uint64(e.LastOffset))
		b = binary.BigEndian.AppendUint32(b, uint32(e.OffsetDelta))
		b = binary.BigEndian.AppendUint64(b, uint64(e.Timestamp))
		b = binary.BigEndian.AppendUint32(b, uint32(e.CoordinatorEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(e.TxnFirstOffset))
	}
	binary.BigEndian.PutUint32(b[snapshotCRCPos:], crc32.Checksum(b[snapshotBody:], entry.Castagnoli))
	return b
}

func decodeSnapshot(b []byte) ([]ProducerEntry, error) {
	if len(b) < snapshotHeader {
		return nil, fmt.Errorf("%d bytes, less than a header", len(b))
	}
	if v := binary.BigEndian.Uint16(b); v != snapshotVersion {
		return nil, fmt.Errorf("version %d, this binary reads %d", v, snapshotVersion)
	}
	if got, want := crc32.Checksum(b[snapshotBody:], entry.Castagnoli), binary.BigEndian.Uint32(b[snapshotCRCPos:]); got != want {
		return nil, fmt.Errorf("CRC %08x, the file says %08x", got, want)
	}
	count := int64(int32(binary.BigEndian.Uint32(b[snapshotBody:])))
	body := b[snapshotHeader:]
	if count < 0 || count*producerEntryLen != int64(len(body)) {
		return nil, fmt.Errorf("%d entries in %d bytes", count, len(body))
	}
	entries := make([]ProducerEntry, count)
	for i := range entries {
		e := body[i*producerEntryLen:]
		entries[i] = ProducerEntry{
			ProducerID:       int64(binary.BigEndian.Uint64(e)),
			ProducerEpoch:    int16(binary.BigEndian.Uint16(e[8:])),
			LastSequence:     int32(binary.BigEndian.Uint32(e[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(e[14:])),
			OffsetDelta:      int32(binary.BigEndian.Uint32(e[22:])),
			Timestamp:        int64(binary.BigEndian.Uint64(e[26:])),
			CoordinatorEpoch: int32(binary.BigEndian.Uint32(e[34:])),
			TxnFirstOffset:   int64(binary.BigEndian.Uint64(e[38:])),
		}
	}
	return entries, nil
}

// WriteProducerSnapshot stores the producers' state as of the records below offset, durably, and removes all but the newest two
// snapshots and the one that belongs to the checkpoint given to Open: starts may end before they store another one. entries are borrowed
// until return. Errors: ErrNoSpace, to be tried again; any other failure is final for the log (ErrFailed).
func (l *Log) WriteProducerSnapshot(offset int64, entries []ProducerEntry) error {
	if err := l.writable(); err != nil {
		return err
	}
	l.files.Lock()
	defer l.files.Unlock()
	if err := writeFile(l.fsys, fileName(l.dir, offset, suffixSnapshot), encodeSnapshot(entries)); err != nil {
		return l.failUnlessFull(fmt.Errorf("write producer snapshot %d: %w", offset, err))
	}
	offsets, err := l.snapshots()
	if err != nil {
		return l.fail(err)
	}
	slices.Reverse(offsets)
	for i, old := range offsets {
		if i < snapshotsKept || old == l.stored {
			continue
		}
		if err := removeIfThere(l.fsys, fileName(l.dir, old, suffixSnapshot)); err != nil {
			return l.fail(err)
		}
	}
	return nil
}

// ReadProducerSnapshot reads the snapshot of exactly offset. Errors: fs.ErrNotExist, ErrCorrupt.
func (l *Log) ReadProducerSnapshot(offset int64) ([]ProducerEntry, error) {
	name := fileName(l.dir, offset, suffixSnapshot)
	b, err := readSmall(l.fsys, name)
	if err != nil {
		return nil, err
	}
	entries, err := decodeSnapshot(b)
	if err != nil {
		return nil, &CorruptError{File: name, Reason: err.Error()}
	}
	return entries, nil
}

// ProducerSnapshots lists the offsets that have a snapshot, ascending.
func (l *Log) ProducerSnapshots() ([]int64, error) {
	l.files.Lock()
	defer l.files.Unlock()
	return l.snapshots()
}

func (l *Log) snapshots() ([]int64, error) {
	files, err := l.fsys.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var offsets []int64
	for _, e := range files {
		if offset, suffix, ok := parseName(e.Name()); ok && suffix == suffixSnapshot {
			offsets = append(offsets, offset)
		}
	}
	return offsets, nil
}

// removeSnapshots unlinks the snapshots that gone says; true = there were some.
func (l *Log) removeSnapshots(gone func(offset int64) bool) (removed bool, err error) {
	files, err := l.fsys.ReadDir(l.dir)
	if err != nil {
		return false, err
	}
	for _, e := range files {
		if offset, suffix, ok := parseName(e.Name()); ok && suffix == suffixSnapshot && gone(offset) {
			if err := l.fsys.Remove(path.Join(l.dir, e.Name())); err != nil {
				return removed, err
			}
			removed = true
		}
	}
	return removed, nil
}
