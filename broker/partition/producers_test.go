package partition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/brokertest/transcript"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

// TestProducerTranscripts runs testdata/producers/*.txt (see package transcript). Commands:
//
//	append ID EPOCH SEQUENCE COUNT   checks a batch and notes it as in flight
//	commit                           commits the oldest batch in flight, at the next offset
//	void                             gives up the oldest batch in flight
//	marker ID EPOCH abort|commit     commits a transaction marker
//	advance DURATION                 moves the clock
//	expire DURATION                  forgets who has not written for so long
//	restart                          saves and restores the state, as a checkpoint and a restart do
//	show                             prints the state
func TestProducerTranscripts(t *testing.T) {
	transcript.Run(t, "testdata/producers/*.txt", func(*testing.T) transcript.Play {
		return (&dialogue{ps: newProducers(), now: time.UnixMilli(1_000_000)}).run
	})
}

// dialogue is what the commands work on.
type dialogue struct {
	ps       *producers
	inFlight []*Append
	offset   int64
	now      time.Time
}

func (s *dialogue) run(line string) ([]string, error) {
	var (
		id    int64
		epoch int16
		kind  string
		d     string
		seq   int32
		n     int32
	)
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "append":
		if _, err := fmt.Sscan(rest, &id, &epoch, &seq, &n); err != nil {
			return nil, err
		}
		return []string{s.append(id, epoch, seq, n)}, nil
	case "commit":
		a := s.inFlight[0]
		s.inFlight = s.inFlight[1:]
		r := &a.row[0]
		r.BaseOffset, r.LastOffset = s.offset, s.offset+int64(r.LastOffsetDelta)
		s.offset = r.LastOffset + 1
		s.ps.apply(&a.header, r, s.now.UnixMilli())
		return []string{fmt.Sprintf("offset %d", r.BaseOffset)}, nil
	case "void":
		a := s.inFlight[0]
		s.inFlight = s.inFlight[1:]
		s.ps.end(a.producerID, a)
		return nil, nil
	case "marker":
		if _, err := fmt.Sscan(rest, &id, &epoch, &kind); err != nil {
			return nil, err
		}
		r := entry.Row{ProducerID: id, ProducerEpoch: epoch, BaseOffset: s.offset, LastOffset: s.offset, MaxTimestamp: s.now.UnixMilli()}
		if kind == "commit" {
			r.ControlType = 1
		}
		s.offset++
		done, ok := s.ps.apply(nil, &r, s.now.UnixMilli())
		return []string{fmt.Sprintf("offset %d, ended a transaction: %v, first offset %d, aborted %v", r.BaseOffset, ok, done.firstOffset, done.aborted)}, nil
	case "advance", "expire":
		if _, err := fmt.Sscan(rest, &d); err != nil {
			return nil, err
		}
		after, err := time.ParseDuration(d)
		if err != nil {
			return nil, err
		}
		if verb == "advance" {
			s.now = s.now.Add(after)
			return nil, nil
		}
		return []string{fmt.Sprintf("%d forgotten", s.ps.expire(s.now, after))}, nil
	case "restart":
		return nil, s.restart()
	case "show":
		return s.show(), nil
	}
	return nil, errors.New("unknown command")
}

func (s *dialogue) append(id int64, epoch int16, seq, n int32) string {
	a := &Append{producerID: id, producerEpoch: epoch, firstSequence: seq, lastSequence: record.IncrementSequence(seq, n-1)}
	a.row[0] = entry.Row{ProducerID: id, ProducerEpoch: epoch, BaseSequence: seq, LastOffsetDelta: n - 1, ControlType: none,
		MaxTimestamp: s.now.UnixMilli()}
	a.header.Rows = a.row[:]
	d, err := s.ps.check(&a.row[0], 0)
	switch {
	case err != nil:
		return err.Error()
	case d == nil:
		s.ps.begin(id, a)
		s.inFlight = append(s.inFlight, a)
		return "in flight"
	case d.pending != nil:
		return fmt.Sprintf("duplicate of number %d in flight", slices.Index(s.inFlight, d.pending)+1)
	}
	return fmt.Sprintf("duplicate, written at offset %d", d.committed.lastOffset-int64(d.committed.offsetDelta))
}

func (s *dialogue) restart() error {
	s.inFlight = nil
	saved := state{hw: s.offset, producerOffset: s.offset, recent: s.ps.recent(s.now)}
	var st state
	if err := st.decode(saved.encode()); err != nil {
		return err
	}
	s.ps = decodeProducers(s.ps.encode())
	s.ps.addRecent(st.recent, s.now)
	return nil
}

func (s *dialogue) show() []string {
	var out []string
	for _, p := range s.ps.byID {
		line := fmt.Sprintf("producer %d epoch %d, %d in flight:", p.id, p.epoch, len(p.pending))
		for _, b := range p.batches {
			line += fmt.Sprintf(" %d-%d@%d", b.firstSequence, b.lastSequence, b.lastOffset-int64(b.offsetDelta))
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func FuzzState(f *testing.F) {
	s := state{hw: 7, producerOffset: 7, recent: []recentBatches{{id: 3, epoch: 1, batches: []batchRef{{lastSequence: 4, lastOffset: 5}}}}}
	f.Add(s.encode())
	f.Add((&state{producerOffset: none}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var s state
		if s.decode(b) != nil {
			return
		}
		var again state
		if err := again.decode(s.encode()); err != nil || len(again.recent) != len(s.recent) || again.hw != s.hw {
			t.Fatalf("%+v reads back as %+v, %v", s, again, err)
		}
	})
}
