package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/meta"
)

// journalRecord is a record in a journal file.
type journalRecord struct {
	at       int64
	kind     journal.Kind
	sequence uint64
	group    entry.GroupID
}

// journalRecords finds the records of the newest journal file that has any, by their magic.
func journalRecords(t *testing.T, dir string) (file string, records []journalRecord) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal", "0*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := len(names) - 1; i >= 0 && len(records) == 0; i-- {
		file = names[i]
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at+journal.HeaderLen <= len(b); at++ {
			if string(b[at:at+4]) == "TJR1" {
				records = append(records, journalRecord{int64(at), journal.Kind(b[at+5]), binary.BigEndian.Uint64(b[at+16:]),
					entry.ParseGroupID(b[at+32:])})
			}
		}
	}
	return file, records
}

// copyWhenMarked copies the data directory of a running broker once meta.db says that all of its journal is synced.
func copyWhenMarked(t *testing.T, from string) string {
	t.Helper()
	for deadline := time.Now().Add(testLimit); ; time.Sleep(20 * time.Millisecond) {
		to := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		jc, err := meta.Peek(filepath.Join(to, "meta.db"))
		_, records := journalRecords(t, to)
		last := records[len(records)-1]
		if err == nil && last.kind == journal.Mark && jc.Mark == last.sequence {
			return to
		}
		if time.Now().After(deadline) {
			t.Fatalf("meta.db: %+v, %v; the journal ends with record %d", jc, err, last.sequence)
		}
	}
}

// refuses says whether partition 0 of a topic answers with KAFKA_STORAGE_ERROR to who reads it and to who writes.
func (r *running) refuses(t *testing.T, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	client := r.client(t)
	defer client.Close()
	list := kmsg.NewPtrListOffsetsRequest()
	list.ReplicaID = -1
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = topic
	lt.Partitions = append(lt.Partitions, kmsg.NewListOffsetsRequestTopicPartition())
	list.Topics = append(list.Topics, lt)
	answer, err := client.SeedBrokers()[0].RetriableRequest(ctx, list)
	if err != nil {
		t.Fatal(err)
	}
	code := answer.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode
	if err := kerr.ErrorForCode(code); !errors.Is(err, kerr.KafkaStorageError) {
		t.Fatalf("offsets of %s: %v", topic, err)
	}
	produce := kmsg.NewPtrProduceRequest()
	produce.SetVersion(9)
	produce.Acks, produce.TimeoutMillis = -1, 1000
	pt := kmsg.NewProduceRequestTopic()
	pt.Topic = topic
	pp := kmsg.NewProduceRequestTopicPartition()
	batch := kmsg.RecordBatch{Magic: 2}
	pp.Records = batch.AppendTo(nil)
	pt.Partitions = append(pt.Partitions, pp)
	produce.Topics = append(produce.Topics, pt)
	answer, err = client.SeedBrokers()[0].RetriableRequest(ctx, produce)
	if err != nil {
		t.Fatal(err)
	}
	if code := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; code == 0 {
		t.Fatalf("%s takes records", topic)
	}
}

// A journal that has lost its end below the mark of meta.db: the partition whose records are gone refuses, at each start; metadata
// and the other partitions serve and take records.
func TestLostJournalEndStopsOnlyItsPartition(t *testing.T) {
	for _, order := range [][2]string{{"b", "a"}, {"a", "b"}} {
		for _, set := range []string{"write.caching=false", "write.caching=true"} {
			if testing.Short() && (order[0] == "a") != (set == "write.caching=true") {
				continue
			}
			t.Run(order[1]+" last "+set, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				r := start(t, settings(t, dir, set))
				whole, hurt := order[0], order[1]
				r.produce(t, whole, 0, 10)
				r.produce(t, hurt, 0, 10)
				killed := copyWhenMarked(t, dir)
				if err := r.close(); err != nil {
					t.Fatal(err)
				}
				file, records := journalRecords(t, killed)
				last := records[len(records)-2] // the mark is behind it
				if last.group == entry.MetadataGroup || last.kind != journal.Entry {
					t.Fatalf("the last record is %+v", last)
				}
				first := len(records) - 2 // of the last records of that partition in a row
				for records[first-1].group == last.group {
					first--
				}
				t.Logf("records in a row of %s begin with a %s", hurt, records[first].kind)
				for _, cut := range []int64{last.at + 200, last.at, records[first].at} {
					data := filepath.Join(t.TempDir(), "data")
					if err := os.CopyFS(data, os.DirFS(killed)); err != nil {
						t.Fatal(err)
					}
					if err := os.Truncate(filepath.Join(data, "journal", filepath.Base(file)), cut); err != nil {
						t.Fatal(err)
					}
					if cut == records[first].at && set == "write.caching=true" { // nothing tells the partition's name then
						if err := os.RemoveAll(filepath.Join(data, hurt+"-0")); err != nil {
							t.Fatal(err)
						}
					}
					for round := range 2 {
						r := start(t, settings(t, data, set))
						r.consume(t, whole, 10+round*5)
						r.produce(t, whole, 10+round*5, 15+round*5)
						r.produce(t, fmt.Sprintf("new-%d", round), 0, 1)
						r.refuses(t, hurt)
						if err := r.close(); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
		}
	}
}
