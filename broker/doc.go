// Package broker puts one broker together: storage, the Raft groups on it, the partitions, the metadata, the listeners, and the
// admin listener beside them. It is the only package that knows all of them.
//
// New opens everything, in the order in which each part needs those before it, and closes what is open when a later one fails.
// Run serves until its context ends, then drains: no new connections, answers to what was received, a last checkpoint, and the
// mark of a clean stop. A fatal storage error does not come back through Run: Options.OnFatal ends the process.
package broker
