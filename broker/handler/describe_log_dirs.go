package handler

// DescribeLogDirs (key 35), versions 1 to 4.
//
//	2  flexible       3  an error code for the whole answer       4  total and usable bytes of the disk
//
// One entry for each folder of log.dirs; one that has failed has KAFKA_STORAGE_ERROR and no partitions. Null topics means all
// partitions. A partition that the broker knows by name but cannot open is left out, since nobody can say how large it is. There
// are no future replicas, and no lag of a replica behind itself.

import (
	"context"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/partition"
)

const describeLogDirsVersionSpace = 4

func (h *Handler) describeLogDirs(_ context.Context, c call[*kmsg.DescribeLogDirsRequest]) kmsg.Response {
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	wanted := wantedPartitions(c.req)
	byDir := map[string][]*partition.Partition{}
	image := h.controller.Image()
	for _, p := range h.partitions.All() {
		if t, ok := image.Topic(p.Topic()); !ok || t.ID != p.TopicID() {
			continue // of a topic that is being deleted
		}
		if wanted != nil {
			if _, ok := wanted[topicPartition{p.Topic(), p.ID()}]; !ok {
				continue
			}
		}
		if p.Log() != nil {
			dir := absolute(filepath.Dir(p.Log().Dir()))
			byDir[dir] = append(byDir[dir], p)
		}
	}
	for _, dir := range h.config.LogDirs {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir = absolute(dir)
		out.Topics = []kmsg.DescribeLogDirsResponseDirTopic{}
		if h.dirError(dir) != nil {
			out.ErrorCode = h.fail("DescribeLogDirs", codeKafkaStorage)
			resp.Dirs = append(resp.Dirs, out)
			continue
		}
		out.Topics = logDirTopics(byDir[out.Dir])
		if c.version >= describeLogDirsVersionSpace {
			if total, usable, err := diskSpace(dir); err == nil {
				out.TotalBytes, out.UsableBytes = total, usable
			}
		}
		resp.Dirs = append(resp.Dirs, out)
	}
	return resp
}

// wantedPartitions is what the request asks for; nil = everything.
func wantedPartitions(req *kmsg.DescribeLogDirsRequest) map[topicPartition]struct{} {
	if req.Topics == nil {
		return nil
	}
	wanted := map[topicPartition]struct{}{}
	for _, t := range req.Topics {
		for _, id := range t.Partitions {
			wanted[topicPartition{t.Topic, id}] = struct{}{}
		}
	}
	return wanted
}

func logDirTopics(list []*partition.Partition) []kmsg.DescribeLogDirsResponseDirTopic {
	topics := []kmsg.DescribeLogDirsResponseDirTopic{}
	at := map[string]int{}
	for _, p := range list {
		i, ok := at[p.Topic()]
		if !ok {
			i = len(topics)
			at[p.Topic()] = i
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = p.Topic()
			topics = append(topics, t)
		}
		out := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		out.Partition, out.Size = p.ID(), p.Log().Size()
		topics[i].Partitions = append(topics[i].Partitions, out)
	}
	return topics
}

func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}
