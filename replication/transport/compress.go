package transport

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// compressMin is the smallest payload in bytes that is worth compressing.
const compressMin = 512

// attributeCodec is the part of the batch attributes that names the codec of the records; 0 = none.
const attributeCodec = 7

// newEncoder returns the encoder of one connection; not safe for concurrent use.
func newEncoder() (*zstd.Encoder, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("transport: zstd encoder: %w", err)
	}
	return e, nil
}

// newDecoder returns a decoder that never writes more than there is room for, whatever the frame claims; not safe for concurrent use.
func newDecoder() (*zstd.Decoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(site.PayloadBytesMax), zstd.WithDecoderMaxWindow(site.PayloadBytesMax))
	if err != nil {
		return nil, fmt.Errorf("transport: zstd decoder: %w", err)
	}
	return d, nil
}

// compressible says whether it is worth a try: batches that producers have compressed get no smaller.
func compressible(rows []entry.Row, payload []byte) bool {
	if len(payload) < compressMin {
		return false
	}
	plain := 0
	for i := range rows {
		if rows[i].Attributes&attributeCodec == 0 {
			plain += int(rows[i].Length)
		}
	}
	return plain > len(payload)/2
}

// decompress fills dst, whose length is what the sender said, from one zstd frame.
func decompress(d *zstd.Decoder, dst, src []byte) error {
	got, err := d.DecodeAll(src, dst[:0:len(dst)])
	switch {
	case err != nil:
		return fmt.Errorf("%w: zstd: %w", errProtocol, err)
	case len(got) != len(dst):
		return fmt.Errorf("%w: %d bytes in a zstd frame, %d were said", errProtocol, len(got), len(dst))
	}
	return nil
}
