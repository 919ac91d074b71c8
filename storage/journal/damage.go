package journal

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
)

// Damage is a part of the journal at or below the mark that cannot be read: corruption.
type Damage struct {
	File string // path
	Pos  int64  // byte where it begins; the end of the file where a later one is missing
	// From to To are the sequences lost, both included. To = From-1: bytes between records are damaged, no record is.
	From, To uint64
	// Groups are the Raft groups that surely lost a record here, sorted.
	Groups []entry.GroupID
	// Unidentified: nothing tells whose all of the lost records are. Then every Raft group that is neither in Whole nor
	// covered by its checkpoint may have lost one.
	Unidentified bool
	// Whole are Raft groups that a later record proves to have lost nothing here, sorted.
	Whole []entry.GroupID
}

// Cut is what Open removed from the journal's end: damage above the mark and all behind it.
type Cut struct {
	File  string // path
	Pos   int64  // byte of the first damage
	From  uint64 // first sequence removed
	Bytes int64  // removed in all files
	Files int    // unlinked
}

// survey is the walkVisitor that learns the journal's state: its mark, its end, the Raft groups' chains, and the damage.
type survey struct {
	files  []file
	at     int // file being walked
	groups map[entry.GroupID]groupTail
	before header // of the last record; crc 0 = none, or its header is damaged
	mark   uint64 // newest
	rolled uint64 // all in front of the last file: a file is made only when everything in front of it is on disk
	newest uint64 // last record that is not a mark
	refers uint64 // last record that holds the mark for a payload
	losses []*loss
	open   *loss // the last one, while its end is not known
}

// loss is a Damage in the making.
type loss struct {
	file, pos int // where it begins; file -1 = in front of the first one
	endFile   int // where whole records follow; len(files) = nowhere
	end       int
	from, to  uint64
	tail      bool                     // it reaches the end of the journal: nobody knows how much it is
	known     map[uint64]entry.GroupID // whose record a sequence was; zero = of none
	whole     map[entry.GroupID]bool
}

func (s *survey) begin(i int) {
	s.at = i
	s.rolled = s.files[i].first - 1
	if s.open != nil && s.files[i].first <= s.open.from {
		s.close(i, s.open.from-1)
	}
}

func (s *survey) missing(i int, from, to uint64) {
	if s.open == nil {
		s.lose(&loss{file: i - 1, pos: s.size(i - 1), from: from})
	}
	s.close(i, to)
	s.before = header{}
}

func (s *survey) size(i int) int {
	if i < 0 {
		return 0
	}
	return int(s.files[i].bytes)
}

// close ends the open loss in front of file i.
func (s *survey) close(i int, to uint64) {
	s.open.endFile, s.open.end, s.open.to = i, 0, to
	s.open = nil
}

// lose opens l.
func (s *survey) lose(l *loss) {
	l.known, l.whole = map[uint64]entry.GroupID{}, map[entry.GroupID]bool{}
	l.to, l.endFile = ^uint64(0), len(s.files)
	s.losses = append(s.losses, l)
	s.open = l
}

func (s *survey) gap(g gap) error {
	if g.own != nil {
		s.judge(&g.own.header)
	}
	l := &loss{file: s.at, pos: g.pos, from: g.from}
	s.lose(l)
	if !g.open {
		s.open = nil
		l.to, l.endFile, l.end = g.to, s.at, g.end
	}
	if g.to+1 > g.from || g.open {
		s.before = header{}
	}
	if g.own != nil {
		l.known[g.own.sequence] = g.own.group
		s.note(&g.own.header)
		if !g.open && g.to == g.from {
			s.before = g.own.header
		}
	}
	return nil
}

func (s *survey) record(r *found) error {
	if n := len(s.losses); n > 0 {
		// Only who knew the record before names it: crcBefore 0 says that the writer did not.
		if l := s.losses[n-1]; l.to == r.sequence-1 && l.from <= l.to && r.crcBefore != 0 {
			if _, ok := l.known[l.to]; !ok {
				l.known[l.to] = r.groupBefore
			}
		}
		s.judge(&r.header)
	}
	s.note(&r.header)
	s.before = r.header
	if r.kind == Entry && r.class == entry.Synced && Placement(r.raw[HeaderLen+4]) == ByReference {
		s.refers = r.sequence
	}
	return nil
}

// note takes what a whole header says, whatever became of its body.
func (s *survey) note(h *header) {
	s.mark = max(s.mark, h.mark)
	if h.kind != Mark {
		s.newest = h.sequence
	}
	if h.group != (entry.GroupID{}) {
		s.groups[h.group] = groupTail{sequence: h.sequence, index: lastIndex(h.kind, h.index, h.prevIndex)}
	}
}

// judge follows the chain of h's Raft group across the losses since the group's last known record: the record before h was in
// one of them, or in front of them.
func (s *survey) judge(h *header) {
	if h.group == (entry.GroupID{}) {
		return
	}
	last := s.groups[h.group].sequence
	for _, l := range s.losses {
		switch {
		case l.from <= last || l.to >= h.sequence || l.to < l.from:
		case h.prevSequence >= l.from && h.prevSequence <= l.to:
			l.known[h.prevSequence] = h.group
		case h.prevSequence < l.from && (h.prevSequence != 0 || last == 0):
			l.whole[h.group] = true
		}
	}
}

// durable is the sequence up to which every record was on disk.
func (s *survey) durable() uint64 { return max(s.mark, s.rolled) }

// finish ends the survey at p, and returns the next sequence. A journal that ends below what was on disk has lost all up to there:
// none of these sequences is used again.
func (s *survey) finish(p position) (next uint64) {
	durable := s.durable()
	if p.next > durable {
		return p.next // an open loss is above it, and will be cut
	}
	if s.open == nil {
		last := len(s.files) - 1
		s.lose(&loss{file: last, pos: s.size(last), from: p.next})
	}
	s.open.to, s.open.tail = durable, true
	s.open = nil
	s.before = header{}
	return durable + 1
}

// cutAt is where the journal has to be cut, if anywhere: at the first loss above all that was on disk, or behind the part of a
// loss that is not above it. Records from sequence from on go.
func (s *survey) cutAt() (file, pos int, from uint64, ok bool) {
	durable := s.durable()
	for _, l := range s.losses {
		switch {
		case l.tail:
		case l.from > durable:
			return l.file, l.pos, l.from, true
		case l.to > durable && l.endFile < len(s.files):
			return l.endFile, l.end, durable + 1, true
		}
	}
	return 0, 0, 0, false
}

// damage turns the losses into what Open reports. What lies below firstKept is needed by nobody and only logged.
func (s *survey) damage(dir string, firstKept uint64, log *slog.Logger) []Damage {
	var all []Damage
	for _, l := range s.losses {
		d := Damage{Pos: int64(l.pos), From: l.from, To: l.to}
		if l.file >= 0 {
			d.File = filepath.Join(dir, fileName(s.files[l.file].first))
			s.files[l.file].damaged = true
		} else {
			d.File = filepath.Join(dir, fileName(l.from))
		}
		if l.tail {
			log.Error("journal ends below its mark: what was written behind the mark before the last stop is lost too", "file", d.File,
				"pos", d.Pos, "from", d.From, "mark", s.mark)
		}
		if d.To < firstKept && d.From < firstKept {
			log.Warn("journal damaged below what is needed", "file", d.File, "pos", d.Pos, "from", d.From, "to", d.To)
			continue
		}
		if d.From < firstKept {
			d.From = firstKept
		}
		hurt, count := map[entry.GroupID]bool{}, uint64(0)
		for sequence, id := range l.known {
			if sequence < d.From || sequence > d.To {
				continue
			}
			count++
			if id != (entry.GroupID{}) {
				hurt[id] = true
			}
		}
		d.Unidentified = d.To >= d.From && count < d.To-d.From+1
		d.Groups = sorted(hurt)
		for id := range hurt {
			delete(l.whole, id)
		}
		d.Whole = sorted(l.whole)
		log.Error("journal damaged", "file", d.File, "pos", d.Pos, "from", d.From, "to", d.To, "mark", s.mark,
			"groups", d.Groups, "unidentified", d.Unidentified)
		all = append(all, d)
	}
	return all
}

func sorted(set map[entry.GroupID]bool) []entry.GroupID {
	ids := make([]entry.GroupID, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b entry.GroupID) int {
		var x, y [entry.GroupIDLen]byte
		return bytes.Compare(a.Append(x[:0]), b.Append(y[:0]))
	})
	return ids
}
