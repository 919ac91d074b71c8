package controller

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// The body of a metadata entry (docs/formats.md section 8): version u8, command u8, reserved u16, a JSON document.
const (
	commandVersion = 1
	commandHeader  = 4

	maySkip = 0x80 // command bit: an older binary may pass it over

	commandCreateTopic         = 1
	commandDeleteTopic         = 2
	commandCreatePartitions    = 3
	commandSetConfigs          = 4
	commandAllocateProducerIDs = 5
	commandRegisterBroker      = 6

	// From format level 2 on.
	commandSite           = 7
	commandFollow         = 8
	commandUndeleteTopic  = 9
	commandPurgeTopics    = 10
	commandArchivedTopics = 11
	commandRecopy         = 12
)

var (
	errCommand        = errors.New("controller: corrupt command")
	errCommandUnknown = errors.New("controller: unknown command")
)

// placement is where a partition lives.
type placement struct {
	Incarnation uint32     `json:"incarnation"`
	Servers     []string   `json:"servers"`             // the first ServerIDs, preferred leader first; only these bootstrap
	Born        uint32     `json:"born,omitempty"`      // the site epoch in which it was created; filled in by the machine
	Start       int64      `json:"start,omitempty"`     // its first offset; filled in by the machine
	Recopying   *recopying `json:"recopying,omitempty"` // in meta.db, and where a standby takes back partitions that it had set aside
}

type createTopic struct {
	Name       string            `json:"name"`
	ID         uuid.UUID         `json:"id"`
	Partitions []placement       `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"`    // encoding/json sorts the keys
	EpochFloor int32             `json:"epochFloor,omitempty"` // its leader epochs start here
}

type deleteTopic struct {
	ID uuid.UUID `json:"id"`
	// EpochFloor is above every leader epoch that the topic had: a topic of the same name starts there, since clients without
	// topic ids ignore lower epochs.
	EpochFloor int32 `json:"epochFloor"`
	// Hidden is when, ms since 1970, where the data is to be kept for a time (level 2); 0 = it goes now.
	Hidden int64 `json:"hidden,omitempty"`
}

type createPartitions struct {
	ID    uuid.UUID   `json:"id"`
	First int32       `json:"first"` // index of the first new partition: what the topic had when this was checked
	Added []placement `json:"added"`
}

// setConfigs changes the configs of a resource: "topic:<uuid>", "broker:<node id>", or "broker:" for all brokers.
type setConfigs struct {
	Resource string             `json:"resource"`
	Changes  map[string]*string `json:"changes"` // null takes a value away
}

type allocateProducerIDs struct {
	Count int64 `json:"count"`
}

type registerBroker struct {
	Node      int32      `json:"node"`
	Disks     []string   `json:"disks"`
	Endpoints []Endpoint `json:"listeners"`
	Rack      string     `json:"rack,omitempty"`
	LevelMin  int        `json:"levelMin"` // format levels that its binary can run
	LevelMax  int        `json:"levelMax"`
}

// encodeCommand makes the body of a metadata entry.
func encodeCommand(command uint8, document any) ([]byte, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("controller: encode command %d: %w", command, err)
	}
	return append([]byte{commandVersion, command, 0, 0}, text...), nil
}

// splitCommand takes a body apart. Errors: errCommand, errCommandUnknown for a version above ours.
func splitCommand(body []byte) (command uint8, document []byte, err error) {
	if len(body) < commandHeader {
		return 0, nil, fmt.Errorf("%w: %d bytes", errCommand, len(body))
	}
	if body[0] != commandVersion {
		return 0, nil, fmt.Errorf("%w: version %d", errCommandUnknown, body[0])
	}
	if reserved := binary.BigEndian.Uint16(body[2:]); reserved != 0 {
		return 0, nil, fmt.Errorf("%w: reserved bytes are %#x", errCommand, reserved)
	}
	return body[1], body[commandHeader:], nil
}

// decodeDocument reads the document of a command. A field it does not know is an error: it was written by a newer binary
// and means something.
func decodeDocument[T any](document []byte) (T, error) {
	var v T
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %w", errCommand, err)
	}
	if d.More() {
		return v, fmt.Errorf("%w: bytes behind the document", errCommand)
	}
	return v, nil
}
