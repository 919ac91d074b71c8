// Package compact holds the table that compaction works from: for each key of the part of a log that was not compacted yet, the
// offset of its last record.
//
// Keys are kept as 16 bytes of hash, so that a table of a given size takes a known number of keys of any length. Two keys with
// one hash would make compaction drop a record that must stay, and clients choose the keys. Kafka takes MD5, for which such pairs
// can be made; here the hash is SipHash-1-3 with 128 bits and a secret that is drawn for each table (docs/adr/0013).
//
// A Map is for one goroutine; beside it another one may hash keys for it. Source: Kafka's SkimpyOffsetMap.
package compact
