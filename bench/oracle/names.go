package main

import (
	"fmt"
	"regexp"
)

// names gives what a broker makes up itself a name in the order of its appearance, so that answers of two brokers can be compared:
// where one repeats a value, the other has to repeat its own.
type names struct {
	of    map[string]string // kind and value -> name
	count map[string]int    // of a kind
}

func newNames() *names { return &names{of: map[string]string{}, count: map[string]int{}} }

// name returns the name of a value. A kind that is masked has one name for all values.
func (n *names) name(kind string, value any, masked bool) string {
	key := fmt.Sprintf("%s %v", kind, value)
	name, ok := n.of[key]
	switch {
	case ok:
		return name
	case masked:
		return kind + "#?"
	}
	n.count[kind]++
	name = fmt.Sprintf("%s#%d", kind, n.count[kind])
	n.of[key] = name
	return name
}

// call names a value after what it belongs to: the second topic id of one topic name gets a number.
func (n *names) call(kind string, value any, owner string) {
	key := fmt.Sprintf("%s %v", kind, value)
	if _, ok := n.of[key]; ok {
		return
	}
	kind += "(" + owner + ")"
	n.count[kind]++
	n.of[key] = fmt.Sprintf("%s#%d", kind, n.count[kind])
}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// text replaces what is random in a text, such as the end of a member id.
func (n *names) text(s string, masked bool) string {
	return uuidPattern.ReplaceAllStringFunc(s, func(uuid string) string { return n.name("uuid", uuid, masked) })
}
