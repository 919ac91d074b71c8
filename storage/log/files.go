package log

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Names in a partition's folder.
const (
	suffixLog      = ".log"
	suffixIndex    = ".index"
	suffixTime     = ".timeindex"
	suffixAborted  = ".txnindex"
	suffixSnapshot = ".snapshot"
	suffixTemp     = ".tmp"
	suffixDelete   = "-delete"
	suffixCleaned  = ".cleaned" // behind the others: of a segment that is being compacted,
	suffixSwap     = ".swap"    // and of a compacted one that is about to replace others

	nameMetadata = "partition.metadata"
	nameEpochs   = "leader-epoch-checkpoint"

	filePerm = 0o644
	dirPerm  = 0o755

	smallFileMax = 64 << 20 // what readSmall accepts
)

// fileName is the name of a file that belongs to offset, 20 digits as in Kafka.
func fileName(dir string, offset int64, suffix string) string {
	return path.Join(dir, fmt.Sprintf("%020d%s", offset, suffix))
}

// parseName splits a file name into its offset and suffix.
func parseName(name string) (offset int64, suffix string, ok bool) {
	digits, rest, found := strings.Cut(name, ".")
	if !found || len(digits) != 20 {
		return 0, "", false
	}
	offset, err := strconv.ParseInt(digits, 10, 64)
	return offset, "." + rest, err == nil && offset >= 0
}

// writeFile replaces name by content, durably: a power loss leaves the old file or the new one. Errors: ErrNoSpace, and name is as
// it was; after any other, nobody can say.
func writeFile(fsys vfs.FS, name string, content []byte) error {
	temp := name + suffixTemp
	f, err := fsys.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, filePerm)
	if err == nil {
		_, err = f.WriteAt(content, 0)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if isFull(err) { // nothing was in temp that anybody was promised
		_ = fsys.Remove(temp)
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// isFull says that err is of a disk, or a quota, that is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// readSmall reads a whole file that is no segment.
func readSmall(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > smallFileMax {
		return nil, &CorruptError{File: name, Pos: smallFileMax, Reason: fmt.Sprintf("%d bytes, expected at most %d", size, smallFileMax)}
	}
	b := make([]byte, size)
	return b, readFull(f, b, 0)
}

// removeIfThere unlinks name; a missing file is no error.
func removeIfThere(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func encodeMetadata(id uuid.UUID) []byte {
	return []byte("version: 0\ntopic_id: " + base64.RawURLEncoding.EncodeToString(id[:]) + "\n")
}

// decodeMetadata reads Kafka's partition.metadata.
func decodeMetadata(b []byte) (uuid.UUID, error) {
	var id uuid.UUID
	version, topic, _ := strings.Cut(string(b), "\n")
	if strings.TrimSpace(version) != "version: 0" {
		return id, fmt.Errorf("unknown %q", version)
	}
	text, found := strings.CutPrefix(strings.TrimSpace(topic), "topic_id: ")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !found || err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("no topic id in %q", topic)
	}
	return uuid.UUID(raw), nil
}
