package wire

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestVersion is one API and version that both Kafka's definitions and kmsg know.
type requestVersion struct{ key, version int16 }

func (v requestVersion) String() string {
	return fmt.Sprintf("%s_v%d", schemaFor(v.key).name, v.version)
}

// everyVersion returns all requests of the generated table in all versions that kmsg can decode: more than is served.
func everyVersion() []requestVersion {
	var all []requestVersion
	for i := range schemas {
		s := &schemas[i]
		req := kmsg.RequestForKey(s.key)
		if req == nil {
			continue
		}
		for v := s.min; v <= min(s.max, req.MaxVersion()); v++ {
			all = append(all, requestVersion{s.key, v})
		}
	}
	return all
}

// randomRequest returns a request whose every field is drawn at random.
func randomRequest(rng *rand.Rand, v requestVersion) kmsg.Request {
	req := kmsg.RequestForKey(v.key)
	fill(rng, reflect.ValueOf(req).Elem())
	req.SetVersion(v.version)
	return req
}

// fill sets a kmsg value, and all it holds, to random content: nulls, empty and short lists, unknown tags.
func fill(rng *rand.Rand, v reflect.Value) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		for range rng.IntN(8) - 6 {
			tags.Set(1000+rng.Uint32N(1000), make([]byte, rng.IntN(4)))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	case reflect.Pointer:
		if rng.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.Slice:
		if n := rng.IntN(5) - 1; n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(rng, v.Index(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString("topic-name-of-a-usual-length"[:rng.IntN(20)])
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rng.Uint64()) >> (64 - v.Type().Bits()))
	case reflect.Uint16, reflect.Uint32, reflect.Uint8:
		v.SetUint(rng.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(rng.Float64())
	default:
		panic("fill: " + v.Type().String())
	}
}

// newRand returns a generator whose seed is printed, and can be read back from the log of a failure.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
