// Command bench measures a running tandem binary against the plainest loop that does the same work on the same machine, in one
// run, and reports the ratio. It speaks to the broker only as a client does and imports none of it.
//
//	go build -o /tmp/tandem ./cmd/tandem
//	go run ./bench produce    -bin /tmp/tandem -dir /data   one partition, acks=all, synced, against write + fdatasync
//	go run ./bench cached     -bin /tmp/tandem -dir /data   the same with write.caching=true, against receive + CRC + write
//	go run ./bench partitions -bin /tmp/tandem -dir /data   100 partitions of 1 KiB batches, against 100 files
//	go run ./bench fetch      -bin /tmp/tandem -dir /data   cached data, against sendfile
//	go run ./bench compaction -bin /tmp/tandem -dir /data   compaction, against a copy of the segments; a producer meanwhile
//	go run ./bench allocs     -bin /tmp/tandem -dir /data   allocations a request, by payload size
//	go run ./bench groups     -bin /tmp/tandem -dir /data   groups: rebalances (-kafka: against Apache Kafka), idle members
//	go run ./bench sites      -bin /tmp/tandem -dir /data   two sites: lag, speed and cost of shipping, a cut, a return
//	go run ./bench start      -bin /tmp/tandem -dir /data   idle memory, start to first ack, 1,000 partitions
//	go run ./bench all        -bin /tmp/tandem -dir /data
//
// How a comparison is made. Each case gets a new broker with an empty data directory under -dir, on the disk that the baseline
// uses. After a warm-up round, broker and baseline take turns for -rounds rounds; a round's ratio is the broker's figure by that
// round's baseline, and the report gives medians. Batches are built once; connections are raw TCP and send the same bytes again
// with a new correlation id, because on few cores a client library would hide the broker. Baselines that a client talks to run
// as a process of their own, as the broker does. Everything under -dir is deleted at the end.
//
// The produce baseline writes the batches as they came, padded to as many bytes as the broker wrote (its journal's and
// segments' bytes), with as many fdatasyncs as the broker made, spread evenly. Both numbers are read from the broker's
// /metrics: tandem_fsync_total, tandem_journal_bytes_total, tandem_segment_bytes_total, summed over their labels. The column
// "syncs" shows how many that is for a batch: a broker that syncs more than it must would make its own baseline slower.
package main
