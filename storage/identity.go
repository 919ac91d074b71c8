package storage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	lockFile       = ".lock"
	propertiesFile = "meta.properties"
	propertiesMax  = 64 << 10 // bytes; a longer meta.properties is not one
)

// folder is one of the data folders: a log dir, or the one that holds meta.db and the journal.
type folder struct {
	fs   vfs.FS
	path string
	lock io.Closer
	disk string // directory.id
	// err is why the whole folder is offline; nil = usable. Guarded by Store.mu after Open.
	err error
}

// properties is Kafka's meta.properties, version 1.
type properties struct {
	clusterID, directoryID string
	nodeID                 int32
}

// openFolder makes the folder if need be and locks it.
func openFolder(fsys vfs.FS, dir string) (*folder, error) {
	if err := makeFolder(fsys, dir); err != nil {
		return nil, fmt.Errorf("storage: data directory %s cannot be made: %w", dir, err)
	}
	name := path.Join(dir, lockFile)
	lock, err := fsys.Lock(name)
	switch {
	case err == nil:
		return &folder{fs: fsys, path: dir, lock: lock}, nil
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		return nil, fmt.Errorf("storage: data directory %s is not writable: %w", dir, err)
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("%w: %s (lock file %s is held)", ErrLocked, dir, name)
	default:
		return nil, fmt.Errorf("storage: lock data directory %s: %w", dir, err)
	}
}

// makeFolder makes dir and its missing parents durably: each new name is synced in the folder that holds it.
func makeFolder(fsys vfs.FS, dir string) error {
	dir = path.Clean(dir)
	if _, err := fsys.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := path.Dir(dir)
	if parent != dir {
		if err := makeFolder(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}

// identify reads meta.properties, or writes it when there is none, and checks that it agrees with want.
// An empty want.clusterID takes over the stored one. The agreed cluster id is returned.
func (f *folder) identify(want properties, newID func() string) (clusterID string, err error) {
	name := path.Join(f.path, propertiesFile)
	b, err := readFile(f.fs, name, propertiesMax)
	if errors.Is(err, fs.ErrNotExist) {
		if want.clusterID == "" {
			want.clusterID = newID()
		}
		want.directoryID = newID()
		f.disk = want.directoryID
		// A start before this one may have made the folder and died before its name was durable.
		if err := f.fs.SyncDir(path.Dir(path.Clean(f.path))); err != nil && !errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("storage: sync the folder of %s: %w", f.path, err)
		}
		if err := writeFileAtomic(f.fs, name, want.encode()); err != nil {
			return "", fmt.Errorf("storage: write %s: %w", name, err)
		}
		return want.clusterID, nil
	}
	if err != nil {
		return "", fmt.Errorf("storage: read %s: %w", name, err)
	}
	have, err := parseProperties(string(b))
	switch {
	case err != nil:
		return "", fmt.Errorf("storage: %s: %w", name, err)
	case have.nodeID != want.nodeID:
		return "", fmt.Errorf("%w: %s says node.id=%d, configured is node.id=%d", ErrIdentity, name, have.nodeID, want.nodeID)
	case want.clusterID != "" && have.clusterID != want.clusterID:
		return "", fmt.Errorf("%w: %s says cluster.id=%s, expected %s", ErrIdentity, name, have.clusterID, want.clusterID)
	}
	f.disk = have.directoryID
	return have.clusterID, nil
}

func (p properties) encode() []byte {
	return fmt.Appendf(nil, "version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", p.clusterID, p.nodeID, p.directoryID)
}

func parseProperties(text string) (p properties, err error) {
	keys := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			return p, fmt.Errorf("%w: line %q", ErrCorrupt, line)
		}
		keys[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	if keys["version"] != "1" {
		return p, fmt.Errorf("%w: version %q, this binary knows 1", ErrCorrupt, keys["version"])
	}
	n, err := strconv.ParseInt(keys["node.id"], 10, 32)
	if err != nil || keys["cluster.id"] == "" || keys["directory.id"] == "" {
		return p, fmt.Errorf("%w: cluster.id, node.id or directory.id is missing or no good", ErrCorrupt)
	}
	return properties{clusterID: keys["cluster.id"], directoryID: keys["directory.id"], nodeID: int32(n)}, nil
}

// randomID is a random UUID as Kafka writes it: 22 characters of unpadded base64url, never with a leading '-'.
func randomID() string {
	for {
		u := uuid.New()
		if id := base64.RawURLEncoding.EncodeToString(u[:]); id[0] != '-' {
			return id
		}
	}
}

// readFile reads a whole file of at most limit bytes.
func readFile(fsys vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d expected", ErrCorrupt, size, limit)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// writeFileAtomic writes the file aside, syncs it, renames it and syncs the folder.
func writeFileAtomic(fsys vfs.FS, name string, b []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}
