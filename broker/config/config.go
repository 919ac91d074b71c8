package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Config is the checked configuration of one broker. Sizes are in bytes unless a name says otherwise.
type Config struct {
	NodeID    int32
	ClusterID string // "" = keep the data directory's, or make one up
	Rack      string // broker.rack

	Listeners     []Listener // at least one
	InterBroker   string     // name of the listener that other brokers use
	AdminListener string     // host:port; "" = none
	// AdminMayMove is set while admin.listener is the built-in default: where that is taken, a free port is used instead.
	AdminMayMove bool

	LogDirs        []string
	MetadataLogDir string // folder of journal and meta.db; the first of LogDirs unless metadata.log.dir is set

	Network Network
	Storage Storage

	NumPartitions            int32
	DefaultReplicationFactor int32
	AutoCreateTopics         bool
	DeleteTopics             bool
	RetentionCheckInterval   time.Duration
	ProducerIDExpiration     time.Duration
	ProducerIDCheckInterval  time.Duration

	Cleaner Cleaner
	Groups  Groups
	Site    *Site // nil = no pair of sites

	// Topic holds the defaults of all topics.
	Topic Topic

	LoggerLevel  string // debug, info, warn, error
	LoggerFormat string // text, json
	MemoryLimit  int64  // GOMEMLIMIT; -1 = derive from the machine

	// Warnings are to be logged once at start.
	Warnings []Warning

	values  map[string]value // what counts: the layers below, each over the one before
	static  map[string]value // what Load read
	dynamic Dynamic
}

// Network is what limits clients.
type Network struct {
	RequestBytesMax      int   // socket.request.max.bytes
	FetchBytesMax        int   // fetch.max.bytes
	PartitionsPerRequest int   // max.request.partition.size.limit
	FetchSessions        int   // max.incremental.fetch.session.cache.slots; 0 = no sessions
	QueuedBytesMax       int64 // queued.max.request.bytes; math.MaxInt64 when the file says -1
	DecodeBytesMax       int64 // decode.memory.max.bytes
	ConnectionsMax       int   // max.connections
	ConnectionsPerIPMax  int   // max.connections.per.ip
	ConnectionsCap       int   // what the open files allow max.connections to be; 0 = not known
	IdleMax              time.Duration
	SendBufferBytes      int // -1 = the operating system's
	ReceiveBufferBytes   int // -1 = the operating system's
	Backlog              int
}

// Storage is what the journal, checkpoints and the disk limits take from the file.
type Storage struct {
	InlineBytesMax         int // 0 = none
	JournalSegmentBytes    int
	CheckpointBytes        int64
	CheckpointPayloadBytes int64
	CheckpointInterval     time.Duration
	ReserveBytes           int64 // 0 = none
	BallastBytes           int64 // 0 = none
}

// text is the effective value of a broker key; the key must be in the table.
func (l *loader) text(name string) string {
	if v, ok := l.values[name]; ok {
		return strings.TrimSpace(v.text)
	}
	return mustKey(name).Default
}

func mustKey(name string) *Key {
	k, ok := Lookup(name)
	if !ok {
		panic("config: no key is named " + name)
	}
	return k
}

// integer is the effective value of a checked Int, Short or Long.
func (l *loader) integer(name string) int64 { return mustInt(l.text(name)) }

func (l *loader) boolean(name string) bool { return strings.EqualFold(l.text(name), "true") }

// milliseconds turns a count of ms into a Duration; what does not fit (Kafka's "never", 2^63-1) becomes the longest one.
func milliseconds(ms int64) time.Duration {
	if ms > int64(math.MaxInt64/time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// firstOf is the first member of a family that is set, or its last one, whose default counts.
func (l *loader) firstOf(names ...string) string {
	for _, name := range names {
		if _, ok := l.values[name]; ok {
			return name
		}
	}
	return names[len(names)-1]
}

func (l *loader) build(hostname func() (string, error)) *Config {
	c := &Config{
		ClusterID:                l.text("cluster.id"),
		Rack:                     l.text("broker.rack"),
		NumPartitions:            int32(l.integer("num.partitions")),
		DefaultReplicationFactor: int32(l.integer("default.replication.factor")),
		AutoCreateTopics:         l.boolean("auto.create.topics.enable"),
		DeleteTopics:             l.boolean("delete.topic.enable"),
		RetentionCheckInterval:   milliseconds(l.integer("log.retention.check.interval.ms")),
		ProducerIDExpiration:     milliseconds(l.integer("producer.id.expiration.ms")),
		ProducerIDCheckInterval:  milliseconds(l.integer("producer.id.expiration.check.interval.ms")),
		LoggerLevel:              strings.ToLower(l.text("logger.level")),
		LoggerFormat:             strings.ToLower(l.text("logger.format")),
		MemoryLimit:              l.integer("memory.limit.bytes"),
		values:                   l.values,
		static:                   l.values,
	}
	l.identity(c)
	l.directories(c)
	c.Site = l.site()
	if c.Site != nil && c.Rack == "" {
		c.Rack = c.Site.Name
	}
	l.listeners(c, hostname)
	c.Network = l.network()
	c.Storage = Storage{
		InlineBytesMax:         int(l.integer("journal.inline.max.bytes")),
		JournalSegmentBytes:    int(l.integer("journal.segment.bytes")),
		CheckpointBytes:        l.integer("checkpoint.bytes"),
		CheckpointPayloadBytes: l.integer("checkpoint.payload.bytes"),
		CheckpointInterval:     milliseconds(l.integer("checkpoint.interval.ms")),
		ReserveBytes:           l.integer("disk.reserve.bytes"),
		BallastBytes:           l.integer("disk.ballast.bytes"),
	}
	if c.DefaultReplicationFactor < 1 {
		l.fail("default.replication.factor", "must be a whole number of at least 1")
	}
	c.Cleaner = l.cleaner()
	c.Groups = l.groups()
	l.topicDefaults(c)
	return c
}

func (l *loader) identity(c *Config) {
	// node.id has a default here, so broker.id counts only where it alone was written.
	name := "node.id"
	if _, set := l.values["node.id"]; !set {
		if v, old := l.values["broker.id"]; old && strings.TrimSpace(v.text) != "-1" {
			name = "broker.id"
		}
	}
	id := l.integer(name)
	if id < 0 {
		l.fail(name, "must be a whole number from 0 to %d", math.MaxInt32)
	}
	c.NodeID = int32(id)
	if c.ClusterID != "" && !validClusterID(c.ClusterID) {
		l.fail("cluster.id", "must be 1 to 64 letters, digits, - and _, such as the 22 that kafka-storage random-uuid prints")
	}
}

func validClusterID(id string) bool {
	if len(id) > 64 {
		return false
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

func (l *loader) directories(c *Config) {
	name := "log.dirs"
	if _, set := l.values["log.dirs"]; !set {
		if _, old := l.values["log.dir"]; old {
			name = "log.dir"
		}
	}
	seen := map[string]bool{}
	for _, dir := range SplitList(l.text(name)) {
		if dir == "" || seen[dir] {
			l.fail(name, "must be a list of different folders")
			return
		}
		seen[dir] = true
		c.LogDirs = append(c.LogDirs, dir)
	}
	if len(c.LogDirs) == 0 {
		l.fail(name, "must name at least one folder")
		return
	}
	c.MetadataLogDir = orElse(l.text("metadata.log.dir"), c.LogDirs[0])
}

func (l *loader) network() Network {
	n := Network{
		RequestBytesMax:      int(l.integer("socket.request.max.bytes")),
		FetchBytesMax:        int(l.integer("fetch.max.bytes")),
		PartitionsPerRequest: int(l.integer("max.request.partition.size.limit")),
		FetchSessions:        int(l.integer("max.incremental.fetch.session.cache.slots")),
		QueuedBytesMax:       l.integer("queued.max.request.bytes"),
		DecodeBytesMax:       l.integer("decode.memory.max.bytes"),
		ConnectionsMax:       int(l.integer("max.connections")),
		ConnectionsPerIPMax:  int(l.integer("max.connections.per.ip")),
		IdleMax:              milliseconds(l.integer("connections.max.idle.ms")),
		SendBufferBytes:      int(l.integer("socket.send.buffer.bytes")),
		ReceiveBufferBytes:   int(l.integer("socket.receive.buffer.bytes")),
		Backlog:              int(l.integer("socket.listen.backlog.size")),
	}
	for _, name := range []string{"socket.send.buffer.bytes", "socket.receive.buffer.bytes"} {
		if n := l.integer(name); n < 1 && n != -1 {
			l.fail(name, "must be a whole number from 1 to %d, or -1 for the operating system's default", math.MaxInt32)
		}
	}
	// Kafka takes 0, with which only the addresses in max.connections.per.ip.overrides may connect; there are none here.
	for name, n := range map[string]int{"max.connections": n.ConnectionsMax, "max.connections.per.ip": n.ConnectionsPerIPMax} {
		if n < 1 {
			l.fail(name, "must be a whole number from 1 to %d", math.MaxInt32)
		}
	}
	switch {
	case n.QueuedBytesMax == -1:
		n.QueuedBytesMax = math.MaxInt64
	case n.QueuedBytesMax < int64(n.RequestBytesMax):
		l.fail("queued.max.request.bytes", "must be at least socket.request.max.bytes (%d), or -1", n.RequestBytesMax)
	}
	if n.IdleMax < 0 {
		n.IdleMax = math.MaxInt64 // Kafka: a negative value never closes
	}
	return n
}

// topicDefaults derives the topic defaults from the broker's keys, through the synonyms of the topic table.
func (l *loader) topicDefaults(c *Config) {
	values := map[string]string{}
	for _, name := range topicTable.names {
		text, null, source := l.topicDefault(topicTable.byName[name])
		if null {
			continue
		}
		if err := topicTable.byName[name].Check(text); err != nil && source != "" {
			l.fail(source, "%s (as %s of every topic)", err, name)
			return
		}
		values[name] = text
	}
	c.Topic = newTopic(values)
	if key, problem := c.Topic.conflict(); key != "" {
		k := topicTable.byName[key]
		name := key
		if len(k.Synonyms) > 0 {
			name = l.firstOf(synonymNames(k)...)
		}
		l.fail(name, "%s", problem)
	}
}

// topicDefault is what a topic key has without an override, and the broker key that says so ("" = the table's own default).
func (l *loader) topicDefault(k *Key) (text string, null bool, source string) {
	return topicDefault(k, l.values)
}

func topicDefault(k *Key, values map[string]value) (text string, null bool, source string) {
	for _, s := range k.Synonyms {
		if v, ok := values[s.Name]; ok {
			return scaled(strings.TrimSpace(v.text), s.Factor), false, s.Name
		}
	}
	for _, s := range k.Synonyms {
		if broker := mustKey(s.Name); !broker.Null {
			return scaled(broker.Default, s.Factor), false, ""
		}
	}
	return k.Default, k.Null, ""
}

// scaled multiplies a checked number by factor, as Kafka does for hours and minutes; -1 (no limit) stays -1.
func scaled(text string, factor int64) string {
	if factor == 1 {
		return text
	}
	n := mustInt(text)
	if n < 0 {
		return "-1"
	}
	if n > math.MaxInt64/factor {
		return strconv.FormatInt(math.MaxInt64, 10)
	}
	return strconv.FormatInt(n*factor, 10)
}

func synonymNames(k *Key) []string {
	names := make([]string, 0, len(k.Synonyms))
	for _, s := range k.Synonyms {
		names = append(names, s.Name)
	}
	return names
}
