package wire

import "slices"

// schema is the definition of one request, all versions of it, as Kafka's JSON message definition gives it.
type schema struct {
	key      int16
	name     string
	min, max int16 // the versions that the definition describes
	flexible int16 // first version with compact lengths and tag sections; never = none
	fields   []field
}

// never is a version that no request has.
const never = 1<<15 - 1

// versions is a span of versions, both ends included; the zero value holds version 0 alone.
type versions struct{ from, to int16 }

// none holds no version.
var none = versions{never, -1}

func (v versions) has(version int16) bool { return version >= v.from && version <= v.to }

type kind uint8

const (
	kindFixed  kind = iota // width bytes
	kindString             // int16 or compact length
	kindBytes              // int32 or compact length; records too
	kindStruct             // fields
)

// field is one field of a request or of a struct in it.
type field struct {
	name     string
	kind     kind
	array    bool
	width    uint8 // kindFixed: bytes on the wire
	tag      uint32
	versions versions
	nullable versions
	tagged   versions // versions in which it is in the tag section, under tag
	fields   []field  // kindStruct
	// memory is what one value, or one element of an array, takes in decoded form, in bytes, without what it points to.
	memory int32
}

// schemaFor returns the definition of a key's request, nil when there is none.
func schemaFor(key int16) *schema {
	if key >= KeyOperator {
		i := slices.IndexFunc(ownSchemas, func(s schema) bool { return s.key == key })
		if i < 0 {
			return nil
		}
		return &ownSchemas[i]
	}
	i, ok := slices.BinarySearchFunc(schemas, key, func(s schema, key int16) int { return int(s.key) - int(key) })
	if !ok {
		return nil
	}
	return &schemas[i]
}
