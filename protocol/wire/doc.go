// Package wire speaks the Kafka protocol's outer layer: frames, request headers, which APIs and versions are served, and the
// check of every request body before kmsg decodes it.
//
// The path of a request:
//
//	ReadFrame    size and API key are judged before a buffer is taken; the bytes land in a pooled, reference-counted Buffer
//	ParseHeader  key, version, correlation id, client id, header tags
//	Decode       Check walks the body by Kafka's own message definitions (schema_table.go), then kmsg decodes it;
//	             DecodeMemory says beforehand what that takes
//	AppendResponse, FetchResponse.Encode
//
// Why the walk: kmsg believes array lengths up to the number of bytes left and allocates whole structs for them, up to 152
// times the input in experiments, and before 1.15.1 a nine-byte request burnt 50 CPU-seconds in a tag loop. After Check every
// count, length and tag section is known to be true, and decoding takes at most 8 times the body, and at most 64 MiB, plus 1 MiB of memory.
//
// Ownership: a decoded request borrows its byte fields (the records of a Produce above all) from the frame. The frame's
// Buffer must stay retained for as long as the request is used. Strings are copied.
//
// The package does no I/O except through the readers it is handed, holds no mutable global state and starts no goroutine.
package wire
