package raft

import (
	"fmt"
	"hash/crc32"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// resolve copies descriptors and gives the copies their payloads, as Extensions.
func resolve(sg *storage.Group, logs []*hraft.Log) ([]*hraft.Log, error) {
	out := make([]*hraft.Log, len(logs))
	var h entry.Header
	for i, l := range logs {
		c := *l
		c.Extensions = nil
		out[i] = &c
		if l.Type != hraft.LogCommand {
			continue
		}
		if err := h.Decode(l.Data); err != nil {
			return nil, fmt.Errorf("raft: %s: index %d: %w", sg, l.Index, err)
		}
		if h.PayloadLength == 0 {
			continue
		}
		payload, err := readPayload(sg, &h)
		if err != nil {
			return nil, fmt.Errorf("raft: %s: index %d: %w", sg, l.Index, err)
		}
		c.Extensions = payload
	}
	return out, nil
}

// readPayload reads the batches of a stamped header from the segment and verifies them.
func readPayload(sg *storage.Group, h *entry.Header) ([]byte, error) {
	first, last := h.Rows[0].BaseOffset, h.Rows[len(h.Rows)-1].LastOffset
	extent, err := sg.Log().Read(first, int64(h.PayloadLength), last+1, true)
	if err != nil {
		return nil, err
	}
	defer extent.Release()
	payload, err := extent.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(payload) != int(h.PayloadLength) || crc32.Checksum(payload, entry.Castagnoli) != h.PayloadCRC {
		return nil, fmt.Errorf("%w: offset %d", errPayload, first)
	}
	return payload, nil
}
