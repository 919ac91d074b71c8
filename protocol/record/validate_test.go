package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
)

// hand lets a test say what a lying client says: every header field, then the records as given.
type hand struct {
	base                 int64
	attributes           int16
	lastDelta, count     int32
	first, max, producer int64
	sequence             int32
	epoch                int16
	records              []byte
	crcWrong             bool
}

func (h hand) batch() Batch {
	b := make(Batch, HeaderLen, HeaderLen+len(h.records))
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(h.base))
	b[posMagic] = 2
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(h.attributes))
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(h.lastDelta))
	binary.BigEndian.PutUint64(b[posFirstTimestamp:], uint64(h.first))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(h.max))
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(h.producer))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(h.epoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(h.sequence))
	binary.BigEndian.PutUint32(b[posRecordCount:], uint32(h.count))
	b = append(b, h.records...)
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-OverheadLen))
	b.setCRC()
	if h.crcWrong {
		b[posCRC] ^= 1
	}
	return b
}

// rec is one record with a one-byte value; keyed or with a null key.
func rec(timestampDelta, offsetDelta int64, keyed bool) []byte {
	body := binary.AppendVarint([]byte{0}, timestampDelta)
	body = binary.AppendVarint(body, offsetDelta)
	if keyed {
		body = append(body, 2, 'k')
	} else {
		body = append(body, 1)
	}
	body = append(body, 2, 'v', 0)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func valid() hand {
	return hand{lastDelta: 1, count: 2, first: testNow, max: testNow + 5, producer: NoProducerID, sequence: NoSequence,
		records: append(rec(0, 0, true), rec(5, 1, true)...)}
}

func TestValidateProduce(t *testing.T) {
	with := func(fn func(*hand)) hand { h := valid(); fn(&h); return h }
	for name, c := range map[string]struct {
		h    hand
		l    func(*Limits)
		want error
	}{
		"valid":                          {h: valid()},
		"idempotent":                     {h: with(func(h *hand) { h.producer, h.sequence = 4, 0 })},
		"transactional":                  {h: with(func(h *hand) { h.attributes, h.producer, h.sequence = attrTransactional, 4, 0 })},
		"delete horizon bit is taken":    {h: with(func(h *hand) { h.attributes = attrDeleteHorizon })},
		"unused bits are taken":          {h: with(func(h *hand) { h.attributes = -0x80 })},
		"negative producer id is none":   {h: with(func(h *hand) { h.producer = -7 })},
		"base offset not 0":              {h: with(func(h *hand) { h.base = 1 }), want: ErrInvalid},
		"CRC":                            {h: with(func(h *hand) { h.crcWrong = true }), want: ErrCorrupt},
		"too large":                      {h: valid(), l: func(l *Limits) { l.BytesMax = len(valid().batch()) - 1 }, want: ErrTooLarge},
		"just small enough":              {h: valid(), l: func(l *Limits) { l.BytesMax = len(valid().batch()) }},
		"too large comes before CRC":     {h: with(func(h *hand) { h.crcWrong = true }), l: func(l *Limits) { l.BytesMax = len(valid().batch()) - 1 }, want: ErrTooLarge},
		"codec 5":                        {h: with(func(h *hand) { h.attributes = 5 }), want: ErrCodec},
		"codec 7":                        {h: with(func(h *hand) { h.attributes = 7 }), want: ErrCodec},
		"control":                        {h: with(func(h *hand) { h.attributes = attrControl }), want: ErrInvalid},
		"no records":                     {h: with(func(h *hand) { h.count, h.lastDelta, h.records = 0, -1, nil }), want: ErrInvalid},
		"count 0":                        {h: with(func(h *hand) { h.count = 0 }), want: ErrInvalid},
		"count negative":                 {h: with(func(h *hand) { h.count = -1 }), want: ErrInvalid},
		"count below delta":              {h: with(func(h *hand) { h.count = 1 }), want: ErrInvalid},
		"count above delta":              {h: with(func(h *hand) { h.count = 3 }), want: ErrInvalid},
		"delta negative":                 {h: with(func(h *hand) { h.lastDelta = -2 }), want: ErrInvalid},
		"delta of 2^31-1":                {h: with(func(h *hand) { h.lastDelta, h.count = math.MaxInt32, math.MinInt32 }), want: ErrInvalid},
		"count 2^31-1, both":             {h: with(func(h *hand) { h.lastDelta, h.count = math.MaxInt32-1, math.MaxInt32 }), want: ErrInvalid},
		"more records than counted":      {h: with(func(h *hand) { h.lastDelta, h.count = 0, 1 }), want: ErrInvalid},
		"fewer records than counted":     {h: with(func(h *hand) { h.lastDelta, h.count = 2, 3 }), want: ErrInvalid},
		"producer id without sequence":   {h: with(func(h *hand) { h.producer = 4 }), want: ErrInvalid},
		"producer id without epoch":      {h: with(func(h *hand) { h.producer, h.sequence, h.epoch = 4, 0, -1 }), want: ErrInvalid},
		"transactional without producer": {h: with(func(h *hand) { h.attributes = attrTransactional }), want: ErrInvalid},
		"offset deltas swapped":          {h: with(func(h *hand) { h.records = append(rec(0, 1, true), rec(5, 0, true)...) }), want: ErrInvalid},
		"offset delta negative":          {h: with(func(h *hand) { h.records = append(rec(0, -1, true), rec(5, 1, true)...) }), want: ErrInvalid},
		"offset delta over 32 bits":      {h: with(func(h *hand) { h.records = append(rec(0, 1<<33, true), rec(5, 1, true)...) }), want: ErrInvalid},
		"key required":                   {h: with(func(h *hand) { h.records = append(rec(0, 0, true), rec(5, 1, false)...) }), l: func(l *Limits) { l.KeysRequired = true }, want: ErrInvalid},
		"key not required":               {h: with(func(h *hand) { h.records = append(rec(0, 0, true), rec(5, 1, false)...) })},
		"called gzip, is not":            {h: with(func(h *hand) { h.attributes = int16(Gzip) }), want: ErrInvalid},
		"called lz4, is not":             {h: with(func(h *hand) { h.attributes = int16(LZ4) }), want: ErrInvalid},
		"called zstd, is not":            {h: with(func(h *hand) { h.attributes = int16(Zstd) }), want: ErrInvalid},
		"called snappy, is not":          {h: with(func(h *hand) { h.attributes, h.records = int16(Snappy), bytes.Repeat([]byte{0xff}, 20) }), want: ErrInvalid},
		"lz4 with dependent blocks":      {h: with(func(h *hand) { h.attributes, h.records = int16(LZ4), []byte{0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0} }), want: ErrInvalid},
		"compressed garbage, closed":     {h: with(func(h *hand) { h.attributes, h.records = int16(Gzip), []byte{0x1f, 0x8b, 8, 0, 1, 2, 3} })},
		"compressed garbage, opened":     {h: with(func(h *hand) { h.attributes = int16(Gzip) }), l: func(l *Limits) { l.OpenCompressed = true }, want: ErrInvalid},
		"compressed, absurd count": {h: with(func(h *hand) {
			h.attributes, h.lastDelta, h.count = int16(Zstd), math.MaxInt32-1, math.MaxInt32
		}), want: ErrInvalid},
	} {
		l := DefaultLimits(testNow)
		if c.l != nil {
			c.l(&l)
		}
		batch, err := Single(c.h.batch(), 9)
		if err == nil {
			err = batch.ValidateProduce(l)
		}
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestValidateTimestamps(t *testing.T) {
	const hour = 3_600_000
	with := func(first, maxTs int64, attributes int16) hand {
		h := valid()
		h.first, h.max, h.attributes = first, maxTs, attributes
		h.records = append(rec(0, 0, true), rec(maxTs-first, 1, true)...)
		return h
	}
	for name, c := range map[string]struct {
		h    hand
		l    func(*Limits)
		want error
	}{
		"an hour ahead":              {h: with(testNow, testNow+hour, 0)},
		"more than an hour ahead":    {h: with(testNow, testNow+hour+1, 0), want: ErrTimestamp},
		"1970":                       {h: with(0, testNow, 0)},
		"before limit met":           {h: with(testNow-10, testNow, 0), l: func(l *Limits) { l.BeforeMaxMs = 10 }},
		"before limit passed":        {h: with(testNow-11, testNow, 0), l: func(l *Limits) { l.BeforeMaxMs = 10 }, want: ErrTimestamp},
		"limit 0 is a limit":         {h: with(testNow, testNow+1, 0), l: func(l *Limits) { l.AfterMaxMs = 0 }, want: ErrTimestamp},
		"no timestamp is never late": {h: with(NoTimestamp, NoTimestamp, 0), l: func(l *Limits) { l.BeforeMaxMs = 0 }},
		"the largest timestamp":      {h: with(math.MaxInt64, math.MaxInt64, 0), want: ErrTimestamp},
		"the smallest, no limit":     {h: with(math.MinInt64, math.MinInt64, 0)},
		"the smallest timestamp":     {h: with(math.MinInt64, math.MinInt64, 0), l: func(l *Limits) { l.BeforeMaxMs = 1 << 62 }, want: ErrTimestamp},
		"log append time from a client, in range (Kafka clears it)": {h: with(testNow, testNow, attrLogAppendTime)},
		"log append time from a client without a timestamp":         {h: with(NoTimestamp, NoTimestamp, attrLogAppendTime), want: ErrTimestamp},
		"log append time from a client on such a topic":             {h: with(testNow, testNow, attrLogAppendTime), l: func(l *Limits) { l.LogAppendTime = true }, want: ErrTimestamp},
		"far off, but the topic uses log append time":               {h: with(0, testNow+10*hour, 0), l: func(l *Limits) { l.LogAppendTime = true }},
	} {
		l := DefaultLimits(testNow)
		if c.l != nil {
			c.l(&l)
		}
		b := c.h.batch()
		if err := b.ValidateProduce(l); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		} else if err == nil && !l.LogAppendTime && (b.IsLogAppendTime() || b.MaxTimestamp() != max(c.h.max, c.h.first, NoTimestamp)) {
			t.Errorf("%s: type or max timestamp %d not put right", name, b.MaxTimestamp())
		}
		if err := b.CheckCRC(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.l == nil { // what the header says of a closed compressed batch is held to the same limits
			h := c.h
			h.attributes |= int16(LZ4)
			h.records, _ = Compress(nil, LZ4, h.records)
			if err := h.batch().ValidateProduce(l); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%s, compressed: %v, want %v", name, err, c.want)
			}
		}
	}
}

// A client that understates MaxTimestamp would have its data expire early or hide it from the time index; Kafka corrects it.
func TestValidateCorrectsMaxTimestamp(t *testing.T) {
	for _, codec := range []Codec{None, Zstd} {
		h := valid()
		h.max, h.attributes = testNow-1000, int16(codec)
		if codec != None {
			h.records, _ = Compress(nil, codec, h.records)
		}
		l := DefaultLimits(testNow)
		l.OpenCompressed = true
		b := h.batch()
		if err := b.ValidateProduce(l); err != nil || b.MaxTimestamp() != testNow+5 || b.CheckCRC() != nil {
			t.Errorf("%v: %v, max timestamp %d", codec, err, b.MaxTimestamp())
		}
	}
}

func TestRecordErrorNamesTheRecord(t *testing.T) {
	h := valid()
	h.records = append(rec(0, 0, true), rec(5, 1, false)...)
	l := DefaultLimits(testNow)
	l.KeysRequired = true
	var at *RecordError
	if err := h.batch().ValidateProduce(l); !errors.As(err, &at) || at.Index != 1 || at.Reason == "" {
		t.Fatalf("%v", err)
	}
}

// Malformed records, each wrong in one way, by hand.
func TestMalformedRecords(t *testing.T) {
	good := []byte{0, 0, 0, 2, 'k', 2, 'v', 2, 2, 'h', 2, 'x'}
	if _, ok := scan(good); !ok {
		t.Fatal("the good one")
	}
	for n := range good {
		if _, ok := scan(good[:n]); ok {
			t.Errorf("cut to %d bytes: taken", n)
		}
	}
	for name, body := range map[string][]byte{
		"byte left over":          append(bytes.Clone(good), 0),
		"key beyond the end":      {0, 0, 0, 40, 'k', 2, 'v', 0},
		"value beyond the end":    {0, 0, 0, 2, 'k', 40, 'v', 0},
		"negative header count":   {0, 0, 0, 2, 'k', 2, 'v', 1},
		"absurd header count":     {0, 0, 0, 2, 'k', 2, 'v', 0xfe, 0xff, 0xff, 0xff, 0x0f},
		"null header key":         {0, 0, 0, 2, 'k', 2, 'v', 2, 1, 2, 'x'},
		"offset varint too long":  {0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 2, 'k', 2, 'v', 0},
		"offset over 32 bits":     {0, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 2, 'k', 2, 'v', 0},
		"timestamp over 64 bits":  {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 2, 'k', 2, 'v', 0},
		"varint that never stops": bytes.Repeat([]byte{0x80}, 40),
	} {
		if _, ok := scan(body); ok {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSingle(t *testing.T) {
	whole := valid().batch()
	zstd := valid()
	zstd.attributes = int16(Zstd)
	shorter := bytes.Clone(whole)
	binary.BigEndian.PutUint32(shorter[posLength:], uint32(len(whole)-OverheadLen-1))
	for name, c := range map[string]struct {
		b       []byte
		version int16
		want    error
	}{
		"one":               {whole, 3, nil},
		"none":              {nil, 9, ErrInvalid},
		"two":               {append(bytes.Clone(whole), whole...), 9, ErrInvalid},
		"one and a half":    {append(bytes.Clone(whole), whole[:30]...), 9, ErrInvalid},
		"half":              {whole[:30], 9, ErrTruncated},
		"length too small":  {shorter, 9, ErrCorrupt},
		"zstd in version 6": {zstd.batch(), 6, ErrCodec},
		"zstd in version 7": {zstd.batch(), 7, nil},
		"two in version 6":  {append(zstd.batch(), zstd.batch()...), 6, ErrCodec}, // Kafka looks at the first one first
	} {
		if _, err := Single(c.b, c.version); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestValidateTellsEachRefusedRecord: Kafka names all of them, whatever the codec, and one timestamp makes the error one of timestamps.
func TestValidateTellsEachRefusedRecord(t *testing.T) {
	late := testNow + 2*int64(AfterMaxMsDefault)
	for codec := None; codec <= Zstd; codec++ {
		b := NewBuilder()
		b.Codec = codec
		b.Append(late, []byte("k"), nil)
		b.Append(testNow, []byte("k"), nil)
		b.Append(late, []byte("k"), nil)
		if codec == None {
			b.Append(testNow, nil, nil) // without a key
		}
		built, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		l := DefaultLimits(testNow)
		l.KeysRequired = codec == None
		err = built.ValidateProduce(l)
		var bad *RecordError
		if !errors.Is(err, ErrTimestamp) || !errors.As(err, &bad) {
			t.Fatalf("%v: %v", codec, err)
		}
		told := []int32{bad.Index}
		for _, more := range bad.More {
			told = append(told, more.Index)
		}
		want := []int32{0, 2}
		if codec == None {
			want = append(want, 3)
		}
		if !slices.Equal(told, want) {
			t.Errorf("%v: records %v are refused, want %v", codec, told, want)
		}
	}
	many := NewBuilder()
	for range 3 * recordErrorsMax {
		many.Append(late, nil, nil)
	}
	built, err := many.Batch()
	if err != nil {
		t.Fatal(err)
	}
	var bad *RecordError
	if err := built.ValidateProduce(DefaultLimits(testNow)); !errors.As(err, &bad) || 1+len(bad.More) != recordErrorsMax {
		t.Errorf("%v", err)
	}
}

func TestValidateDoesNotAllocate(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		b := testBatch(t, None, 10, size/10)
		l := DefaultLimits(testNow)
		if n := testing.AllocsPerRun(20, func() {
			if err := b.ValidateProduce(l); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}
