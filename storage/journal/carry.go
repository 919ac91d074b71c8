package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A Raft group that takes no snapshots (it is offline, or makes no progress) would keep the journal from its oldest record on
// for ever. Carry copies what is live of it to the head, so that the front can go:
//
//	carried  carried  ...  carried  carried end
//
// The copies count only with the end behind them, and then replace all that the group had in the journal before. A crash in
// between leaves the old records, which go only once the end is synced. Records of other Raft groups may stand between them.

// carriedPrefix is what stands in front of the body of the record that was copied: its kind, and reserved bytes.
const carriedPrefix = 4

// carryChunk is how many bytes are copied at a time.
const carryChunk = 1 << 20

// Live says what to copy of one Raft group.
type Live struct {
	Group    entry.GroupID
	From     uint64 // first sequence that the group needs
	Snapshot uint64 // entries up to this index are covered by its checkpoint and stay behind
	Hurt     string // why the group is offline for good, where its records will not show it; "" = they tell
}

// Carried is what became of a Live.
type Carried struct {
	First uint64 // sequence of the first copy
	Bytes int64
	Err   error // the group's records cannot be read: nothing changed for it. ErrCorrupt, I/O
}

// CarriedEnd is the body of a carried end.
type CarriedEnd struct {
	Count uint64 // of the copies in front of it
	First uint64 // sequence of the first of them; 0 = there is none
	Hurt  string
}

// hurtMax bounds the reason in a carried end, bytes.
const hurtMax = math.MaxUint16

func carriedEndRecord(group entry.GroupID, e CarriedEnd) Record {
	b := binary.BigEndian.AppendUint64(nil, e.Count)
	b = binary.BigEndian.AppendUint64(b, e.First)
	return Record{Kind: CarryEnd, Group: group, Body: appendString(b, e.Hurt)}
}

// CarriedEnd decodes a CarryEnd record. Errors: ErrCorrupt.
func (r *Record) CarriedEnd() (CarriedEnd, error) {
	if len(r.Body) < 18 || len(r.Body) != 18+int(binary.BigEndian.Uint16(r.Body[16:])) {
		return CarriedEnd{}, r.badBody()
	}
	return CarriedEnd{binary.BigEndian.Uint64(r.Body), binary.BigEndian.Uint64(r.Body[8:]), string(r.Body[18:])}, nil
}

// Counts says whether the copy with this sequence is one of those that the end speaks of: what lies below the first of them was left
// by a carry that never came to its end.
func (e *CarriedEnd) Counts(sequence uint64) bool { return e.First != 0 && sequence >= e.First }

// Whole says whether found is all that there should be of the copies, for who begins to read at sequence from: what lies below is
// not needed any more, copies or not.
func (e *CarriedEnd) Whole(found int, from uint64) bool {
	return uint64(found) == e.Count || e.First < from && uint64(found) < e.Count
}

// decodeCarried decodes the record that was copied.
func (r *Record) decodeCarried(h *header, body []byte) error {
	if len(body) < carriedPrefix || !mayBeCarried(Kind(body[0])) {
		return fmt.Errorf("%w: carried record %d: body of %d bytes", ErrCorrupt, h.sequence, len(body))
	}
	was := *h
	was.kind = Kind(body[0])
	if was.inline != 0 {
		was.inline -= carriedPrefix
	}
	err := r.decode(&was, body[carriedPrefix:])
	r.Carried = true
	return err
}

func mayBeCarried(k Kind) bool { return k.known() && k != Mark && k != Carry && k != CarryEnd }

// CarryAll copies the live records of some Raft groups to the head of the journal; it is durable on return. Nothing is written
// for these groups meanwhile, and no TruncateFront is under way: the caller sees to both. The result has one element for each
// of list. Errors: the journal has failed.
func (j *Journal) CarryAll(list []Live) ([]Carried, error) {
	end := j.NextSequence()
	if _, err := j.Append(nil, true).Wait(); err != nil { // all below end is in the files then
		return nil, err
	}
	done := make([]Carried, len(list))
	g, err := j.gatherLive(list, end)
	if err != nil {
		for i := range done {
			done[i].Err = err
		}
		return done, nil // nothing was written: the journal is as it was
	}
	defer g.close()
	for i := range list {
		w := carrier{journal: j, gathered: g, group: list[i].Group}
		if done[i], err = w.copy(&list[i]); err != nil {
			return nil, err
		}
	}
	if _, err := j.Append(nil, true).Wait(); err != nil {
		return nil, err
	}
	return done, nil
}

// liveRecords is where the records of one Raft group are.
type liveRecords struct {
	from, snapshot uint64
	records        []location
	copies         []copied // carried, without their end yet
	last           uint64   // sequence of its newest record
	broken         error
}

// copied is where a copy is.
type copied struct {
	sequence uint64
	location
}

// gathered is the walkVisitor that finds the live records of some Raft groups.
type gathered struct {
	walker walker
	at     int
	end    uint64
	groups map[entry.GroupID]*liveRecords
	open   map[int]vfs.File
}

func (j *Journal) gatherLive(list []Live, end uint64) (*gathered, error) {
	g := &gathered{end: end, groups: map[entry.GroupID]*liveRecords{}, open: map[int]vfs.File{}}
	from := end
	for i := range list {
		g.groups[list[i].Group] = &liveRecords{from: list[i].From, snapshot: list[i].Snapshot}
		from = min(from, list[i].From)
	}
	j.files.Lock()
	files := append([]file(nil), j.files.list...)
	j.files.Unlock()
	for len(files) > 1 && files[1].first <= from {
		files = files[1:]
	}
	g.walker = walker{j.opts.FS, j.dir, files, files[0].first}
	if _, err := g.walker.walk(g); err != nil {
		return nil, err
	}
	j.duty.Lock()
	defer j.duty.Unlock()
	for id, l := range g.groups {
		if newest := j.owner.groups[id].sequence; newest != l.last && l.broken == nil {
			l.broken = fmt.Errorf("%w: the newest record of the Raft group is %d, found was %d", ErrCorrupt, newest, l.last)
		}
	}
	return g, nil
}

func (g *gathered) begin(i int) { g.at = i }

func (g *gathered) missing(int, uint64, uint64) {}
func (g *gathered) gap(gap) error               { return nil } // the chain of each Raft group tells whether it was hit

func (g *gathered) record(r *found) error {
	l := g.groups[r.group]
	if l == nil || r.sequence < l.from || r.sequence >= g.end || !r.kind.known() {
		return nil
	}
	l.follow(&r.header)
	at := location{file: g.at, pos: int64(r.pos), size: r.length}
	switch {
	case r.kind == Carry:
		if kind := Kind(r.raw[HeaderLen]); kind == Entry && r.index <= l.snapshot {
			at.file = -1 // counts, is not needed
		}
		l.copies = append(l.copies, copied{r.sequence, at})
	case r.kind == CarryEnd:
		var rec Record
		if err := rec.decode(&r.header, r.raw[HeaderLen:]); err != nil {
			return err
		}
		e, err := rec.CarriedEnd()
		l.records = nil
		for _, c := range l.copies {
			if e.Counts(c.sequence) {
				l.records = append(l.records, c.location)
			}
		}
		l.copies = nil
		if err != nil || !e.Whole(len(l.records), l.from) {
			l.broken = fmt.Errorf("%w: journal record %d ends %d copies, found were %d", ErrCorrupt, r.sequence, e.Count, len(l.records))
		}
	case r.kind != Entry || r.index > l.snapshot:
		l.copies = nil // of a copy that a crash cut short
		l.records = append(l.records, at)
	}
	return nil
}

// follow checks that no record of the group is missing in front of h.
func (l *liveRecords) follow(h *header) {
	if l.last != 0 && h.prevSequence != l.last || l.last == 0 && h.prevSequence >= l.from {
		l.broken = fmt.Errorf("%w: the record in front of journal record %d should be %d, found was %d", ErrCorrupt, h.sequence, h.prevSequence, l.last)
	}
	l.last = h.sequence
}

func (g *gathered) close() {
	for _, f := range g.open {
		_ = f.Close() // opened for reading
	}
}

// read returns the record at a place, as it is on disk.
func (g *gathered) read(at location) (header, []byte, error) {
	f := g.open[at.file]
	if f == nil {
		var err error
		if f, err = g.walker.fs.OpenFile(filepath.Join(g.walker.dir, fileName(g.walker.files[at.file].first)), os.O_RDONLY, 0); err != nil {
			return header{}, nil, err
		}
		g.open[at.file] = f
	}
	b := make([]byte, at.size)
	if n, err := f.ReadAt(b, at.pos); n < len(b) {
		return header{}, nil, fmt.Errorf("journal: read %s, byte %d: %w", f.Name(), at.pos, err)
	}
	var h header
	if !h.parse(b) || h.length != at.size || crc32.Checksum(b[HeaderLen:], castagnoli) != h.bodyCRC {
		return h, nil, fmt.Errorf("%w: %s, byte %d: the record changed while it was copied", ErrCorrupt, f.Name(), at.pos)
	}
	return h, b[HeaderLen:], nil
}

// carrier copies the records of one Raft group.
type carrier struct {
	journal  *Journal
	gathered *gathered
	group    entry.GroupID
	chunk    []Record
	bytes    int
	done     Carried
	count    uint64
}

// copy writes the copies and their end. A group whose records cannot all be read is left as it is: without an end the copies
// count for nothing. Where it is hurt for good, what can be read is all there is.
func (w *carrier) copy(c *Live) (Carried, error) {
	l := w.gathered.groups[c.Group]
	if c.Hurt == "" && l.broken != nil {
		return Carried{Err: l.broken}, nil //nolint:nilerr // said in the result
	}
	for _, at := range l.records {
		if at.file < 0 {
			continue
		}
		h, body, err := w.gathered.read(at)
		if err != nil {
			return Carried{Err: err}, nil //nolint:nilerr // said in the result
		}
		r := Record{Kind: Carry, Class: h.class, LogType: h.logType, Group: h.group, Index: h.index, Term: h.term, Body: body, inline: h.inline}
		if h.kind != Carry {
			r.Body = append([]byte{byte(h.kind), 0, 0, 0}, body...)
			if h.inline != 0 {
				r.inline += carriedPrefix
			}
		}
		w.chunk, w.bytes, w.count = append(w.chunk, r), w.bytes+r.size(), w.count+1
		if w.bytes >= carryChunk {
			if err := w.flush(); err != nil {
				return Carried{}, err
			}
		}
	}
	if err := w.flush(); err != nil { // the end names the first one
		return Carried{}, err
	}
	w.chunk = append(w.chunk, carriedEndRecord(c.Group, CarriedEnd{w.count, w.done.First, c.Hurt[:min(len(c.Hurt), hurtMax)]}))
	w.bytes += w.chunk[len(w.chunk)-1].size()
	err := w.flush()
	return w.done, err
}

func (w *carrier) flush() error {
	if len(w.chunk) == 0 {
		return nil
	}
	first, err := w.journal.Append(w.chunk, false).Wait()
	if err != nil {
		return err
	}
	if w.done.First == 0 {
		w.done.First = first
	}
	w.done.Bytes += int64(w.bytes)
	w.chunk, w.bytes = nil, 0
	return nil
}

// Behind is the first sequence of the oldest file such that it and the younger ones have at most that many bytes; that of the
// last file where it alone has more.
func (j *Journal) Behind(bytes int64) uint64 {
	j.files.Lock()
	defer j.files.Unlock()
	l := j.files.list
	i := len(l) - 1
	for bytes -= l[i].bytes; i > 0 && l[i-1].bytes <= bytes; i-- {
		bytes -= l[i-1].bytes
	}
	return l[i].first
}
