package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path"
	"sync"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
)

// recoverWorkers bounds the Raft groups being opened at a time; most of it is waiting for reads and syncs.
const recoverWorkers = 16

// recovery is the state of one recover.
type recovery struct {
	store   *Store
	journal *journal.Recovery
	mark    uint64
	kept    uint64 // first sequence that is kept of the journal
	tails   meta.Tails
	groups  map[GroupID]*replay
	deleted map[GroupID]*deletion
	folders []map[string]bool // per log dir: what is there

	payloadBytes int64 // by reference, of surviving entries
}

// recover opens the journal and every Raft group:
//
//  1. replay all record headers: per Raft group, which entries, which vote, whether it exists (replay.go);
//  2. charge damage of the journal to the Raft groups whose record it was (damage.go);
//  3. finish deletions that a crash interrupted;
//  4. per Raft group, in parallel: open the segments at the checkpoint, verify the payloads that the journal only refers to,
//     void what is missing by a dropped record, write the inline payloads, cut what lies behind (recover_group.go).
//
// Every step can be repeated after a crash in the middle of it.
func (s *Store) recover() error {
	jc := s.meta.Journal()
	table, err := s.meta.LoadTails()
	if err != nil {
		return err
	}
	s.tails = tails{stored: maps.Clone(table.Groups), known: table.At, ready: ends{at: table.At}, lost: map[GroupID]uint64{}}
	j, found, err := journal.Open(path.Join(s.opts.MetaDir, journalDir), journal.Options{
		SegmentBytes: s.opts.JournalSegmentBytes, FirstKept: jc.First, Mark: jc.Mark, TailsKnown: table.At, MarkInterval: s.opts.MarkInterval,
		Logger: s.opts.Logger, OnFatal: func(err error) { _ = s.fatal(err) }, Now: s.opts.Now,
		FS: s.opts.journalFS, OpenLibrary: s.opts.journalLibrary, DiskWatch: s.diskWatch, Reclaim: s.files.Reclaim,
	})
	if err != nil {
		return err
	}
	s.journal = j
	r := &recovery{store: s, journal: found, mark: max(found.Mark, jc.Mark), kept: max(jc.First, 1), tails: table,
		groups: map[GroupID]*replay{}, deleted: map[GroupID]*deletion{}}
	if err := r.load(); err != nil {
		return err
	}
	if err := r.replay(); err != nil {
		return err
	}
	r.charge()
	if err := r.listFolders(); err != nil {
		return err
	}
	r.findFolders()
	r.finishDeletions()
	if err := r.openGroups(); err != nil {
		return err
	}
	// What had to be replayed counts towards the next checkpoint: a process that dies young again and again must not leave
	// each successor more to read than itself had.
	s.written(j.Size(), r.payloadBytes, true)
	// All payloads are on disk now, or voided, or of a Raft group that is offline: the mark may pass.
	if err := found.Close(); err != nil {
		return err
	}
	return s.beginTails()
}

// load reads the checkpoints.
func (r *recovery) load() error {
	rows, bad, err := r.store.meta.LoadGroups()
	if err != nil {
		return err
	}
	for id, cp := range rows {
		r.groups[id] = newReplay(id, cp, r.kept)
	}
	for id, err := range bad {
		g := newReplay(id, nil, r.kept)
		g.exists, g.hurt, g.row = true, err, err
		r.groups[id] = g
	}
	return nil
}

// replay runs all records of the journal through their Raft groups.
func (r *recovery) replay() error {
	for rec, err := range r.journal.Records() {
		if err != nil {
			return err
		}
		if rec.Kind == journal.Mark || rec.Group == (GroupID{}) {
			continue
		}
		g := r.groups[rec.Group]
		if g == nil {
			g = newReplay(rec.Group, nil, r.kept)
			r.groups[rec.Group] = g
		}
		if rec.Kind == journal.VoidPayloads && r.store.level < entry.LevelSites {
			return fmt.Errorf("storage: journal record %d of %s: %w %d at format level %d", rec.Sequence, rec.Group, journal.ErrKind, rec.Kind, r.store.level)
		}
		g.note(rec)
		bornAt := g.bornAt
		if err := g.add(rec); err != nil {
			return fmt.Errorf("storage: journal record %d of %s: %w", rec.Sequence, rec.Group, err)
		}
		if rec.Carried {
			continue // counts at the end of the copies, of which none is a deletion
		}
		switch rec.Kind {
		case journal.Deleted:
			d := &deletion{sequence: rec.Sequence, needs: rec.Sequence, folder: g.folder, dir: g.dir}
			if bornAt != 0 {
				d.needs = bornAt
			}
			r.deleted[rec.Group] = d
		case journal.Created:
			if g.bornAt == rec.Sequence {
				delete(r.deleted, rec.Group)
			}
		}
	}
	for id, g := range r.groups {
		if g.exists {
			g.finish()
			for i := range g.entries {
				if g.entries[i].Placement == journal.ByReference {
					r.payloadBytes += int64(g.entries[i].PayloadLength)
				}
			}
			continue
		}
		if len(g.entries) == 0 && g.vote == (Vote{}) && g.hurt == nil {
			delete(r.groups, id) // deleted, or known from stale records only
			continue
		}
		if g.hurt == nil {
			g.hurt = fmt.Errorf("%w: journal record %d is of a Raft group that nobody created", ErrCorrupt, g.first)
		}
	}
	return nil
}

// listFolders reads the log dirs once and removes what deletions have left.
func (r *recovery) listFolders() error {
	r.folders = make([]map[string]bool, len(r.store.dirs))
	for i, f := range r.store.dirs {
		r.folders[i] = map[string]bool{}
		if f.err != nil {
			continue
		}
		if removed, err := log.RemoveDeleted(f.fs, f.path); err != nil || len(removed) > 0 {
			r.store.opts.Logger.Info("data of deleted partitions removed", "dir", f.path, "folders", removed, "err", err)
		}
		files, err := f.fs.ReadDir(f.path)
		if err != nil {
			if err = r.store.folderFailed(f, fmt.Errorf("storage: log dir %s: %w", f.path, err)); r.store.Failed() != nil {
				return err
			}
			continue
		}
		for _, e := range files {
			r.folders[i][e.Name()] = true
		}
	}
	return nil
}

// finishDeletions removes the folders of Raft groups whose deleted record is durable.
func (r *recovery) finishDeletions() {
	taken := map[string]bool{}
	for _, g := range r.groups {
		taken[g.folder] = true
	}
	s := r.store
	for id, d := range r.deleted {
		s.mu.deleted[id] = d
		if d.folder == "" || taken[d.folder] {
			d.finished = true // a younger Raft group has the folder: the old one was out of the way before
			continue
		}
		d.finished = true
		for i, f := range s.dirs {
			switch {
			case f.err != nil:
				d.finished = d.finished && int(d.dir) != i
			case r.folders[i][d.folder]:
				if err := removeFolder(f, d.folder, id.Topic); err != nil {
					s.opts.Logger.Error("deleted partition's data not removed", "folder", path.Join(f.path, d.folder), "err", err)
					d.finished = false
				}
			}
		}
	}
}

// openGroups opens all Raft groups, a few at a time. Only failures of the whole store and unknown versions are errors.
func (r *recovery) openGroups() error {
	s := r.store
	work := make(chan *replay)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for range min(recoverWorkers, len(r.groups)) {
		wg.Go(func() {
			for p := range work {
				g, err := r.openGroup(p)
				if err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("storage: %s: %w", g, err))
					mu.Unlock()
				}
				s.mu.Lock()
				s.mu.groups[g.id] = g
				if g.folder != "" {
					s.mu.folders[g.folder] = g.id
				}
				s.mu.Unlock()
			}
		})
	}
	for _, p := range r.groups {
		p.level = s.level
		work <- p
	}
	close(work)
	wg.Wait()
	return errors.Join(append(errs, s.Failed())...)
}

// fatalOnOpen tells errors that stop the start from those that hurt one Raft group.
func (r *recovery) fatalOnOpen(err error) bool {
	return errors.Is(err, entry.ErrVersion) || errors.Is(err, entry.ErrKind) || r.store.Failed() != nil
}

// openGroup makes the Group of p. An error stops the start; a hurt Raft group is returned offline.
func (r *recovery) openGroup(p *replay) (*Group, error) {
	s := r.store
	g := newGroup(s, p.id, p.folder)
	g.mu.vote, g.mu.voteAt, g.mu.bornAt, g.mu.cutAt = p.vote, p.voteAt, p.bornAt, p.cutAt
	g.mu.cutTo = p.cutTo
	g.mu.base = p.base()
	g.mu.state = g.mu.base.State
	g.save.end = p.end()
	g.save.sealed, _ = p.sealed()
	if p.cp != nil {
		g.save.epochs = p.cp.EpochsCRC
	}
	g.mu.snapshot.LogStart = p.start
	if p.cp != nil {
		g.mu.snapshot = Snapshot{Index: p.cp.SnapshotIndex, Term: p.cp.SnapshotTerm, Configuration: p.cp.Configuration,
			ConfigurationIndex: p.cp.ConfigurationIndex, State: p.cp.State, LogStart: p.cp.LogStart}
	}
	g.mu.last, g.mu.first = p.snapshotIndex(), p.snapshotIndex()+1
	placed := r.place(g, p) // a hurt one too: it may be deleted, with its folder
	err := p.hurt
	if err == nil {
		err = placed
	}
	if err == nil {
		err = r.recoverEntries(g, p)
	}
	if err != nil {
		g.mu.pin, g.hurt = p.first, p.reason()
		if g.log != nil {
			_ = g.log.Close()
			g.log = nil
		}
		if r.fatalOnOpen(err) {
			return g, err
		}
		g.setOffline(err)
	}
	return g, nil
}

// place finds the log dir of g's folder. The configured order of log.dirs may have changed since.
func (r *recovery) place(g *Group, p *replay) error {
	if p.folder == "" {
		return nil
	}
	s := r.store
	g.dirIdx = p.dir
	if int(p.dir) < len(s.dirs) {
		g.dir = s.dirs[p.dir]
	}
	if g.dir == nil || !r.folders[p.dir][p.folder] {
		for i, there := range r.folders {
			if there[p.folder] && mayBelongTo(s.dirs[i].fs, path.Join(s.dirs[i].path, p.folder), p.id.Topic) {
				g.dir, g.dirIdx = s.dirs[i], uint16(i)
				break
			}
		}
	}
	if g.dir == nil {
		return fmt.Errorf("log dir %d is not configured and no other has folder %s: %w", p.dir, p.folder, fs.ErrNotExist)
	}
	return s.folderError(g.dir)
}

// recoverEntries brings g's segments and entries to what the journal says.
func (r *recovery) recoverEntries(g *Group, p *replay) error {
	payloads, of, states, err := p.tail()
	if err != nil {
		return err
	}
	if p.folder == "" {
		if len(payloads) > 0 {
			return fmt.Errorf("%w: payloads in a Raft group without segments", ErrCorrupt)
		}
		return g.adopt(p, states)
	}
	if err := r.openLog(g, p, len(payloads) > 0); err != nil {
		return err
	}
	for i := range payloads {
		if rec := &p.entries[of[i]]; rec.Placement == journal.Inline {
			payloads[i].Inline = func() ([]byte, error) { return r.journal.Inline(rec) }
		}
	}
	intact, err := g.log.Verify(payloads)
	if err != nil {
		return fmt.Errorf("verify payloads: %w", err)
	}
	if intact < len(payloads) {
		if err := r.void(g, p, of[intact]); err != nil {
			return err
		}
		p.entries, states, payloads = p.entries[:of[intact]], states[:of[intact]], payloads[:intact]
	}
	r.rewrite(g, p, payloads, of)
	if err := g.log.Recover(payloads); err != nil {
		return fmt.Errorf("recover segments: %w", err)
	}
	return g.adopt(p, states)
}

// rewrite has Recover write those by-reference payloads again that were perhaps never synced: after a failed sync their pages
// can be clean and right in memory and yet not be on the disk, so that syncing them once more would prove nothing.
func (r *recovery) rewrite(g *Group, p *replay, payloads []log.Tail, of []int) {
	for i := range payloads {
		rec := &p.entries[of[i]]
		if rec.Placement != journal.ByReference || rec.Class == entry.Synced && rec.Sequence <= r.mark {
			continue
		}
		name := path.Join(g.dir.path, p.folder, fmt.Sprintf("%020d.log", rec.Segment))
		payloads[i].Inline = func() ([]byte, error) {
			f, err := g.dir.fs.OpenFile(name, os.O_RDONLY, 0)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			b := make([]byte, rec.PayloadLength) // Verify has found that many bytes
			if n, err := f.ReadAt(b, rec.Pos); n < len(b) {
				return nil, err
			}
			if crc := crc32.Checksum(b, entry.Castagnoli); crc != rec.PayloadCRC {
				return nil, fmt.Errorf("%w: %s, byte %d: CRC %08x, verified was %08x", ErrCorrupt, name, rec.Pos, crc, rec.PayloadCRC)
			}
			return b, nil
		}
	}
}

// openLog opens the segments at the checkpoint. A folder that is gone is made again only where no data was ever in it.
func (r *recovery) openLog(g *Group, p *replay, hasPayloads bool) error {
	dir := path.Join(g.dir.path, p.folder)
	o := r.store.opts.LogOptions(p.folder)
	o.Descriptors, o.DiskWatch = r.store.files, r.store.diskWatch
	if !r.folders[g.dirIdx][p.folder] {
		if hasPayloads || p.cp != nil || p.void != nil {
			return fmt.Errorf("folder %s is missing: %w", dir, fs.ErrNotExist)
		}
		l, err := log.Create(g.dir.fs, dir, p.id.Topic, p.start, o)
		if err != nil {
			return fmt.Errorf("create %s: %w", dir, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	trusted := p.trusted(g.save.epochs)
	l, err := log.Open(g.dir.fs, dir, trusted, o)
	switch {
	case errors.Is(err, log.ErrCorrupt):
		return fmt.Errorf("%w: open %s: %w", ErrCorrupt, dir, err)
	case err != nil:
		return fmt.Errorf("open %s: %w", dir, err)
	}
	g.log = l
	g.save.sealed = l.Sealed(p.end())
	if id := l.TopicID(); id != p.id.Topic && id != (uuid.UUID{}) {
		return fmt.Errorf("%w: %s is of topic id %s", ErrCorrupt, path.Join(dir, partitionMetadata), id)
	}
	if at := l.LogStart(); at > trusted.LogStart { // retention stays below the log start offset of the durable snapshot (Group.RetainFrom)
		return fmt.Errorf("%w: %s: the segment of offset %d is missing, the first one begins at %d", ErrCorrupt, dir, trusted.LogStart, at)
	}
	return nil
}

// void drops entry k, whose payload is not there, and all behind it, by a record that is durable before any segment changes.
// Where one of them was promised to be on disk, below the mark, that is corruption instead.
func (r *recovery) void(g *Group, p *replay, k int) error {
	rec := &p.entries[k]
	where := fmt.Sprintf("%s, byte %d", path.Join(g.dir.path, p.folder, fmt.Sprintf("%020d.log", rec.Segment)), rec.Pos)
	for i := k; i < len(p.entries); i++ {
		// What was carried was there before, whatever the mark is: copies above it may replace records below.
		if e := &p.entries[i]; e.Class == entry.Synced && (e.Sequence <= r.mark || e.Carried) {
			return fmt.Errorf("%w: %s: the payload of index %d (%d bytes) is damaged, index %d is below the mark %d",
				ErrCorrupt, where, rec.Index, rec.PayloadLength, e.Index, r.mark)
		}
	}
	r.store.opts.Logger.Warn("entries voided: payload not on disk", "group", g.id, "folder", g.folder, "fromIndex", rec.Index,
		"entries", len(p.entries)-k, "where", where)
	if _, err := r.store.journal.Append([]journal.Record{journal.DroppedRecord(g.id, rec.Index)}, true).Wait(); err != nil {
		return r.store.fatal(err)
	}
	return nil
}

// adopt puts the surviving entries into memory.
func (g *Group) adopt(p *replay, states []entry.State) error {
	g.mu.entries = make([]stored, len(p.entries))
	for i := range p.entries {
		rec := &p.entries[i]
		g.mu.entries[i] = stored{term: rec.Term, sequence: rec.Sequence, data: rec.Data, placeLength: rec.PayloadLength,
			place: log.Position{Segment: rec.Segment, Pos: rec.Pos}, kind: rec.LogType}
		g.mu.last, g.mu.state = rec.Index, states[i]
	}
	return g.adoptCut(p)
}
