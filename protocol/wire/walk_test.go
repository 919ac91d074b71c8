package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestCheckAgreesWithKmsg: whatever kmsg encodes passes the walk to its last byte, in every API and version, and none of its
// prefixes does.
func TestCheckAgreesWithKmsg(t *testing.T) {
	rng := newRand(t)
	for _, v := range everyVersion() {
		t.Run(v.String(), func(t *testing.T) {
			for range 50 {
				body := randomRequest(rng, v).AppendTo(nil)
				got, err := measure(v.key, v.version, body)
				if err != nil {
					t.Fatalf("%v\n%x", err, body)
				}
				if got.bytes != len(body) {
					t.Fatalf("walked %d of %d bytes\n%x", got.bytes, len(body), body)
				}
				for n := range body {
					if err := Check(v.key, v.version, body[:n]); !errors.Is(err, ErrMalformed) {
						t.Fatalf("prefix of %d of %d bytes: %v\n%x", n, len(body), err, body)
					}
				}
				req, err := Decode(RequestHeader{Key: v.key, Version: v.version, Body: body})
				if err != nil {
					t.Fatal(err)
				}
				if again := req.AppendTo(nil); !bytes.Equal(again, body) {
					t.Fatalf("encoded again:\n%x\nwas\n%x", again, body)
				}
			}
		})
	}
}

// TestCheckIgnoresTrailingBytes: Kafka's AbstractRequest.parseRequest leaves them unread (run against kafka-clients 4.3.1).
func TestCheckIgnoresTrailingBytes(t *testing.T) {
	body := append(kmsg.NewPtrMetadataRequest().AppendTo(nil), 0xff, 0xff)
	if err := Check(3, 0, body); err != nil {
		t.Fatal(err)
	}
}

// TestGarbageIsHarmless damages good requests. What the walk lets through must decode without a panic or error, and within
// the memory promised.
func TestGarbageIsHarmless(t *testing.T) {
	rng := newRand(t)
	passed := 0
	for _, v := range everyVersion() {
		for range 100 {
			body := damage(rng, randomRequest(rng, v).AppendTo(nil))
			if Check(v.key, v.version, body) == nil {
				passed++
				decodeWithin(t, v, body)
			}
		}
	}
	if passed == 0 {
		t.Fatal("no damaged request passed: nothing was tried")
	}
	t.Logf("%d damaged requests passed", passed)
}

func damage(rng *rand.Rand, b []byte) []byte {
	for range 1 + rng.IntN(3) {
		if len(b) == 0 {
			return b
		}
		i := rng.IntN(len(b))
		switch rng.IntN(4) {
		case 0:
			b[i] ^= 1 << rng.IntN(8)
		case 1:
			b[i] = byte(rng.Uint32())
		case 2:
			b = append(b[:i:i], b[min(len(b), i+1+rng.IntN(8)):]...)
		case 3:
			b = append(b[:i:i], append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, b[i:]...)...)
		}
	}
	return b
}

// decodeWithin decodes a body that Check passed and fails when that takes more memory than was promised.
func decodeWithin(t *testing.T, v requestVersion, body []byte) {
	t.Helper()
	var err error
	took := allocated(func() { _, err = Decode(RequestHeader{Key: v.key, Version: v.version, Body: body}) })
	if err != nil {
		t.Fatalf("%s passed the walk, then: %v\n%x", v, err, body)
	}
	if most := uint64(decodeBudget(len(body))); took > most && !raceBuild {
		t.Fatalf("%s: decoding %d bytes took %d bytes of memory, over %d", v, len(body), took, most)
	}
}

// allocated returns how many bytes f allocates, garbage included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// floodStyles are the ways to fill an array: what takes the most memory per byte differs by field.
var floodStyles = map[string]element{
	"smallest": {},
	"strings":  {stringLength: 33}, // the small allocation that is rounded up most: to 48 bytes
	"tags":     {tag: true},
	"nested":   {nested: true},
}

// TestFloodsStayInBudget fills one array after the other, in every API and version and in every style, with as many elements as
// fit: the inputs with the most memory per byte (hazard K2). The walk must refuse what would take more than it promises, and
// its estimate must not be below what decoding really takes.
func TestFloodsStayInBudget(t *testing.T) {
	if raceBuild {
		t.Skip("measures memory")
	}
	for style, e := range floodStyles {
		t.Run(style, func(t *testing.T) {
			passed, refused := 0, 0
			last := map[[2]int][]byte{} // by key and array
			for _, v := range everyVersion() {
				for array := range countArrays(schemaFor(v.key).fields) {
					body := flood(v, array, 128<<10, e)
					at := [2]int{int(v.key), array}
					same := bytes.Equal(body, last[at])
					last[at] = body
					switch {
					case same: // as in the version before, or none
					case takesWhatIsEstimated(t, v, body):
						passed++
					default:
						refused++
					}
				}
			}
			t.Logf("%d floods passed, %d refused", passed, refused)
			if passed == 0 || refused == 0 {
				t.Fatal("one side was not tried")
			}
		})
	}
}

func countArrays(fields []field) int {
	n := 0
	for i := range fields {
		if fields[i].array {
			n++
		}
		n += countArrays(fields[i].fields)
	}
	return n
}

// element says what is in the elements of a flooded array; the zero value is the fewest bytes that can be.
type element struct {
	stringLength int
	tag          bool // every struct has an unknown tag, in flexible versions
	nested       bool // every array inside has one element
}

// flood returns a request of about size bytes whose n-th array, counted depth first, is as long as that allows; its
// parents have one element, all else is as short as it can be. nil when the version does not have that array.
func flood(v requestVersion, n, size int, e element) []byte {
	f := flooder{target: n, size: size, version: v.version, element: e}
	f.flexible = v.version >= schemaFor(v.key).flexible
	f.structure(schemaFor(v.key).fields)
	if !f.hit {
		return nil
	}
	return f.dst
}

type flooder struct {
	encoder
	target, size int
	version      int16
	hit          bool
	element      element // of the target
	within       element // of what is written now
	null         bool    // structs that may be null are
}

// structure writes a struct; numbers of arrays in it are relative to it.
func (f *flooder) structure(fields []field) {
	var tagged []*field
	for i := range fields {
		d := &fields[i]
		inside := countArrays(fields[i : i+1])
		switch {
		case !d.versions.has(f.version):
		case d.tagged.has(f.version):
			if f.target >= 0 && f.target < inside {
				tagged = append(tagged, d)
				continue // after the others
			}
		default:
			f.field(d)
		}
		f.target -= inside
	}
	if !f.flexible {
		return
	}
	if f.within.tag {
		f.uvarint(uint32(len(tagged)) + 1)
		f.dst = append(f.dst, 100, 0)
	} else {
		f.uvarint(uint32(len(tagged)))
	}
	for _, d := range tagged {
		outer := f.dst
		f.dst = nil
		f.field(d)
		content := f.dst
		f.dst = outer
		f.uvarint(d.tag)
		f.uvarint(uint32(len(content)))
		f.dst = append(f.dst, content...)
	}
}

func (f *flooder) field(d *field) {
	target := f.target
	switch {
	case d.array && target == 0:
		f.hit = true
		f.target = -1
		one := flooder{target: -1, version: f.version, within: f.element}
		one.flexible = f.flexible
		one.value(d)
		count := f.size / len(one.dst)
		f.arrayLen(count)
		f.dst = append(f.dst, bytes.Repeat(one.dst, count)...)
	case d.array && target > 0 && target <= countArrays(d.fields):
		f.target--
		f.arrayLen(1)
		f.value(d)
	case d.array && f.within.nested:
		f.arrayLen(1)
		f.value(d)
	case d.array:
		f.arrayLen(0)
	default:
		f.value(d)
	}
	f.target = target
}

func (f *flooder) value(d *field) {
	switch d.kind {
	case kindFixed:
		f.dst = append(f.dst, make([]byte, d.width)...)
	case kindString:
		f.string(strings.Repeat("x", f.within.stringLength))
	case kindBytes:
		f.bytesLen(0)
	case kindStruct:
		if !d.array && d.nullable.has(f.version) {
			if f.null {
				f.dst = append(f.dst, 0xff)
				return
			}
			f.dst = append(f.dst, 1)
		}
		f.structure(d.fields)
	}
}

// TestUnknownTagsStayInBudget floods the tag sections, which kmsg keeps in maps.
func TestUnknownTagsStayInBudget(t *testing.T) {
	for _, count := range []int{1, 8, 100, 5000, 50000} {
		e := encoder{flexible: true}
		e.string("client")
		e.string("1")
		e.uvarint(uint32(count))
		for i := range count {
			e.uvarint(uint32(i + 10))
			e.uvarint(0)
		}
		if passed := takesWhatIsEstimated(t, requestVersion{keyAPIVersions, 3}, e.dst); passed != (count <= 5000) {
			t.Errorf("%d tags: passed is %v", count, passed)
		}
	}
}

// TestRepeatedTagsStayInBudget sends a known tag, Fetch's cluster id, over and over: each one is decoded, the last one counts.
func TestRepeatedTagsStayInBudget(t *testing.T) {
	for _, id := range []string{"", "abc", "seventeen letters"} {
		for _, count := range []int{1, 100, 100_000} {
			e := encoder{dst: unhex(t, emptyFetch), flexible: true}
			e.uvarint(uint32(count))
			for range count {
				e.dst = append(e.dst, 0, byte(len(id)+1))
				e.string(id)
			}
			if passed := takesWhatIsEstimated(t, requestVersion{1, 12}, e.dst); !passed {
				t.Errorf("%d tags of %q were refused", count, id)
			}
		}
	}
}

// TestStructsThatMayBeNullAreEstimated: there is one of them in a request at most, too little to show in a flood.
func TestStructsThatMayBeNullAreEstimated(t *testing.T) {
	if raceBuild {
		t.Skip("measures memory")
	}
	tried := 0
	for _, v := range everyVersion() {
		var memory, took [2]int64
		for i, null := range []bool{true, false} {
			f := flooder{target: -1, version: v.version, null: null}
			f.flexible = v.version >= schemaFor(v.key).flexible
			f.structure(schemaFor(v.key).fields)
			got, err := measure(v.key, v.version, f.dst)
			if err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			const times = 1000
			memory[i] = got.memory
			took[i] = int64(allocated(func() {
				for range times {
					if _, err := Decode(RequestHeader{Key: v.key, Version: v.version, Body: f.dst}); err != nil {
						t.Fatalf("%s: %v", v, err)
					}
				}
			})) / times
		}
		if took[1] < took[0]+16 { // no such struct, or one that is no allocation of its own
			continue
		}
		tried++
		if estimate, need := memory[1]-memory[0], took[1]-took[0]; estimate < need {
			t.Errorf("%s: the struct takes %d bytes of memory, estimate %d", v, need, estimate)
		}
	}
	if tried == 0 {
		t.Fatal("no request has such a struct")
	}
}

// takesWhatIsEstimated reports whether the walk lets a body pass, and fails when it lets more pass than Check promises, or when
// decoding takes more than the estimate.
func takesWhatIsEstimated(t *testing.T, v requestVersion, body []byte) bool {
	t.Helper()
	const slack = 32 << 10 // small objects, and what the runtime allocates meanwhile
	got, err := measure(v.key, v.version, body)
	if err != nil {
		return false
	}
	if most := min(8*int64(len(body)), 64<<20) + 1<<20; got.memory > most {
		t.Errorf("%s: %d bytes passed with an estimate of %d bytes of memory, over %d", v, len(body), got.memory, most)
	}
	took := allocated(func() {
		if _, err := Decode(RequestHeader{Key: v.key, Version: v.version, Body: body}); err != nil {
			t.Errorf("%s: %v", v, err)
		}
	})
	if took > uint64(got.memory)+slack && !raceBuild {
		t.Errorf("%s: decoding %d bytes took %d bytes of memory, estimate %d", v, len(body), took, got.memory)
	}
	return true
}

// TestElementsHaveBytes: an element of an array takes at least one byte in every version. Otherwise a short request could
// hold any number of them, and the walk would not be linear.
func TestElementsHaveBytes(t *testing.T) {
	for _, v := range everyVersion() {
		var visit func(fields []field)
		visit = func(fields []field) {
			for i := range fields {
				d := &fields[i]
				visit(d.fields)
				if d.array && d.versions.has(v.version) {
					f := flooder{target: -1, version: v.version}
					f.flexible = v.version >= schemaFor(v.key).flexible
					if f.value(d); len(f.dst) == 0 {
						t.Errorf("%s: an element of %s takes no bytes", v, d.name)
					}
				}
			}
		}
		visit(schemaFor(v.key).fields)
	}
}
