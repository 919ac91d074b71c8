package sites

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/meta"
)

// history keeps what has happened to the site's role, in meta.db. Safe for concurrent use.
type history struct {
	pair *Pair
	wake chan struct{}

	mu      sync.Mutex
	reports map[uint32]*operator.Report // by site epoch, not stored yet
}

const (
	historyBucket = "history"
	eventsMax     = 1000 // the newest are kept
)

func newHistory(p *Pair) *history {
	return &history{pair: p, wake: make(chan struct{}, 1), reports: map[uint32]*operator.Report{}}
}

func (h *history) look() {
	if h != nil {
		nudge(h.wake)
	}
}

// report hands in what a promotion has cost.
func (h *history) report(epoch uint32, r *operator.Report) {
	h.mu.Lock()
	h.reports[epoch] = r
	h.mu.Unlock()
	h.look()
}

// run stores what happens, until the Pair is closed.
func (h *history) run() {
	for {
		if err := h.store(); err != nil {
			h.pair.logger.Warn("history of the site's role", "error", err)
		}
		select {
		case <-h.pair.ctx.Done():
			return
		case <-h.wake:
		}
	}
}

// store brings the stored events up to what is known.
func (h *history) store() error {
	rec := h.pair.driver.Record()
	h.mu.Lock()
	reports := h.reports
	h.reports = map[uint32]*operator.Report{}
	h.mu.Unlock()
	events, first, err := h.load()
	if err != nil {
		return err
	}
	changed := map[int]bool{}
	if n := len(events); n == 0 || events[n-1].SiteEpoch != rec.Epoch || (events[n-1].What == followed || events[n-1].What == joinedStandby) != (rec.Role == site.Standby) {
		events = append(events, h.event(rec, n == 0))
		changed[n] = true
	}
	for i := range events {
		if r := reports[events[i].SiteEpoch]; r != nil {
			events[i].Report, events[i].From = r, r.From
			if r.Kind == operator.Failover && events[i].What == promoted {
				events[i].What = string(operator.Failover)
			}
			changed[i] = true
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return h.pair.options.Meta.Update(func(tx meta.Tx) error {
		for i := range changed {
			text, err := json.Marshal(events[i])
			if err != nil {
				return err
			}
			if err := tx.Put(historyBucket, binary.BigEndian.AppendUint64(nil, first+uint64(i)), text); err != nil {
				return err
			}
		}
		for i := range len(events) - eventsMax {
			if err := tx.Delete(historyBucket, binary.BigEndian.AppendUint64(nil, first+uint64(i))); err != nil {
				return err
			}
		}
		return nil
	})
}

// What an event says.
const (
	joinedActive  = "joined as active"
	joinedStandby = "joined as standby"
	followed      = "followed"
	promoted      = "promoted"
)

func (h *history) event(rec site.Record, first bool) operator.Event {
	e := operator.Event{At: h.pair.options.Now().UTC(), Site: h.pair.options.Config.Name, SiteEpoch: rec.Epoch}
	switch {
	case first && rec.Role == site.Active:
		e.What = joinedActive
	case first:
		e.What = joinedStandby
	case rec.Role == site.Standby:
		e.What = followed
	case rec.Planned:
		e.What = string(operator.Switchover)
	default:
		e.What = promoted
	}
	return e
}

// load reads the stored events; first is the key of the first one.
func (h *history) load() (events []operator.Event, first uint64, err error) {
	err = h.pair.options.Meta.View(func(tx meta.Tx) error {
		return tx.Each(historyBucket, func(key, value []byte) error {
			var e operator.Event
			if err := json.Unmarshal(value, &e); err != nil || len(key) != 8 {
				return fmt.Errorf("history: event %x: %w", key, err)
			}
			if events == nil {
				first = binary.BigEndian.Uint64(key)
			}
			events = append(events, e)
			return nil
		})
	})
	return events, first, err
}
