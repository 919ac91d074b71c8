package sites

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
)

// Kinds of messages between brokers (docs/formats.md section 14).
const (
	messageHead    = 1 // what the active's metadata is
	messageAsk     = 2 // for the metadata
	messageLogical = 3 // the metadata
	messageFacts   = 4 // what a site is: its brokers
	messageReport  = 5 // how it stands: its role, its partitions
	messageRequest = 6 // of an operator, for the other site to carry out
	messageAnswer  = 7
	messageHave    = 8 // which of the active's metadata a standby has
)

// head is how far an active site's metadata is.
type head struct {
	Epoch   uint32             `json:"epoch"` // the site epoch that the sender is active in
	Version controller.Version `json:"version"`
	Fencing uint32             `json:"fencing,omitempty"` // the target of the switchover that is going on
	// Archiving is as in have: of a site that came back and was made active before all was in archives.
	Archiving int `json:"archiving,omitempty"`
}

// have is what a standby has of the active's metadata.
type have struct {
	Version *controller.Version `json:"version,omitempty"` // nil = none of the site epoch that it follows
	// LeftOut are the topics that are not shipped, because the standby has others of their names: the first ones.
	LeftOut []string `json:"leftOut,omitempty"`
	// Archiving is of how many topics what only the standby had is not in archives of lost records yet.
	Archiving int `json:"archiving,omitempty"`
}

// ask is for the metadata; without Since for all of it.
type ask struct {
	Since *controller.Version `json:"since,omitempty"`
}

// report is how a site stands.
type report struct {
	Active       bool               `json:"active"`
	Epoch        uint32             `json:"epoch"`
	Serving      bool               `json:"serving"`
	Planned      bool               `json:"planned,omitempty"` // active by a switchover
	Fencing      uint32             `json:"fencing,omitempty"`
	Waiting      bool               `json:"waiting,omitempty"` // for the end of the active's lease
	Archives     int                `json:"archives,omitempty"`
	ArchiveBytes int64              `json:"archiveBytes,omitempty"`
	Troubles     []operator.Trouble `json:"troubles,omitempty"`
	Links        []linkReport       `json:"links"`
	stamp
}

// stamp bounds from below when a report was made, by the clock of whoever takes it.
type stamp struct {
	Boot   site.Boot     `json:"boot"`             // of the sender
	Clock  time.Duration `json:"clock"`            // of the sender, in this run
	Echo   time.Duration `json:"echo,omitempty"`   // the clock of the newest report that the sender has taken
	EchoOf site.Boot     `json:"echoOf,omitempty"` // the run that it is of; 0 = none
}

// linkReport is how a partition stands at the site that says so.
type linkReport struct {
	Topic     uuid.UUID `json:"topic"`
	Partition int32     `json:"partition"`
	Leader    int32     `json:"leader"`           // node id
	Epoch     int32     `json:"epoch"`            // leader epoch under which it takes produces; -1 = it takes none
	End       int64     `json:"end"`              // of the durable log
	Next      int64     `json:"next"`             // where its site epoch began, as in LinkStatus
	Lag       *lagJSON  `json:"lag,omitempty"`    // known at the active only
	Copied    bool      `json:"copied,omitempty"` // the standby has had all, once
	Halted    string    `json:"halted,omitempty"`
	Fault     string    `json:"fault,omitempty"`   // why records of it do not come over
	Log       uint32    `json:"log,omitempty"`     // incarnation of the standby's log
	Copying   bool      `json:"copying,omitempty"` // by a standby: it is being copied anew, and not whole
}

type lagJSON struct {
	Offsets int64   `json:"offsets"`
	Bytes   int64   `json:"bytes"`
	Ms      float64 `json:"ms"`
}

// question is an operator's request, on its way to the other site.
type question struct {
	ID        uint64 `json:"id"`
	Operation int16  `json:"operation"`
	Document  []byte `json:"document"`
}

// answer is what became of it.
type answer struct {
	ID       uint64 `json:"id"`
	Code     int16  `json:"code"`
	Message  string `json:"message,omitempty"`
	Document []byte `json:"document,omitempty"`
	Data     []byte `json:"data,omitempty"`
}

// documentMax bounds what a compressed document may grow to.
const documentMax = 256 << 20

// codec packs documents. Safe for concurrent use.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(documentMax))
	if err != nil {
		return nil, err
	}
	return &codec{enc, dec}, nil
}

// pack makes a message of a document.
func (c *codec) pack(kind uint8, document any) (transport.Broker, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return transport.Broker{}, fmt.Errorf("message %d: %w", kind, err)
	}
	return c.packBytes(kind, text)
}

func (c *codec) packBytes(kind uint8, b []byte) (transport.Broker, error) {
	body := c.enc.EncodeAll(b, nil)
	if len(body) > transport.BrokerBytesMax {
		return transport.Broker{}, fmt.Errorf("message %d: %d bytes, the other site takes %d", kind, len(body), transport.BrokerBytesMax)
	}
	return transport.Broker{Kind: kind, Body: body}, nil
}

func (c *codec) unpackBytes(m transport.Broker) ([]byte, error) {
	return c.dec.DecodeAll(m.Body, nil)
}

var errDocument = errors.New("document of the other site does not decode")

func unpack[T any](c *codec, m transport.Broker) (v T, err error) {
	text, err := c.unpackBytes(m)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return v, fmt.Errorf("%w: kind %d: %w", errDocument, m.Kind, err)
	}
	return v, nil
}
