// Package verify compares the partitions of two sites while both run: checksums of ranges of offsets, over each batch's offsets, leader epoch
// and bytes. Only what is durable at both is compared, so what is on its way is no difference. Where checksums differ the range is halved until
// the first batch that differs is found.
//
// Each side computes its Sum of a Range over its own log (Compute); Compare asks both. What moves meanwhile (retention raises a log's start) is
// looked at again before a difference is believed.
package verify
