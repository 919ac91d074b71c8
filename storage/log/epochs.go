package log

import (
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// epochStart says that records from offset on have a leader epoch, up to the next one's.
type epochStart struct {
	epoch  int32
	offset int64
}

// epochs are the leader epochs of a log, both columns rising. Source: Kafka's LeaderEpochFileCache.
type epochs []epochStart

// assign records a batch; true when it began a new epoch.
func (e *epochs) assign(epoch int32, offset int64) bool {
	n := len(*e)
	if epoch < 0 || n > 0 && (*e)[n-1].epoch >= epoch {
		return false
	}
	for n > 0 && (*e)[n-1].offset >= offset { // an epoch that has no record
		n--
	}
	if n < len(*e) {
		*e = slices.Clip((*e)[:n]) // readers may hold the old slice
	}
	*e = append(*e, epochStart{epoch, offset})
	return true
}

// at is the epoch of the record at offset; -1 = unknown.
func (e epochs) at(offset int64) int32 {
	i := sort.Search(len(e), func(i int) bool { return e[i].offset > offset })
	if i == 0 {
		return -1
	}
	return e[i-1].epoch
}

// check compares the leader epoch of a batch, which no CRC covers, with what is known.
func (e epochs) check(f vfs.File, h *header) error {
	if epoch := e.at(h.last); epoch >= 0 && epoch != h.epoch {
		return &CorruptError{File: f.Name(), Pos: h.pos, Reason: fmt.Sprintf("leader epoch %d, %s says %d", h.epoch, nameEpochs, epoch)}
	}
	return nil
}

// endOf is Kafka's endOffsetFor: the largest epoch at or below the one asked for, and the offset where it ends; end is the log
// end offset. (-1, -1) = unknown epoch.
func (e epochs) endOf(epoch int32, end int64) (int32, int64) {
	if epoch < 0 || len(e) == 0 {
		return -1, -1
	}
	if e[len(e)-1].epoch == epoch {
		return epoch, end
	}
	i := sort.Search(len(e), func(i int) bool { return e[i].epoch > epoch })
	switch i {
	case len(e):
		return -1, -1
	case 0:
		return epoch, e[0].offset
	}
	return e[i-1].epoch, e[i].offset
}

// truncateEnd drops epochs that begin at or above offset. true = something changed.
func (e *epochs) truncateEnd(offset int64) bool {
	n := sort.Search(len(*e), func(i int) bool { return (*e)[i].offset >= offset })
	changed := n < len(*e)
	*e = slices.Clip((*e)[:n])
	return changed
}

// truncateStart drops epochs that end at or below offset; the one that offset falls into begins there. true = changed.
func (e *epochs) truncateStart(offset int64) bool {
	i := sort.Search(len(*e), func(i int) bool { return (*e)[i].offset > offset })
	if i == 0 || i == 1 && (*e)[0].offset == offset {
		return false
	}
	kept := slices.Clone((*e)[i-1:])
	kept[0].offset = offset
	*e = kept
	return true
}

// encode writes Kafka's leader-epoch-checkpoint.
func (e epochs) encode() []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(e))
	for _, s := range e {
		b = fmt.Appendf(b, "%d %d\n", s.epoch, s.offset)
	}
	return b
}

func decodeEpochs(b []byte) (epochs, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return nil, fmt.Errorf("%d lines, version %q", len(lines), lines[0])
	}
	if count, err := strconv.Atoi(lines[1]); err != nil || count != len(lines)-2 {
		return nil, fmt.Errorf("count %q, %d lines", lines[1], len(lines)-2)
	}
	e := make(epochs, 0, len(lines)-2)
	prev := epochStart{-1, -1}
	for _, line := range lines[2:] {
		left, right, _ := strings.Cut(line, " ")
		epoch, err1 := strconv.ParseInt(left, 10, 32)
		offset, err2 := strconv.ParseInt(right, 10, 64)
		s := epochStart{int32(epoch), offset}
		if err1 != nil || err2 != nil || s.epoch <= prev.epoch || s.offset <= prev.offset {
			return nil, fmt.Errorf("line %q behind epoch %d at offset %d", line, prev.epoch, prev.offset)
		}
		e = append(e, s)
		prev = s
	}
	return e, nil
}

// EpochsCRC is a checksum of the leader epochs from the offset start to end, for a Checkpoint of these: Kafka's file has none,
// and no CRC covers a batch's own leader epoch, so one wrong digit would make readers take all batches for damaged.
func (l *Log) EpochsCRC(start, end int64) uint32 {
	l.mu.RLock()
	e := slices.Clone(l.mu.epochs)
	l.mu.RUnlock()
	return e.checksum(start, end)
}

// checksum is never 0. It takes e over.
func (e epochs) checksum(start, end int64) uint32 {
	e.truncateEnd(end)
	e.truncateStart(start)
	return max(crc32.Checksum(e.encode(), entry.Castagnoli), 1)
}

// EpochAt is the leader epoch of the record at offset, -1 = unknown.
func (l *Log) EpochAt(offset int64) int32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if offset >= l.mu.end {
		return -1
	}
	return l.mu.epochs.at(offset)
}

// LastEpoch is the newest leader epoch that a record has, -1 = none.
func (l *Log) LastEpoch() int32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n := len(l.mu.epochs); n > 0 {
		return l.mu.epochs[n-1].epoch
	}
	return -1
}

// EndOffsetForEpoch answers OffsetForLeaderEpoch: the largest leader epoch at or below epoch and the offset where it ends, which
// for the newest is end. (-1, -1) = unknown epoch. Source: Kafka's LeaderEpochFileCache.endOffsetFor.
func (l *Log) EndOffsetForEpoch(epoch int32, end int64) (int32, int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.epochs.endOf(epoch, end)
}
