package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

const (
	batchHeaderLen = 61
	recordLen      = 1024 // bytes a record takes in a batch
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// makeBatch builds a batch of magic 2 without compression, of records that take 1 KiB each; at most size bytes, and as near to
// it as whole records allow. Where size is below a record and a header, one record fills it exactly. seed picks the content.
func makeBatch(size int, seed uint64) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	count, each := (size-batchHeaderLen)/recordLen, recordLen
	if count == 0 {
		count, each = 1, size-batchHeaderLen
	}
	b := make([]byte, batchHeaderLen, size)
	for i := range count {
		b = appendRecord(b, each, int64(i), rng)
	}
	return sealBatch(b, count)
}

// sealBatch fills in the header of a batch of count records.
func sealBatch(b []byte, count int) []byte {
	now := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], 1<<32-1) // leader epoch -1
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(count-1))
	binary.BigEndian.PutUint64(b[27:], now)
	binary.BigEndian.PutUint64(b[35:], now)
	for i := 43; i < 57; i++ {
		b[i] = 0xff // no producer id, epoch, sequence
	}
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// appendRecord appends a record of exactly total bytes with a null key and random value.
func appendRecord(b []byte, total int, delta int64, rng *rand.ChaCha8) []byte {
	for value := total - 8; ; value-- { // the lengths are varints, so try until it fits
		body := binary.AppendVarint([]byte{0, 0}, delta)
		body = binary.AppendVarint(append(body, 1), int64(value))
		head := binary.AppendVarint(nil, int64(len(body)+value+1))
		if len(head)+len(body)+value+1 > total {
			continue
		}
		b = append(append(b, head...), body...)
		start := len(b)
		b = append(b, make([]byte, value+1)...)
		_, _ = rng.Read(b[start : start+value]) // never fails; the last byte, the header count, stays 0
		return b
	}
}

// endOffset is the offset behind the last whole batch of records, and how many bytes those batches take; a fetch may end with
// a part of one.
func endOffset(records []byte) (next int64, bytes int, err error) {
	for len(records)-bytes >= batchHeaderLen {
		b := records[bytes:]
		length := int(int32(binary.BigEndian.Uint32(b[8:]))) + 12
		if length < batchHeaderLen || b[16] != 2 {
			return 0, 0, errors.New("fetched bytes are not batches")
		}
		if length > len(b) {
			break
		}
		next = int64(binary.BigEndian.Uint64(b)) + int64(int32(binary.BigEndian.Uint32(b[23:]))) + 1
		bytes += length
	}
	if bytes == 0 {
		return 0, 0, errors.New("fetched no whole batch")
	}
	return next, bytes, nil
}
