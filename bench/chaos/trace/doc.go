//go:build linux

// Command trace tries power losses on a trace of the real broker. It runs the tandem binary under strace on a new data
// directory, with a load of idempotent producers, kills and restarts it in the middle of the load a few times, and stops it at
// the end. The trace has every byte that was written. Behind each system call, states are made that a power loss could have
// left then; each is recovered with the product's own storage (cmd/internal/recoverlogs, twice), and in some the broker itself
// is started: it must know a repeated batch and take a new one. Some of these starts are traced as well, and power is lost
// again behind each of their calls. What was acknowledged before the power loss must be there, nothing else may be there than
// was sent, in order, and byte by byte.
//
//	make trace
//	go run ./bench/chaos/trace -tandem .bin/tandem -recoverlogs .bin/recoverlogs -dir DIR      keep the recording
//	... -replay DIR -seed S -op N -variant V                                                one state of it again
//
// Linux only, with strace 5.3 or newer and the right to ptrace. It imports nothing of Tandem.
//
// # What happened when
//
// strace handles one stop of a thread at a time, and the thread stands still meanwhile. Whatever follows from a call that has
// ended comes behind its end in the trace. So a sync covers the writes that ended before it began, and is worth something once
// it has ended; a write that has begun may be on the disk in part. Client and strace read the same clock: an answer that the
// client had strictly before the first line behind a power loss followed from calls before it, and is a promise.
//
// That the trace explains what happened is checked: replayed to its end it must give, byte by byte, the folder that each
// process left behind. A call that is not modelled on a file of the data directory is an error.
//
// # What a power loss leaves
//
// Less is promised than ext4 and XFS keep, and what else they keep is up to chance:
//
//   - fsync and fdatasync of a file make durable its content and size, not its name.
//   - fsync of a folder makes durable the names in it: created, renamed, removed. Nothing else does. (ext4 makes a new file's
//     name durable with the file.) A rename within a folder is atomic.
//   - Names that are not durable survive in the order in which they changed (as with ext4's journal), or any subset of the
//     changes does.
//   - Of a file, each piece of 512 bytes or of 4 KiB, aligned, holds one of the versions that it had since the last sync, and the
//     size is one of the sizes since. So writes are torn, a later write survives without an earlier one, and a file has its new
//     size with zeroes in it, or its new content with its old size. A truncation may be lost, and writes behind it not.
//   - What was durable is never damaged. (storage/damage_test.go is about damage.)
//   - A killed process loses nothing: its successor reads what was written, and a power loss then may take it still.
//
// For each call that changes the disk or syncs it there is the state in which nothing else than what was synced survives, and
// some by chance, drawn from the kinds of loss in loss.go.
package main
