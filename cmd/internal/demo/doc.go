// Package demo is `tandem demo`: two sites on one machine, under load, through a switchover and back, the loss of the active site, and its
// return. It runs the binary itself, as an operator would, and measures from the outside, with a Kafka client.
package demo
