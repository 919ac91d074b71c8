package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

// typeNoop is hashicorp/raft's LogNoop.
const typeNoop = 1

// producer makes the entries that the leader of a Raft group would store.
type producer struct {
	rng   *rand.Rand
	term  uint64
	seq   uint64 // append sequence in term
	index uint64 // of the last entry
	state entry.State
}

func newProducer(rng *rand.Rand, start int64) *producer {
	return &producer{rng: rng, term: 1, state: entry.NewState(start)}
}

// resume makes p go on behind what a recovered group has, as the leader of a newer term.
func (p *producer) resume(index, term uint64, state entry.State) {
	p.index, p.state = index, state
	p.term, p.seq = max(term, p.term)+1, 0
}

func (p *producer) noop() Entry {
	p.index++
	return Entry{Index: p.index, Term: p.term, Type: typeNoop}
}

func (p *producer) command(h entry.Header, payload []byte) Entry {
	p.index++
	p.seq++
	if h.Kind != entry.Promote && h.Kind != entry.Follow {
		h.SiteEpoch = p.state.SiteEpoch
	}
	h.ValidatedTerm, h.AppendSequence = p.term, p.seq
	if r := p.state.Admit(&h, p.term); r != entry.Admitted {
		panic(fmt.Sprintf("entry %d of term %d not admitted: %v", p.index, p.term, r))
	}
	p.state.Stamp(&h, p.term)
	if len(payload) > 0 {
		pos := 0
		for i := range h.Rows {
			b := record.Batch(payload[pos : pos+int(h.Rows[i].Length)])
			b.SetBaseOffset(h.Rows[i].BaseOffset)
			b.SetLeaderEpoch(h.Rows[i].LeaderEpoch)
			pos += len(b)
		}
		h.PayloadLength = uint32(len(payload))
		h.PayloadCRC = crc32.Checksum(payload, entry.Castagnoli)
	}
	if err := p.state.Advance(&h); err != nil {
		panic(err)
	}
	return Entry{Index: p.index, Term: p.term, Type: TypeCommand, Data: h.Append(nil), Payload: payload}
}

// epochBase must be the first entry of a log.
func (p *producer) epochBase() Entry {
	return p.command(entry.Header{Kind: entry.EpochBase, Body: entry.EpochBaseBody(p.term, 0)}, nil)
}

// data is an entry of one or two batches of together about size bytes.
func (p *producer) data(size int, class entry.Class) Entry {
	return p.command(p.batches(size, class))
}

// linked is data as another site's link ships it, with gaps, of that site epoch.
func (p *producer) linked(size int, class entry.Class) Entry {
	h, payload := p.batches(size, class)
	next, epoch := p.state.NextOffset, max(p.state.LastEpoch, int32(p.state.SiteEpoch<<entry.LeaderEpochBits))
	if p.rng.IntN(4) == 0 {
		next = max(next, entry.BandStart(p.state.SiteEpoch))
		epoch++
	}
	for i := range h.Rows {
		r := &h.Rows[i]
		next += int64(p.rng.IntN(2)) * 5
		r.BaseOffset, r.LastOffset, r.LeaderEpoch = next, next+int64(r.LastOffsetDelta), epoch
		next = r.LastOffset + 1
	}
	return p.command(h, payload)
}

// batches makes a proposal of data.
func (p *producer) batches(size int, class entry.Class) (entry.Header, []byte) {
	h := entry.Header{Kind: entry.Data, Class: class}
	var payload []byte
	batches := 1
	if size > 400 && p.rng.IntN(3) == 0 {
		batches = 2
	}
	for range batches {
		b := record.NewBuilder()
		n := 1 + p.rng.IntN(3)
		for range n {
			value := make([]byte, size/batches/n)
			for i := 0; i+8 <= len(value); i += 8 {
				binary.LittleEndian.PutUint64(value[i:], p.rng.Uint64())
			}
			b.Append(1000+int64(p.index), nil, value)
		}
		batch, err := b.Batch()
		if err != nil {
			panic(err)
		}
		h.Rows = append(h.Rows, entry.Row{
			Pos: uint32(len(payload)), Length: uint32(len(batch)), BaseOffset: -1, LastOffset: -1, LeaderEpoch: -1,
			CoordinatorEpoch: -1, ProducerID: -1, MaxTimestamp: batch.MaxTimestamp(), BaseSequence: -1, ProducerEpoch: -1,
			ControlType: -1, LastOffsetDelta: batch.LastOffsetDelta(),
		})
		payload = append(payload, batch...)
	}
	h.PayloadLength = uint32(len(payload))
	return h, payload
}

func (p *producer) promote(siteEpoch uint32) Entry {
	b := entry.Promotion{SiteEpoch: siteEpoch, Base: max(p.state.NextOffset, entry.BandStart(siteEpoch)), Shared: -1}.Append(nil)
	return p.command(entry.Header{Kind: entry.Promote, SiteEpoch: siteEpoch, Body: b}, nil)
}

func (p *producer) follow(siteEpoch uint32, shared int64) Entry {
	b := entry.Followed{SiteEpoch: siteEpoch, Shared: shared}.Append(nil)
	return p.command(entry.Header{Kind: entry.Follow, SiteEpoch: siteEpoch, Body: b}, nil)
}

func (p *producer) fence(target uint32) Entry {
	return p.command(entry.Header{Kind: entry.Fence, Body: entry.Fencing{Target: target, Next: -1}.Append(nil)}, nil)
}

func (p *producer) truncateTo(offset int64, epoch int32) Entry {
	return p.command(entry.Header{Kind: entry.TruncateTo, Body: entry.Truncation{Offset: offset, LeaderEpoch: epoch}.Append(nil)}, nil)
}
