package main

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// baseTime is the timestamp of generated records, in ms; far enough in the past to be told from the time of an append.
	baseTime = 1_600_000_000_000
	nowFrom  = 1_700_000_000_000
	nowTo    = 4_000_000_000_000
	textMax  = 160 // bytes of a value that are shown
)

// renderer makes lines of text of a request or an answer, one a field that is not at its default, as in
// "Topics[t].Partitions[0].ErrorCode=3 UNKNOWN_TOPIC_OR_PARTITION". Lists are in the order of what they are about: Kafka's own order
// is mostly that of a hash map.
type renderer struct {
	side      *side
	key       int16
	drop      func(name string) bool // of topics and groups that other sequences left
	masked    bool                   // gives no names, for sorting
	lines     []string
	topic     string // what an epoch is about
	partition int32
}

// render describes a message of the side.
func render(s *side, message any, key int16, drop func(string) bool) []string {
	r := &renderer{side: s, key: key, drop: drop}
	r.fields("", reflect.ValueOf(message).Elem())
	return r.lines
}

// fields walks a struct.
func (r *renderer) fields(path string, v reflect.Value) {
	topic, partition := r.topic, r.partition
	defer func() { r.topic, r.partition = topic, partition }()
	r.locate(v)
	initial := reflect.New(v.Type())
	if d, ok := initial.Interface().(interface{ Default() }); ok {
		d.Default()
	}
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "Version", "UnknownTags", "ThrottleMillis":
		default:
			r.field(path+"."+name, name, v.Field(i), initial.Elem().Field(i))
		}
	}
}

// locate remembers which partition the fields below are about.
func (r *renderer) locate(v reflect.Value) {
	if f := v.FieldByName("TopicID"); f.IsValid() {
		if name := r.side.idNames[f.Interface().([16]byte)]; name != "" {
			r.topic = name
		}
	}
	if f := v.FieldByName("Topic"); f.IsValid() {
		if name := stringOf(f); name != "" {
			r.topic = name
		}
	}
	if f := v.FieldByName("Partition"); f.IsValid() && f.Kind() == reflect.Int32 {
		r.partition = int32(f.Int())
	}
}

func (r *renderer) field(path, name string, v, initial reflect.Value) {
	switch {
	case v.Kind() == reflect.Struct:
		if !reflect.DeepEqual(v.Interface(), initial.Interface()) {
			r.fields(path, v)
		}
	case v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct:
		if !v.IsNil() {
			r.line(path, "set")
			r.fields(path, v.Elem())
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		r.list(path, v)
	case epochField(r.key, name):
		if v.Int() != -1 {
			r.line(path, r.side.epochText(r.topic, r.partition, int32(v.Int())))
		}
	case name == "RecordBatches":
		r.batches(path, v.Bytes())
	case name == "Records": // of a request: the step's note tells
	case !reflect.DeepEqual(v.Interface(), initial.Interface()):
		r.line(path, r.value(name, v))
	}
}

// epochField reports whether a field is the epoch of a leader, which is another one in each broker. What a commit of offsets says of it is
// the client's own.
func epochField(key int16, name string) bool {
	if !strings.HasSuffix(name, "LeaderEpoch") && name != "LastFetchedEpoch" && !(name == "Epoch" && key == 1) {
		return false
	}
	return slices.Contains([]int16{0, 1, 2, 3, 23, 75}, key)
}

func (r *renderer) line(path, value string) {
	r.lines = append(r.lines, strings.TrimPrefix(path, ".")+"="+value)
}

// value describes a scalar, or a list of them.
func (r *renderer) value(name string, v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "null"
	case v.Kind() == reflect.Pointer:
		v = v.Elem()
	}
	switch name {
	case "ErrorCode":
		return codeText(int16(v.Int()))
	case "ErrorMessage", "Documentation", "Message":
		return "(text)"
	case "Host":
		return "(host)"
	case "Port":
		return "(port)"
	case "ClusterID":
		return r.side.names.name("cluster", v, r.masked)
	case "Dir":
		return "(folder)"
	case "TotalBytes", "UsableBytes":
		return "(bytes)"
	case "ProducerID":
		return r.side.producerText(v.Int(), r.masked)
	case "SessionID":
		return r.side.names.name("session", v.Int(), r.masked)
	}
	switch value := v.Interface().(type) {
	case [16]byte:
		return r.side.idText(value, r.masked)
	case []byte:
		return r.quote(string(value))
	case string:
		return r.quote(value)
	case []string:
		sorted := slices.Sorted(slices.Values(value))
		for i := range sorted {
			sorted[i] = r.quote(sorted[i])
		}
		return "[" + strings.Join(sorted, " ") + "]"
	case int64:
		if strings.Contains(name, "Time") {
			return timeText(value)
		}
		return fmt.Sprint(value)
	}
	if v.Kind() == reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	if v.Kind() == reflect.Bool {
		return fmt.Sprint(v.Bool())
	}
	return fmt.Sprintf("%d", v.Interface()) // enumerations as numbers
}

func (r *renderer) quote(s string) string {
	s = r.side.names.text(s, r.masked)
	if len(s) > textMax {
		s = fmt.Sprintf("%s... %d bytes %08x", s[:16], len(s), crc32.ChecksumIEEE([]byte(s)))
	}
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < '!' || c > '~' || c == '"' }) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

func timeText(ms int64) string {
	if ms > nowFrom && ms < nowTo {
		return "(now)"
	}
	if ms >= baseTime && ms < nowFrom {
		return fmt.Sprintf("t+%d", ms-baseTime)
	}
	return fmt.Sprint(ms)
}

func codeText(code int16) string {
	err := kerr.TypedErrorForCode(code)
	if err == nil {
		return fmt.Sprint(code)
	}
	return fmt.Sprintf("%d %s", code, err.Message)
}

// list describes the elements of a list, sorted.
func (r *renderer) list(path string, v reflect.Value) {
	if v.IsNil() {
		return
	}
	type element struct {
		label, text string
		value       reflect.Value
	}
	var elements []element
	for i := range v.Len() {
		e := v.Index(i)
		if name := owner(e); name != "" && r.drop != nil && r.drop(name) {
			continue
		}
		masked := &renderer{side: r.side, key: r.key, drop: r.drop, masked: true, topic: r.topic, partition: r.partition}
		masked.fields("", e)
		elements = append(elements, element{masked.label(e), strings.Join(masked.lines, "\n"), e})
	}
	if len(elements) == 0 {
		if v.Len() == 0 { // else it is about other sequences only
			r.line(path, "[]")
		}
		return
	}
	slices.SortStableFunc(elements, func(a, b element) int {
		return cmp.Or(cmp.Compare(a.label, b.label), cmp.Compare(a.text, b.text))
	})
	seen := map[string]int{}
	for _, e := range elements {
		label := r.label(e.value)
		if seen[label]++; seen[label] > 1 {
			label = fmt.Sprintf("%s~%d", label, seen[label])
		}
		if r.config(path, label, e.value) {
			continue
		}
		before := len(r.lines)
		r.fields(fmt.Sprintf("%s[%s]", path, label), e.value)
		if len(r.lines) == before { // all at its default, but there
			r.line(fmt.Sprintf("%s[%s]", path, label), "")
		}
	}
}

// owner is the topic or group that an element of a list is about.
func owner(e reflect.Value) string {
	for _, name := range []string{"Topic", "Group"} {
		if f := e.FieldByName(name); f.IsValid() {
			return stringOf(f)
		}
	}
	return ""
}

func stringOf(f reflect.Value) string {
	switch value := f.Interface().(type) {
	case string:
		return value
	case *string:
		if value != nil {
			return *value
		}
	}
	return ""
}

// labels are the fields that say what an element is about.
var labels = []string{
	"Topic", "TopicID", "Name", "ResourceType", "ResourceName", "Group", "Key", "Partition", "NodeID", "MemberID", "InstanceID", "ApiKey",
}

func (r *renderer) label(e reflect.Value) string {
	var parts []string
	for _, name := range labels {
		f := e.FieldByName(name)
		if !f.IsValid() || f.IsZero() && f.Kind() != reflect.Int32 && f.Kind() != reflect.Int16 {
			continue
		}
		if name == "TopicID" && len(parts) > 0 {
			continue
		}
		parts = append(parts, r.value(name, f))
	}
	return strings.Join(parts, " ")
}

// config describes a configuration entry of DescribeConfigs in one line.
func (r *renderer) config(path, label string, e reflect.Value) bool {
	c, ok := e.Interface().(kmsg.DescribeConfigsResponseResourceConfig)
	if !ok {
		return false
	}
	show := func(v *string) string {
		if v == nil {
			return "null"
		}
		return r.quote(*v)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s source=%d type=%d", show(c.Value), c.Source, c.ConfigType)
	for _, flag := range []struct {
		name string
		set  bool
	}{{"read-only", c.ReadOnly}, {"sensitive", c.IsSensitive}, {"default", c.IsDefault}, {"documented", c.Documentation != nil}} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	for _, s := range c.ConfigSynonyms {
		fmt.Fprintf(&b, " (%s=%s source=%d)", s.Name, show(s.Value), s.Source)
	}
	r.line(fmt.Sprintf("%s[%s]", path, label), b.String())
	return true
}

// batches describes fetched records. The part of a batch that a fetch may end with is left out, as clients do.
func (r *renderer) batches(path string, records []byte) {
	if records == nil {
		r.line(path, "null")
		return
	}
	for i := 0; ; i++ {
		b, rest, err := cutBatch(records)
		if err != nil {
			r.line(fmt.Sprintf("%s[%d]", path, i), err.Error())
			return
		}
		if b == nil {
			return
		}
		epoch := r.side.epochText(r.topic, r.partition, b.leaderEpoch)
		r.line(fmt.Sprintf("%s[%d]", path, i), b.text(epoch, r.side.producerText(b.producer, r.masked)))
		records = rest
	}
}
