// Package record reads, checks and builds Kafka record batches of magic 2, the only format that Kafka 4 writes.
//
// A Batch is a view of bytes that somebody else owns: nothing is copied, getters read the header in place. Next finds the
// batch at the front of a buffer; until it has said yes, nothing in those bytes is believed. All integers are big-endian:
//
//	 0   8  base offset                      outside the CRC
//	 8   4  length of what follows (bytes 12 to the end)
//	12   4  partition leader epoch           outside the CRC
//	16   1  magic = 2
//	17   4  CRC32C of bytes 21 to the end
//	21   2  attributes: bits 0-2 codec, 3 timestamp type (1 = log append time), 4 transactional, 5 control,
//	        6 the first timestamp is a delete horizon; 7-15 unused
//	23   4  last offset delta
//	27   8  first timestamp, ms
//	35   8  max timestamp, ms
//	43   8  producer id, -1 = none
//	51   2  producer epoch
//	53   4  base sequence
//	57   4  record count
//	61      records; compressed as one block when the codec says so
//
// A record, its integers zigzag varints:
//
//	length | attributes (1 byte) | timestamp delta | offset delta | key length (-1 = null) | key |
//	value length (-1 = null) | value | header count | { key length | key | value length (-1 = null) | value }
//
// What a producer sent goes through Single (exactly one batch), then Batch.ValidateProduce, which says what Kafka's
// LogValidator would. Uncompressed records are walked without allocation. Compressed ones are opened only where the topic
// needs it, as a stream that stops at a byte budget and at a ratio (decompression bombs); doc comment of Limits lists what
// Kafka would have found in a batch that stays closed.
//
// The package does no I/O, starts no goroutine and knows no other package. Everything in it is safe for concurrent use on
// different bytes. The pools of coders at package level hold memory, never meaning.
//
// Source of the rules: Apache Kafka 4.3, classes DefaultRecordBatch, DefaultRecord, LogValidator, ProduceRequest, UnifiedLog.
package record
