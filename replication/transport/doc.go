// Package transport is the connections between the brokers of two sites. It carries the messages of replication/site and the brokers' own
// (Broker), and knows no log. The bytes are in docs/formats.md section 11.
//
// # Sessions
//
// A pair of brokers has one session: a control connection for what is small and urgent, and 1 to 4 data connections for Appends, chosen by
// partition, so that those of one partition keep their order. Either side may dial, both may. Of two sessions between the same two brokers
// the same one survives at both (session.outranks). A session ends with the first of its connections that fails, and is dialled again.
//
// # Delivery
//
// Messages may be lost, never changed: each frame has a checksum, and a session that carried a bad one ends. An Append that goes from its file to
// the connection (Stored) has those of its batches instead; it is passed over where they do not fit. Control messages that do not
// fit into the queue are dropped. What a session has read is handed on before anything of the peer's next one. Appends are bounded by the
// credit of the receiver: what it has not given back (the release function of Receive) it pays for with memory, so a slow receiver stops
// the sender.
//
// # Goroutines
//
// A reader and a writer for each connection, owned by session.run; one for each address that is dialled, one that accepts, one for each
// handshake. Close stops and awaits them all. Lock order: Transport.mu, conn.mu; no callback is called and nothing is sent under either.
package transport
