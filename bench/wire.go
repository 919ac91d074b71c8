package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	posCorrelation  = 8 // of a request frame: 4 size, 2 key, 2 version
	responseMax     = 256 << 20
	produceVersion  = 9
	fetchVersion    = 12
	createVersion   = 6
	metadataVersion = 9
	listVersion     = 7
)

// conn is one raw connection. Not safe for concurrent use.
type conn struct {
	net         net.Conn
	r           *bufio.Reader
	format      *kmsg.RequestFormatter
	correlation int32
	buf         []byte // the last response, reused
}

func dialConn(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{net: c, r: bufio.NewReaderSize(c, 64<<10), format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench"))}, nil
}

func (c *conn) close() { _ = c.net.Close() }

// frame encodes req once; send patches the correlation id into it each time.
func (c *conn) frame(req kmsg.Request) []byte { return c.format.AppendRequest(nil, req, 0) }

func (c *conn) send(frame []byte) error {
	c.correlation++
	binary.BigEndian.PutUint32(frame[posCorrelation:], uint32(c.correlation))
	_, err := c.net.Write(frame)
	return err
}

// receive returns the next response behind its size and correlation id, valid until the next receive.
func (c *conn) receive(correlation int32) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || size > responseMax {
		return nil, fmt.Errorf("response of %d bytes", size)
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != correlation {
		return nil, fmt.Errorf("response to request %d instead of %d", got, correlation)
	}
	if cap(c.buf) < size {
		c.buf = make([]byte, size)
	}
	c.buf = c.buf[:size]
	_, err := io.ReadFull(c.r, c.buf)
	return c.buf, err
}

// decode reads a response body into resp. Response headers of flexible versions have one tag byte here (no tags are sent).
func decode(body []byte, req kmsg.Request, resp kmsg.Response) error {
	if req.IsFlexible() && req.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return errors.New("response header")
		}
		body = body[1:]
	}
	resp.SetVersion(req.GetVersion())
	return resp.ReadFrom(body)
}

// request sends req and reads its response.
func (c *conn) request(req kmsg.Request, resp kmsg.Response) error {
	if err := c.send(c.frame(req)); err != nil {
		return err
	}
	body, err := c.receive(c.correlation)
	if err != nil {
		return err
	}
	return decode(body, req, resp)
}

// await calls fn until it succeeds: a broker that has just started, or a topic just created, answers retriable errors.
func (c *conn) await(ctx context.Context, fn func() error) error {
	deadline := time.Now().Add(readyMax)
	for {
		err := fn()
		if err == nil {
			return nil
		}
		if !kerr.IsRetriable(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond): // polling is all that a client can do
		}
	}
}

func (c *conn) metadata() error {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = metadataVersion, []kmsg.MetadataRequestTopic{}
	resp := kmsg.NewPtrMetadataResponse()
	if err := c.request(req, resp); err != nil {
		return err
	}
	if len(resp.Brokers) == 0 {
		return kerr.BrokerNotAvailable
	}
	return nil
}

// create makes a topic and waits until every partition answers ListOffsets.
func (c *conn) create(ctx context.Context, topic string, partitions int32, configs map[string]string) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, 1
	for name, value := range configs {
		tc := kmsg.NewCreateTopicsRequestTopicConfig()
		tc.Name, tc.Value = name, &value
		t.Configs = append(t.Configs, tc)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis, req.Topics = createVersion, 60_000, append(req.Topics, t)
	resp := kmsg.NewPtrCreateTopicsResponse()
	if err := c.request(req, resp); err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return errors.New("CreateTopics answered nothing")
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return fmt.Errorf("create %s: %w", topic, err)
	}
	return c.await(ctx, func() error { return c.serving(topic, partitions) })
}

// delete removes a topic; its data goes with it.
func (c *conn) delete(topic string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis, req.TopicNames = 5, 60_000, []string{topic}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	if err := c.request(req, resp); err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return errors.New("DeleteTopics answered nothing")
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

// serving asks for the latest offset of every partition; nil when all of them answer.
func (c *conn) serving(topic string, partitions int32) error {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for i := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = i, -1
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID, req.Topics = listVersion, -1, append(req.Topics, t)
	resp := kmsg.NewPtrListOffsetsResponse()
	if err := c.request(req, resp); err != nil {
		return err
	}
	answered := 0
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
			answered++
		}
	}
	if answered != int(partitions) {
		return fmt.Errorf("ListOffsets answered %d of %d partitions", answered, partitions)
	}
	return nil
}

// produceRequest is a produce of one and the same batch to each of the partitions, with acks=all.
func produceRequest(topic string, batch []byte, partitions ...int32) *kmsg.ProduceRequest {
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	for _, i := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = i, batch
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis, req.Topics = produceVersion, -1, 30_000, append(req.Topics, t)
	return req
}

// produced checks the response to a produce that had as many partitions as req.
func produced(body []byte, req *kmsg.ProduceRequest) error {
	resp := kmsg.NewPtrProduceResponse()
	if err := decode(body, req, resp); err != nil {
		return err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != len(req.Topics[0].Partitions) {
		return errors.New("produce was not answered in full")
	}
	for _, p := range resp.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

// fetchRequest asks for up to bytes from partition 0, without a session.
func fetchRequest(topic string, offset int64, bytes int32) *kmsg.FetchRequest {
	return fetchFrom(topic, 0, offset, bytes)
}

// fetchFrom is fetchRequest for any partition.
func fetchFrom(topic string, partition int32, offset int64, bytes int32) *kmsg.FetchRequest {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, bytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = fetchVersion, 500, 1, bytes
	req.SessionEpoch, req.Topics = -1, append(req.Topics, t)
	return req
}

// fetched returns the records of a fetch response, aliasing body.
func fetched(body []byte, req kmsg.Request) ([]byte, error) {
	resp := kmsg.NewPtrFetchResponse()
	if err := decode(body, req, resp); err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("fetch answered nothing")
	}
	p := &resp.Topics[0].Partitions[0]
	return p.RecordBatches, kerr.ErrorForCode(p.ErrorCode)
}
