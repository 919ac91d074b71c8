package raft

import (
	"errors"
	"fmt"
	"hash/crc32"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// logStore keeps the log of one Raft group in storage (hraft.LogStore, hraft.MonotonicLogStore). Writes come from the main
// loop only; reads from anywhere.
type logStore struct {
	g  *Group
	sg *storage.Group
	// Of the main loop:
	state   entry.State // behind the last stored entry
	entries []storage.Entry
	taken   []*Future // those among entries that this broker proposed and are not void
	voided  []*Future
	header  entry.Header // of commands that a leader sent
}

func newLogStore(g *Group) *logStore {
	s := &logStore{g: g, sg: g.sg, state: g.sg.State()}
	g.mu.state = s.state
	return s
}

// FirstIndex implements hraft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.sg.FirstIndex(), nil }

// LastIndex implements hraft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.sg.LastIndex(), nil }

// IsMonotonic implements hraft.MonotonicLogStore: gaps are refused.
func (s *logStore) IsMonotonic() bool { return true }

// GetLog implements hraft.LogStore. Data is the stamped header, shared with storage, never the payload: the library calls
// this only to learn a term.
func (s *logStore) GetLog(index uint64, l *hraft.Log) error {
	e, ok := s.sg.Entry(index)
	if !ok {
		return hraft.ErrLogNotFound
	}
	*l = hraft.Log{Index: e.Index, Term: e.Term, Type: hraft.LogType(e.Type), Data: e.Data}
	return nil
}

// StoreLog implements hraft.LogStore.
func (s *logStore) StoreLog(l *hraft.Log) error { return s.StoreLogs([]*hraft.Log{l}) }

// StoreLogs implements hraft.LogStore. Commands that this broker proposed are admitted or voided, and stamped; those that a
// leader sent are verified and never changed. An error ends the Raft group (R3, R4): the library would try again, or go on
// behind a hole.
func (s *logStore) StoreLogs(logs []*hraft.Log) error {
	if s.g.track != nil {
		if n, cut := s.behindTruncation(logs); cut != 0 {
			return s.storeBehind(logs, n, cut)
		}
	}
	s.entries, s.taken, s.voided = s.entries[:0], s.taken[:0], s.voided[:0]
	err := s.prepare(logs)
	if err == nil {
		err = s.sg.Append(s.entries, s.state)
	}
	if err != nil {
		err = fmt.Errorf("raft: store entries of %s: %w", s.sg, err)
		s.g.fail(err)
		failed := fmt.Errorf("%w: %w", ErrOffline, err)
		s.g.complete(s.taken, failed)
		s.g.complete(s.voided, failed)
	} else {
		s.publish(logs)
	}
	clear(s.entries)
	clear(s.taken)
	clear(s.voided)
	return err
}

// behindTruncation finds the first of logs with records that a leader sent behind a truncate-to which is not carried out here; cut is
// that one's index, 0 = there is none. The leader has applied it before it proposed anything behind it, so it is committed.
func (s *logStore) behindTruncation(logs []*hraft.Log) (n int, cut uint64) {
	cut = s.sg.Uncut()
	for i, l := range logs {
		switch {
		case l.Type != hraft.LogCommand || isProposal(l): // behind its own this broker proposes no records (Group.enqueue)
		case entry.KindOf(l.Data) == entry.TruncateTo:
			cut = l.Index
		case cut != 0 && len(l.Extensions) > 0:
			return i, cut
		}
	}
	return 0, 0
}

// storeBehind carries out the truncate-to at index cut between the first n of logs and the others.
func (s *logStore) storeBehind(logs []*hraft.Log, n int, cut uint64) error {
	if n > 0 {
		if err := s.StoreLogs(logs[:n]); err != nil {
			return err
		}
	}
	if err := s.sg.TruncateTo(cut); err != nil {
		err = fmt.Errorf("raft: %s: truncation at index %d: %w", s.sg, cut, err)
		s.g.fail(err)
		return err
	}
	return s.StoreLogs(logs[n:])
}

// isProposal tells commands that this broker proposed from those that a leader sent.
func isProposal(l *hraft.Log) bool { return len(l.Extensions) > 0 && &l.Extensions[0] == &proposal[0] }

// prepare turns logs into entries, and moves state behind them.
func (s *logStore) prepare(logs []*hraft.Log) error {
	for _, l := range logs {
		e := storage.Entry{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Data: l.Data}
		var err error
		switch {
		case l.Type != hraft.LogCommand:
		case isProposal(l):
			err = s.admit(l, &e)
		default:
			err = s.follow(l, &e)
		}
		if err != nil {
			return fmt.Errorf("index %d: %w", l.Index, err)
		}
		s.entries = append(s.entries, e)
	}
	return nil
}

// admit decides about a command that this broker proposed: stamped data, or a void.
func (s *logStore) admit(l *hraft.Log, e *storage.Entry) error {
	f := s.take(l.Data)
	h := &s.header
	if f != nil {
		h = f.header
	} else if err := h.Decode(l.Data); err != nil {
		return err
	}
	reason := s.state.Admit(h, l.Term)
	if f == nil && reason == entry.Admitted {
		reason = entry.VoidSequence // it was given up: its client has been told, its payload is gone
	}
	if reason != entry.Admitted {
		h.MakeVoid(reason)
		e.Data = h.Append(make([]byte, 0, h.Size()))
		if f != nil {
			f.err = &VoidError{Reason: reason}
			s.voided = append(s.voided, f)
		}
		return s.state.Advance(h)
	}
	switch linked := h.Linked(); {
	case h.Kind == entry.Data && !(linked && s.state.Level >= entry.LevelSites): // that comes stamped (prepareForSites)
		s.state.Stamp(h, l.Term)
		stamp(h, f.payload)
	case h.Kind == entry.Fence:
		s.state.Stamp(h, l.Term)
	}
	if err := s.state.Advance(h); err != nil {
		s.voided = append(s.voided, f) // fails with all others
		return err
	}
	f.index = l.Index
	s.taken = append(s.taken, f)
	e.Data = h.Append(f.data[:0]) // as long as before: stamping changes figures only
	e.Payload = f.payload
	return nil
}

// joinBytesMin is the payload from which joining the checksums of its batches is faster than reading it again.
const joinBytesMin = 32 << 10

// stamp writes what the rows say into the batches of payload, whose CRCs were checked when they came in, and takes the
// payload's checksum behind it.
func stamp(h *entry.Header, payload []byte) {
	h.PayloadCRC = 0
	join := len(payload) >= joinBytesMin
	for i := range h.Rows {
		r := &h.Rows[i]
		b := record.Batch(payload[r.Pos : r.Pos+r.Length])
		b.SetBaseOffset(r.BaseOffset)
		b.SetLeaderEpoch(r.LeaderEpoch)
		if join {
			h.PayloadCRC = record.JoinChecksums(h.PayloadCRC, b.Checksum(), len(b))
		}
	}
	if !join {
		h.PayloadCRC = crc32.Checksum(payload, entry.Castagnoli)
	}
}

// take finds the proposal of a command and takes it out of the queue. Those before it in the queue were refused by the
// library and will not come: they fail, and the sequence has a gap, so that this one becomes a void. nil = it was given up.
func (s *logStore) take(data []byte) *Future {
	g := s.g
	g.mu.Lock()
	skip := g.mu.queued.position(data)
	if skip < 0 {
		g.mu.Unlock()
		return nil
	}
	var refused []*Future
	for range skip {
		refused = append(refused, g.mu.queued.pop())
		g.mu.broken = true
	}
	f := g.mu.queued.pop()
	g.mu.Unlock()
	if refused != nil {
		g.complete(refused, overtaken("refused"))
	}
	return f
}

var errPayload = errors.New("payload does not match its header")

// follow takes a command as the leader sent it, with its payload in Extensions.
func (s *logStore) follow(l *hraft.Log, e *storage.Entry) error {
	h := &s.header
	if err := h.Decode(l.Data); err != nil {
		return err
	}
	if int(h.PayloadLength) != len(l.Extensions) || h.PayloadCRC != crc32.Checksum(l.Extensions, entry.Castagnoli) {
		return fmt.Errorf("%w: %d bytes, the header says %d", errPayload, len(l.Extensions), h.PayloadLength)
	}
	e.Payload = l.Extensions
	return s.state.Advance(h)
}

// publish hands the stored entries on: voids fail now, the others wait for the machine.
func (s *logStore) publish(logs []*hraft.Log) {
	for i, l := range logs {
		l.Data, l.Extensions = s.entries[i].Data, nil
	}
	g := s.g
	g.mu.Lock()
	role := g.mu.state.Role != s.state.Role || g.mu.state.SiteEpoch != s.state.SiteEpoch || g.mu.state.HasEpochBase != s.state.HasEpochBase
	g.mu.state = s.state
	if len(s.voided) > 0 {
		g.mu.broken = true
	}
	for _, f := range s.taken {
		g.mu.stored.push(f)
	}
	g.mu.Unlock()
	for _, f := range s.taken {
		f.letGo()
		f.noteStored(true)
	}
	if g.track != nil {
		if role {
			g.review()
		}
		defer g.changed() // behind the voids
	}
	for _, f := range s.voided {
		err := f.err
		f.err = nil
		f.complete(nil, err)
	}
	if len(s.voided) > 0 {
		g.mu.Lock()
		g.mu.inFlight -= len(s.voided)
		g.mu.Unlock()
	}
}

// DeleteRange implements hraft.LogStore: a prefix that a snapshot covers, or a suffix that a new leader replaces. Anything
// else would leave a hole. A failed suffix ends the Raft group (R4).
func (s *logStore) DeleteRange(first, last uint64) error {
	have, end := s.sg.FirstIndex(), s.sg.LastIndex()
	snap, _ := s.sg.Snapshot()
	switch {
	case have == 0 || last < have || first > end:
		return nil
	case first <= have && last <= snap.Index:
		return s.sg.TruncatePrefix(last)
	case last >= end && first > snap.Index:
		err := s.truncate(first)
		if err != nil {
			s.g.fail(err)
		}
		return err
	}
	return fmt.Errorf("raft: %s: deleting %d to %d of %d to %d, with a snapshot at %d, would leave a hole", s.sg, first, last,
		have, end, snap.Index)
}

// truncate removes the entries from index from on.
func (s *logStore) truncate(from uint64) error {
	state, err := s.sg.StateAt(from - 1)
	if err != nil {
		return fmt.Errorf("raft: %s: state behind index %d: %w", s.sg, from-1, err)
	}
	if err := s.sg.TruncateSuffix(from, state); err != nil {
		return fmt.Errorf("raft: %s: truncate from %d: %w", s.sg, from, err)
	}
	s.state = state
	s.g.mu.Lock()
	s.g.mu.state = state
	s.g.mu.Unlock()
	return nil
}
