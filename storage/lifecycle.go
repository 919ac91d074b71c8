package storage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	partitionMetadata = "partition.metadata"
	deleteSuffix      = "-delete"
	folderNameMax     = 255 // bytes, what file systems take
)

// CreateGroup makes a Raft group; it exists for good on return. folder is the partition's, in the log dir with the fewest
// partitions; "" = the metadata Raft group, without segments. start is the offset of its first record.
// The folder is made before the record: a crash between leaves an empty folder, which the next CreateGroup takes over.
// Errors: ErrExists when the group exists or was deleted not long ago, or the folder with data in it, which is never deleted.
func (s *Store) CreateGroup(id GroupID, folder string, start int64, lo log.Options) (*Group, error) {
	if err := s.Failed(); err != nil {
		return nil, err
	}
	if folder != "" && !validFolder(folder) {
		return nil, fmt.Errorf("storage: %q is no name of a partition's folder", folder)
	}
	g, err := s.reserve(id, folder)
	if err != nil {
		return nil, err
	}
	if err := s.create(g, start, lo); err != nil {
		if g.log != nil {
			_ = g.log.Close()
		}
		s.mu.Lock()
		delete(s.mu.creating, id)
		delete(s.mu.folders, folder)
		s.mu.Unlock()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.creating, id)
	s.mu.groups[id], s.mu.sorted = g, nil
	return g, nil
}

// validFolder refuses names that could leave the log dir or be taken for something else in it.
func validFolder(name string) bool {
	return name == path.Base(name) && name != "." && name != ".." && len(name) <= folderNameMax && !strings.HasSuffix(name, deleteSuffix) &&
		!strings.ContainsAny(name, "/\\\x00") && name != journalDir && name != metaFile && name != propertiesFile
}

// reserve takes id and folder, so that nobody else creates them, and chooses the log dir.
func (s *Store) reserve(id GroupID, folder string) (*Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, creating := s.mu.creating[id]
	if _, ok := s.mu.groups[id]; ok || creating {
		return nil, fmt.Errorf("%w: %s", ErrExists, id)
	}
	if s.mu.closed {
		return nil, ErrClosed
	}
	if s.mu.deleted[id] != nil {
		return nil, fmt.Errorf("%w: %s was deleted and is still in the journal; a new incarnation may be created", ErrExists, id)
	}
	g := newGroup(s, id, folder)
	if folder != "" {
		if other, ok := s.mu.folders[folder]; ok {
			return nil, fmt.Errorf("%w: folder %s belongs to %s", ErrExists, folder, other)
		}
		count := make([]int, len(s.dirs))
		for _, other := range s.mu.groups {
			if other.dir != nil { // nil: without segments, or in a log dir that is not configured any more
				count[other.dirIdx]++
			}
		}
		best := -1
		for i, f := range s.dirs {
			if f.err == nil && (best < 0 || count[i] < count[best]) {
				best = i
			}
		}
		if best < 0 {
			return nil, fmt.Errorf("%w: no log dir is online", ErrOffline)
		}
		g.dir, g.dirIdx = s.dirs[best], uint16(best)
		s.mu.folders[folder] = id
	}
	s.mu.creating[id] = s.journal.NextSequence()
	return g, nil
}

// create makes folder and record of a reserved group.
func (s *Store) create(g *Group, start int64, lo log.Options) error {
	if g.folder != "" {
		dir := path.Join(g.dir.path, g.folder)
		lo.Descriptors, lo.DiskWatch = s.files, s.diskWatch
		l, err := log.Create(g.dir.fs, dir, g.id.Topic, start, lo)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %w", ErrExists, err)
		}
		if err != nil {
			return fmt.Errorf("storage: create %s: %w", dir, err)
		}
		g.log = l
	}
	rec := []journal.Record{journal.CreatedRecord(g.id, g.folder, g.dirIdx, start)}
	seq, err := s.journal.Append(rec, true).Wait()
	if err != nil {
		return s.fatal(err)
	}
	s.written(journal.HeaderLen, 0, true)
	g.mu.base = newBasis(s.level, start)
	g.mu.state = g.mu.base.State
	g.mu.snapshot.LogStart = start
	g.save.end = log.Position{Segment: start}
	g.mu.bornAt = seq
	return nil
}

// mayBelongTo says whether the folder's partition.metadata names topic, or is missing or empty, as a crash leaves it.
func mayBelongTo(fsys vfs.FS, dir string, topic uuid.UUID) bool {
	b, err := readFile(fsys, path.Join(dir, partitionMetadata), 4096)
	return errors.Is(err, fs.ErrNotExist) || err == nil && (len(b) == 0 || names(b, topic))
}

// belongsTo says whether the folder's partition.metadata names topic.
func belongsTo(fsys vfs.FS, dir string, topic uuid.UUID) bool {
	b, err := readFile(fsys, path.Join(dir, partitionMetadata), 4096)
	return err == nil && names(b, topic)
}

func names(metadata []byte, topic uuid.UUID) bool {
	return strings.Contains(string(metadata), "topic_id: "+base64.RawURLEncoding.EncodeToString(topic[:]))
}

// DeleteGroup removes a Raft group and its data. Once the record is durable the group is gone, whatever fails later: a folder
// that could not be removed is removed by the next Open. Errors: ErrUnknown.
func (s *Store) DeleteGroup(id GroupID) error {
	g, ok := s.Group(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknown, id)
	}
	if g.log != nil {
		g.log.StopCleaning() // it takes g.save
	}
	g.write.Lock()
	defer g.write.Unlock()
	g.save.Lock()
	defer g.save.Unlock()
	if g.write.closed {
		return ErrClosed
	}
	if err := s.Failed(); err != nil {
		return err
	}
	g.begin()
	seq, err := s.journal.Append([]journal.Record{{Kind: journal.Deleted, Group: id}}, true).Wait()
	if err != nil {
		return s.fatal(err)
	}
	g.write.closed, g.save.gone = true, true
	d := &deletion{sequence: seq, needs: seq, folder: g.folder, dir: g.dirIdx}
	g.mu.RLock()
	if g.mu.bornAt != 0 {
		d.needs = g.mu.bornAt
	}
	g.mu.RUnlock()
	s.mu.Lock()
	s.mu.deleted[id] = d
	delete(s.mu.groups, id)
	s.mu.sorted = nil
	s.mu.Unlock()
	if err := s.removeData(g); err != nil {
		return fmt.Errorf("storage: delete %s: %w", g, err)
	}
	s.mu.Lock()
	d.finished = true
	delete(s.mu.folders, g.folder)
	s.mu.Unlock()
	return nil
}

func (s *Store) removeData(g *Group) error {
	switch {
	case g.dir == nil: // without segments, or in a log dir that is not configured any more
		return nil
	case g.log != nil:
		return g.log.Delete()
	default:
		return removeFolder(g.dir, g.folder, g.id.Topic)
	}
}

// removeFolder moves the folder of a deleted group out of the way, durably, and removes it. A folder of another topic stays.
func removeFolder(f *folder, name string, topic uuid.UUID) error {
	dir := path.Join(f.path, name)
	if _, err := f.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if !mayBelongTo(f.fs, dir, topic) {
		return nil
	}
	return log.RemoveFolder(f.fs, dir)
}
