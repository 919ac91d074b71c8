package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// Archive is the description of one. The slices must not be changed.
type Archive struct {
	ID           string // name of its folder
	Partition    Partition
	Cut          entry.Cut // the truncate-to that took its records out of the log
	OldSiteEpoch uint32    // under which the last record was written
	FirstOffset  int64
	LastOffset   int64
	Records      int64 // without markers
	Markers      int64 // control batches
	Batches      int64
	Bytes        int64 // of all batches, as stored
	LeaderEpochs []LeaderEpoch
	Segments     []Segment
	Archived     time.Time // when it was copied, UTC
	Reason       string    // for people

	// Damage is why the description cannot be believed: a DamageError. Only what the folder's name says is filled in then (of a long
	// topic name the beginning), and the records may still be readable.
	Damage error
}

// LeaderEpoch says where batches of a leader epoch begin in an archive.
type LeaderEpoch struct {
	Epoch       int32 `json:"epoch"`
	StartOffset int64 `json:"start_offset"`
}

// Segment is a file of record batches.
type Segment struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	CRC32C string `json:"crc32c"` // 8 hex digits, of the whole file
}

const (
	documentVersion  = 1
	documentBytesMax = 64 << 20 // a file above it is not read
)

// document is archive.json (docs/formats.md section 12).
type document struct {
	Version      int           `json:"version"`
	Topic        string        `json:"topic"`
	TopicID      string        `json:"topic_id"`
	Partition    int32         `json:"partition"`
	SiteEpoch    uint32        `json:"site_epoch"`
	CutOffset    int64         `json:"cut_offset"`
	OldSiteEpoch uint32        `json:"old_site_epoch"`
	FirstOffset  int64         `json:"first_offset"`
	LastOffset   int64         `json:"last_offset"`
	Records      int64         `json:"records"`
	Markers      int64         `json:"markers"`
	Batches      int64         `json:"batches"`
	Bytes        int64         `json:"bytes"`
	LeaderEpochs []LeaderEpoch `json:"leader_epochs"`
	Segments     []Segment     `json:"segments"`
	Archived     time.Time     `json:"archived"`
	Reason       string        `json:"reason"`
	CRC          string        `json:"crc32c"`
}

// The document ends with its own checksum, of all in front of it.
const (
	crcKey  = `"crc32c": "`
	crcTail = "\"\n}\n"
	crcLen  = 8
)

func crcText(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// encode writes the document of a.
func (a *Archive) encode() ([]byte, error) {
	d := document{Version: documentVersion, Topic: a.Partition.Topic, TopicID: encodeID(a.Partition.TopicID), Partition: a.Partition.Index,
		SiteEpoch: a.Cut.SiteEpoch, CutOffset: a.Cut.Offset, OldSiteEpoch: a.OldSiteEpoch, FirstOffset: a.FirstOffset, LastOffset: a.LastOffset,
		Records: a.Records, Markers: a.Markers, Batches: a.Batches, Bytes: a.Bytes, LeaderEpochs: a.LeaderEpochs, Segments: a.Segments,
		Archived: a.Archived.UTC(), Reason: a.Reason, CRC: crcText(0)}
	b, err := json.MarshalIndent(&d, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	at := len(b) - len(crcTail) - crcLen
	copy(b[at:], crcText(crc32.Checksum(b[:at-len(crcKey)], entry.Castagnoli)))
	return b, nil
}

// decodeDocument reads a document and checks all that it tells by itself, against the id of its folder too. pos is where it is wrong.
func decodeDocument(id string, b []byte) (a Archive, pos int64, err error) {
	at := len(b) - len(crcTail) - crcLen
	head := at - len(crcKey)
	if head < 0 || string(b[head:at]) != crcKey || string(b[at+crcLen:]) != crcTail {
		return a, int64(len(b)), errors.New("it does not end in a checksum")
	}
	if want, got := string(b[at:at+crcLen]), crcText(crc32.Checksum(b[:head], entry.Castagnoli)); got != want {
		return a, int64(head), fmt.Errorf("checksum %s, the document says %s", got, want)
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return a, 0, err
	}
	if version.Version != documentVersion {
		return a, 0, fmt.Errorf("version %d, this binary reads %d", version.Version, documentVersion)
	}
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	var d document
	if err := in.Decode(&d); err != nil {
		return a, in.InputOffset(), err
	}
	topic, err := decodeID(d.TopicID)
	if err != nil {
		return a, 0, err
	}
	a = d.archive(topic)
	if err := a.check(); err != nil {
		return a, 0, err
	}
	if a.ID != id {
		return a, 0, fmt.Errorf("it belongs to %s", a.ID)
	}
	return a, 0, nil
}

func (d *document) archive(topic uuid.UUID) Archive {
	a := Archive{Partition: Partition{Topic: d.Topic, TopicID: topic, Index: d.Partition},
		Cut: entry.Cut{SiteEpoch: d.SiteEpoch, Offset: d.CutOffset}, OldSiteEpoch: d.OldSiteEpoch, FirstOffset: d.FirstOffset,
		LastOffset: d.LastOffset, Records: d.Records, Markers: d.Markers, Batches: d.Batches, Bytes: d.Bytes,
		LeaderEpochs: d.LeaderEpochs, Segments: d.Segments, Archived: d.Archived.UTC(), Reason: d.Reason}
	a.ID = identify(a.Partition, a.Cut).String()
	return a
}

// check says whether figures cannot be.
func (a *Archive) check() error {
	if err := a.Partition.check(); err != nil {
		return err
	}
	from := a.Cut.Offset
	if isWhole(a.Cut) {
		from = 0
	}
	if from < 0 || a.FirstOffset < 0 || a.LastOffset < max(a.FirstOffset, from) || a.Records < 0 || a.Markers < 0 ||
		a.Batches <= 0 || len(a.Segments) == 0 || len(a.LeaderEpochs) == 0 {
		return fmt.Errorf("offsets %d to %d, %d records, %d markers and %d batches in %d segments cut at %d cannot be",
			a.FirstOffset, a.LastOffset, a.Records, a.Markers, a.Batches, len(a.Segments), a.Cut.Offset)
	}
	var bytes int64
	for i, s := range a.Segments {
		base, ok := parseLogName(s.File)
		if !ok || s.Bytes <= 0 || i == 0 && base != a.FirstOffset {
			return fmt.Errorf("segment %q of %d bytes cannot be", s.File, s.Bytes)
		}
		bytes += s.Bytes
	}
	if bytes != a.Bytes {
		return fmt.Errorf("%d bytes, the segments have %d", a.Bytes, bytes)
	}
	return nil
}
