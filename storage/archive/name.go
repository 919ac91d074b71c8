package archive

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// Names in a log dir.
const (
	rootName         = "lost-records"
	documentName     = "archive.json"
	suffixLog        = ".log"
	suffixUnfinished = ".unfinished" // being copied or removed
	suffixStaged     = ".staged"

	topicNameMax = 249 // bytes, Kafka's limit
	topicPartMax = 128 // bytes of it that stand in an id: a file name has at most 255
)

// Partition is what an archive is of.
type Partition struct {
	Topic   string
	TopicID uuid.UUID
	Index   int32
}

// key tells partitions apart: a topic created anew under an old name is another one.
type key struct {
	topic uuid.UUID
	index int32
}

func (p Partition) key() key { return key{p.TopicID, p.Index} }

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// check refuses what could not be a name of a folder. Kafka's rules for a topic's name.
func (p Partition) check() error {
	if len(p.Topic) == 0 || len(p.Topic) > topicNameMax || p.Index < 0 || strings.Trim(p.Topic, ".") == "" {
		return fmt.Errorf("partition %d of topic %q cannot be", p.Index, p.Topic)
	}
	for _, c := range []byte(p.Topic) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("topic %q has the byte %#x in its name", p.Topic, c)
		}
	}
	return nil
}

// identity is what the name of an archive's folder says.
type identity struct {
	topic string // the first topicPartMax bytes
	key   key
	cut   entry.Cut
}

func identify(p Partition, cut entry.Cut) identity {
	return identity{topic: p.Topic[:min(len(p.Topic), topicPartMax)], key: p.key(), cut: cut}
}

func (n identity) String() string {
	return fmt.Sprintf("%s-%d.%d.%d.%s", n.topic, n.key.index, n.cut.SiteEpoch, n.cut.Offset, encodeID(n.key.topic))
}

// parseIdentity reads an id; ok says that it is one, written as String does.
func parseIdentity(id string) (n identity, ok bool) {
	var parts [3]string // offset, site epoch and topic id have no full stop in them, a topic's name may have
	rest := id
	for i := range parts {
		at := strings.LastIndexByte(rest, '.')
		if at < 0 {
			return n, false
		}
		rest, parts[len(parts)-1-i] = rest[:at], rest[at+1:]
	}
	dash := strings.LastIndexByte(rest, '-')
	if dash < 0 {
		return n, false
	}
	index, err1 := strconv.ParseInt(rest[dash+1:], 10, 32)
	epoch, err2 := strconv.ParseUint(parts[0], 10, 32)
	offset, err3 := strconv.ParseInt(parts[1], 10, 64)
	topic, err4 := decodeID(parts[2])
	if errors.Join(err1, err2, err3, err4) != nil || offset < 0 {
		return n, false
	}
	n = identity{topic: rest[:dash], key: key{topic, int32(index)}, cut: entry.Cut{SiteEpoch: uint32(epoch), Offset: offset}}
	p := Partition{Topic: n.topic, TopicID: topic, Index: n.key.index}
	return n, p.check() == nil && len(n.topic) <= topicPartMax && n.String() == id
}

// encodeID writes a topic id as clients see it.
func encodeID(id uuid.UUID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func decodeID(s string) (id uuid.UUID, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("no topic id in %q", s)
	}
	return uuid.UUID(raw), nil
}
