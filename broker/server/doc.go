// Package server is the network side of a broker: listeners, connections, frames in, answers out. What a request means is the
// Handler's business.
//
// A connection is one goroutine that reads a frame, decodes it and hands it to the Handler, in order. Most requests are
// answered by that goroutine before it reads the next one, which is what Kafka clients rely on. Requests of an API that the
// Handler calls pipelined (Produce) are only started by it: their answers wait in a short queue, and a second goroutine, born
// with the first such request, sends them in order. So a connection may have several produces in flight, which share one sync,
// while every other request still sees all earlier ones answered.
//
//	reader:  PeekFrame, reserve memory, ReadFrame, ParseHeader, Decode, Handler.Handle -> Reply
//	         not pipelined: wait for the queue to drain, Reply.Wait, Reply.Send, flush
//	         pipelined:     queue the Reply
//	writer:  Reply.Wait, Reply.Send for every queued Reply that is ready, flush
//
// Only one of the two touches the Writer at a time: the reader does so only while the queue is empty and the writer idle.
//
// While a client sends nothing, its connection holds no buffers, whether it waits for the next request or for the answer to a long
// poll (input.go): of thousands of clients most are idle.
//
// Record batches leave by sendfile where the connection is plaintext TCP and the records lie in an operating-system file.
//
// What one client can take is bounded: connections (in all and per address), the size of a frame, the bytes of frames in
// flight, the memory of decoded requests, the time a frame may take to arrive, and the time a client may leave an answer
// unread. Bad input closes its own connection with one rate-limited log line.
package server
