package controller

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/meta"
)

// The metadata in meta.db (docs/formats.md section 8).
const (
	bucketTopics   = "cluster/topics"   // topic id -> topicRecord
	bucketNames    = "cluster/names"    // name -> topic id
	bucketConfigs  = "cluster/configs"  // resource -> changed keys
	bucketBrokers  = "cluster/brokers"  // node id u32 -> registerBroker
	bucketFloors   = "cluster/floors"   // name -> leader-epoch floor u32
	bucketDeleting = "cluster/deleting" // topic id -> topicRecord
	bucketVars     = "cluster/vars"
	bucketSite     = "cluster/site"   // "record" -> siteRecord; level 2
	bucketHidden   = "cluster/hidden" // topic id -> hiddenRecord; level 2
)

var (
	keyApplied = []byte("applied")  // index u64, term u64
	keyVersion = []byte("version")  // site epoch u32, n u64
	keyNextPID = []byte("next.pid") // u64
)

const snapshotVersion = 1

type topicRecord struct {
	Name          string      `json:"name"`
	Partitions    []placement `json:"partitions"`
	EpochFloor    int32       `json:"epochFloor,omitempty"`
	Extra         []placement `json:"extra,omitempty"`
	ExtraAt       int64       `json:"extraAt,omitempty"`
	ExtraArchived bool        `json:"extraArchived,omitempty"`
}

func recordOf(t *Topic) topicRecord {
	return topicRecord{
		Name: t.Name, EpochFloor: t.EpochFloor, Partitions: placementsOf(t.Partitions), Extra: placementsOf(t.Extra), ExtraAt: t.ExtraAt,
		ExtraArchived: t.ExtraArchived,
	}
}

func placementsOf(partitions []Partition) (all []placement) {
	for _, p := range partitions {
		all = append(all, placement{Incarnation: p.Incarnation, Servers: p.Servers, Born: p.Born, Start: p.Start, Recopying: p.Recopying})
	}
	return all
}

func configKey(id uuid.UUID) []byte { return []byte(topicResource(id)) }

func encodeUint32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// write is one change of meta.db; a nil value deletes.
type write struct {
	bucket     string
	key, value []byte
}

func (m *machine) writeLocked(bucket string, key, value []byte) {
	m.mu.writes = append(m.mu.writes, write{bucket, key, value})
}

func (m *machine) writeJSONLocked(bucket string, key []byte, v any) {
	text, err := json.Marshal(v)
	if err != nil { // strings, numbers and maps of strings always encode
		panic(fmt.Sprintf("controller: encode %T: %v", v, err))
	}
	m.writeLocked(bucket, key, text)
}

// save puts everything that was applied into meta.db, in one transaction with the index of the last of it.
func (m *machine) save() error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	writes := m.mu.writes
	m.mu.writes = nil
	applied := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, m.mu.applied), m.mu.term)
	version := binary.BigEndian.AppendUint64(encodeUint32(m.mu.version.Epoch), m.mu.version.N)
	nextPID := binary.BigEndian.AppendUint64(nil, uint64(m.mu.nextPID))
	m.mu.Unlock()

	writes = append(writes, write{bucketVars, keyApplied, applied}, write{bucketVars, keyVersion, version},
		write{bucketVars, keyNextPID, nextPID})
	err := m.db.Update(func(tx meta.Tx) error {
		for _, w := range writes {
			if err := put(tx, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("controller: save metadata: %w", err)
	}
	return nil
}

func put(tx meta.Tx, w write) error {
	if w.value == nil {
		return tx.Delete(w.bucket, w.key)
	}
	return tx.Put(w.bucket, w.key, w.value)
}

// outlive keeps what the metadata Raft group's lost commands have done: a journal that was cut above its mark may have had some that
// meta.db has followed already. Their effects stay, but not their indexes, which the next commands get: those would be taken for a
// repetition. It is right with one voter, since nobody else has the lost commands to repeat. Before the Raft group is opened.
func (m *machine) outlive(store *storage.Store) error {
	var last uint64
	if g, ok := store.Group(entry.MetadataGroup); ok {
		if g.Offline() != nil {
			return nil //nolint:nilerr // who opens it says so
		}
		snapshot, _ := g.Snapshot()
		last = max(g.LastIndex(), snapshot.Index)
	}
	m.mu.Lock()
	applied := m.mu.applied
	m.mu.applied = min(applied, last)
	m.mu.Unlock()
	if applied <= last {
		return nil
	}
	m.logger.Error("the journal has lost metadata commands that meta.db has followed already: what they did stays", "log", last,
		"meta.db", applied)
	return m.save() // before the log grows past them
}

// saver writes behind the commands until ctx ends.
func (m *machine) saver(ctx context.Context) {
	for {
		select {
		case <-m.wake:
			if err := m.save(); err != nil {
				m.onFatal(err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// SnapshotLater implements raft.LateSnapshotter: the state is in meta.db, which must have caught up before the log may drop
// the commands; what the snapshot itself holds is only the index up to which it has.
func (m *machine) SnapshotLater() (encode func() ([]byte, error), err error) {
	m.mu.Lock()
	applied := m.mu.applied
	m.mu.Unlock()
	return func() ([]byte, error) {
		if err := m.save(); err != nil {
			return nil, err
		}
		return binary.BigEndian.AppendUint64([]byte{snapshotVersion}, applied), nil
	}, nil
}

// Snapshot implements raft.Machine.
func (m *machine) Snapshot() ([]byte, error) {
	encode, err := m.SnapshotLater()
	if err != nil {
		return nil, err
	}
	return encode()
}

// Restore implements raft.Machine: it makes sure that meta.db has what the log no longer repeats.
func (m *machine) Restore(snapshot []byte) error {
	if len(snapshot) != 9 || snapshot[0] != snapshotVersion {
		return fmt.Errorf("controller: snapshot of %d bytes is not one of version %d", len(snapshot), snapshotVersion)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if index := binary.BigEndian.Uint64(snapshot[1:]); m.mu.applied < index {
		return fmt.Errorf("controller: meta.db has the metadata up to index %d, the snapshot says %d", m.mu.applied, index)
	}
	return nil
}

// load reads meta.db; before Apply is first called.
func (m *machine) load() error {
	s := newState()
	err := m.db.View(func(tx meta.Tx) error {
		if err := s.loadVars(tx); err != nil {
			return err
		}
		if err := m.loadBrokerConfigs(tx, &s); err != nil {
			return err
		}
		if err := m.loadTopics(tx, &s); err != nil {
			return err
		}
		if err := m.loadSite(tx, &s); err != nil {
			return err
		}
		err := tx.Each(bucketBrokers, func(_, value []byte) error {
			b, err := decodeDocument[registerBroker](value)
			s.brokers[b.Node] = b
			return err
		})
		if err != nil {
			return err
		}
		return tx.Each(bucketFloors, func(key, value []byte) error {
			if len(value) != 4 {
				return fmt.Errorf("%w: leader-epoch floor of %q", meta.ErrCorrupt, key)
			}
			s.floors[string(key)] = int32(binary.BigEndian.Uint32(value))
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("controller: load metadata from %s: %w", m.db.Path(), err)
	}
	m.mu.Lock()
	s.deltasFrom = s.version // what changed before is not known
	m.mu.state = s
	m.mu.Unlock()
	m.image.Store(nil)
	return nil
}

func (s *state) loadVars(tx meta.Tx) error {
	numbers := []struct {
		key  []byte
		size int
		read func(b []byte)
	}{
		{keyApplied, 16, func(b []byte) { s.applied, s.term = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]) }},
		{keyVersion, 12, func(b []byte) { s.version = Version{binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])} }},
		{keyNextPID, 8, func(b []byte) { s.nextPID = int64(binary.BigEndian.Uint64(b)) }},
	}
	for _, n := range numbers {
		value, err := tx.Get(bucketVars, n.key)
		if err != nil {
			return err
		}
		if value == nil {
			continue // a new data directory
		}
		if len(value) != n.size {
			return fmt.Errorf("%w: %s has %d bytes", meta.ErrCorrupt, n.key, len(value))
		}
		n.read(value)
	}
	return nil
}

// loadBrokerConfigs reads what was set for brokers; topics then have their defaults from it.
func (m *machine) loadBrokerConfigs(tx meta.Tx, s *state) error {
	err := tx.Each(bucketConfigs, func(key, value []byte) error {
		if !strings.HasPrefix(string(key), brokerResourcePrefix) {
			return nil
		}
		configs, err := decodeDocument[map[string]string](value)
		if err != nil {
			return fmt.Errorf("configs of %s: %w", key, err)
		}
		s.configs[string(key)] = configs
		return nil
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.configs = s.configs
	m.reconfigureLocked()
	return nil
}

func (m *machine) loadTopics(tx meta.Tx, s *state) error {
	err := tx.Each(bucketTopics, func(key, value []byte) error {
		t, err := m.loadTopic(tx, key, value)
		if err != nil {
			return err
		}
		s.topics[t.Name], s.byID[t.ID] = t, t
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Each(bucketDeleting, func(key, value []byte) error {
		t, err := m.loadTopic(tx, key, value)
		if err != nil {
			return err
		}
		s.deleting[t.ID] = t
		return nil
	})
}

func (m *machine) topicOf(id uuid.UUID, r topicRecord) *Topic {
	t := &Topic{Name: r.Name, ID: id, Partitions: m.partitions(r.Name, r.Partitions), EpochFloor: r.EpochFloor, ExtraAt: r.ExtraAt,
		ExtraArchived: r.ExtraArchived}
	if len(r.Extra) > 0 {
		t.Extra = m.partitions(r.Name, r.Extra)
	}
	return t
}

func (m *machine) loadTopic(tx meta.Tx, key, value []byte) (*Topic, error) {
	id, err := uuid.FromBytes(key)
	if err != nil {
		return nil, fmt.Errorf("%w: topic id of %d bytes", meta.ErrCorrupt, len(key))
	}
	r, err := decodeDocument[topicRecord](value)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", id, err)
	}
	t := m.topicOf(id, r)
	configs, err := tx.Get(bucketConfigs, configKey(id))
	if err != nil {
		return nil, err
	}
	if configs != nil {
		if t.Configs, err = decodeDocument[map[string]string](configs); err != nil {
			return nil, fmt.Errorf("configs of topic %s: %w", r.Name, err)
		}
	}
	t.Config = m.parse(t.Name, t.Configs)
	return t, nil
}
