package main

import (
	"context"
	"fmt"
)

// runAllocs is figure (e): what the broker's heap hands out for one produce and for one fetch, at three payload sizes. It must
// not grow with the payload: at most 1.2 times the objects of 1 KiB (the baseline), and at most 0.05 heap bytes for each byte of
// payload above that (pools that the garbage collector empties are filled again now and then).
func runAllocs(ctx context.Context, o options, r *report) error {
	sizes := []int{1 << 10, 64 << 10, 1 << 20}
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	base := map[string]heap{}
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		for _, size := range sizes {
			topic := fmt.Sprintf("bench-%d", size)
			if round == 0 {
				lanes, err := b.topicProducers(ctx, topic, nil, load{size, 1})
				if err != nil {
					return err
				}
				closeLanes(lanes)
			}
			for _, kind := range []string{"produce", "fetch"} {
				h, err := b.allocated(ctx, kind, topic, size)
				if err != nil {
					return fmt.Errorf("%s of %d KiB: %w", kind, size>>10, err)
				}
				if round == 0 {
					continue // warm-up
				}
				if size == sizes[0] {
					base[kind] = h
				}
				name := fmt.Sprintf("%s of %d KiB", kind, size>>10)
				r.add(sample{Figure: "allocs", Case: name, Round: round, Broker: h.objects, Baseline: base[kind].objects,
					Unit: "objects/request", Extra: map[string]float64{"heap_bytes": h.bytes}}, target{below: 1.2})
				if size > sizes[0] {
					more := (h.bytes - base[kind].bytes) / float64(size-sizes[0])
					r.add(sample{Figure: "allocs", Case: name + ", growth", Round: round, Broker: more,
						Unit: "heap bytes/payload byte"}, target{below: 0.05})
				}
			}
		}
	}
	return ctx.Err()
}

// heap is what one request took.
type heap struct{ objects, bytes float64 }

// allocated sends requests of one kind, one at a time, and divides what the heap handed out meanwhile. What the broker allocates
// when nobody asks anything, and for the scrape, is measured first and taken off.
func (b *broker) allocated(ctx context.Context, kind, topic string, size int) (heap, error) {
	const requests = 500
	batch := makeBatch(size, 1)
	c, err := b.dial(ctx)
	if err != nil {
		return heap{}, err
	}
	defer c.close()
	req := produceRequest(topic, batch, 0)
	one := &lane{conn: c, window: 1, frames: [][]byte{c.frame(req)}, check: func(body []byte) error { return produced(body, req) }}
	if kind == "fetch" {
		fetch := fetchRequest(topic, 0, int32(size))
		one.frames = [][]byte{c.frame(fetch)}
		one.check = func(body []byte) error {
			records, err := fetched(body, fetch)
			if err == nil {
				_, _, err = endOffset(records)
			}
			return err
		}
	}
	if _, err := drive([]*lane{one}, times(20)); err != nil { // buffers of this size are pooled from here on
		return heap{}, err
	}
	var at [3]heap
	for i := range at {
		if i == 2 {
			if _, err := drive([]*lane{one}, times(requests)); err != nil {
				return heap{}, err
			}
		}
		m, err := b.scrape(ctx)
		if err != nil {
			return heap{}, err
		}
		if _, ok := m["go_memstats_mallocs_total"]; !ok {
			return heap{}, fmt.Errorf("the broker's /metrics has no go_memstats_mallocs_total")
		}
		at[i] = heap{m["go_memstats_mallocs_total"], m["go_memstats_alloc_bytes_total"]}
	}
	return heap{
		objects: max(0, (at[2].objects-at[1].objects)-(at[1].objects-at[0].objects)) / requests,
		bytes:   max(0, (at[2].bytes-at[1].bytes)-(at[1].bytes-at[0].bytes)) / requests,
	}, nil
}
