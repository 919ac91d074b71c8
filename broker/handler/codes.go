package handler

import (
	"errors"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/protocol/record"
)

// Kafka's error codes, as far as this broker answers them. Source: org.apache.kafka.common.protocol.Errors.
const (
	codeUnknownServer             int16 = -1
	codeNone                      int16 = 0
	codeOffsetOutOfRange          int16 = 1
	codeCorruptMessage            int16 = 2
	codeUnknownTopicOrPartition   int16 = 3
	codeLeaderNotAvailable        int16 = 5
	codeNotLeaderOrFollower       int16 = 6
	codeRequestTimedOut           int16 = 7
	codeReplicaNotAvailable       int16 = 9
	codeMessageTooLarge           int16 = 10
	codeOffsetMetadataTooLarge    int16 = 12
	codeCoordinatorLoadInProgress int16 = 14
	codeCoordinatorNotAvailable   int16 = 15
	codeNotCoordinator            int16 = 16
	codeInvalidTopic              int16 = 17
	codeRecordListTooLarge        int16 = 18
	codeNotEnoughReplicas         int16 = 19
	codeInvalidRequiredAcks       int16 = 21
	codeIllegalGeneration         int16 = 22
	codeInconsistentGroupProtocol int16 = 23
	codeInvalidGroupID            int16 = 24
	codeUnknownMemberID           int16 = 25
	codeInvalidSessionTimeout     int16 = 26
	codeRebalanceInProgress       int16 = 27
	codeInvalidCommitOffsetSize   int16 = 28
	codeInvalidTimestamp          int16 = 32
	codeIllegalSASLState          int16 = 34
	codeUnsupportedVersion        int16 = 35
	codeTopicAlreadyExists        int16 = 36
	codeInvalidPartitions         int16 = 37
	codeInvalidReplicationFactor  int16 = 38
	codeInvalidReplicaAssignment  int16 = 39
	codeInvalidConfig             int16 = 40
	codeNotController             int16 = 41
	codeInvalidRequest            int16 = 42
	codePolicyViolation           int16 = 44
	codeOutOfOrderSequence        int16 = 45
	codeInvalidProducerEpoch      int16 = 47
	codeInvalidTxnState           int16 = 48
	codeTxnIDForbidden            int16 = 53
	codeSecurityDisabled          int16 = 54
	codeKafkaStorage              int16 = 56
	codeNonEmptyGroup             int16 = 68
	codeGroupIDNotFound           int16 = 69
	codeFetchSessionIDNotFound    int16 = 70
	codeInvalidFetchSessionEpoch  int16 = 71
	codeTopicDeletionDisabled     int16 = 73
	codeFencedLeaderEpoch         int16 = 74
	codeUnknownLeaderEpoch        int16 = 75
	codeUnsupportedCompression    int16 = 76
	codeOffsetNotAvailable        int16 = 78
	codeMemberIDRequired          int16 = 79
	codeGroupMaxSizeReached       int16 = 81
	codeFencedInstanceID          int16 = 82
	codeGroupSubscribedToTopic    int16 = 86
	codeInvalidRecord             int16 = 87
	codeUnknownTopicID            int16 = 100
	codeFetchSessionTopicID       int16 = 106
	codeMismatchedEndpointType    int16 = 114
	codeUnsupportedEndpointType   int16 = 115
)

// codes gives the errors of the rooms below their Kafka codes. The first line that matches counts, so an error that wraps two
// of them gets the more telling one.
var codes = []struct {
	err  error
	code int16
}{
	// In front of those of partitions, which they wrap: clients of a coordinator know these, and give up at others.
	{group.ErrCoordinatorLoading, codeCoordinatorLoadInProgress},
	{group.ErrCoordinatorNotAvailable, codeCoordinatorNotAvailable},
	{group.ErrNotCoordinator, codeNotCoordinator},
	{group.ErrIllegalGeneration, codeIllegalGeneration},
	{group.ErrInconsistentProtocol, codeInconsistentGroupProtocol},
	{group.ErrInvalidGroupID, codeInvalidGroupID},
	{group.ErrUnknownMember, codeUnknownMemberID},
	{group.ErrInvalidSessionTimeout, codeInvalidSessionTimeout},
	{group.ErrRebalanceInProgress, codeRebalanceInProgress},
	{group.ErrNonEmptyGroup, codeNonEmptyGroup},
	{group.ErrGroupIDNotFound, codeGroupIDNotFound},
	{group.ErrMemberIDRequired, codeMemberIDRequired},
	{group.ErrGroupMaxSize, codeGroupMaxSizeReached},
	{group.ErrFencedInstance, codeFencedInstanceID},
	{group.ErrInvalidRequest, codeInvalidRequest},
	{group.ErrMetadataTooLarge, codeOffsetMetadataTooLarge},
	{group.ErrCommitTooLarge, codeInvalidCommitOffsetSize},
	{group.ErrSubscribedToTopic, codeGroupSubscribedToTopic},
	{group.ErrUnknownTopic, codeUnknownTopicOrPartition},

	{partition.ErrUnknown, codeUnknownTopicOrPartition},
	{partition.ErrFencedEpoch, codeFencedLeaderEpoch},
	{partition.ErrUnknownEpoch, codeUnknownLeaderEpoch},
	{partition.ErrOffsetOutOfRange, codeOffsetOutOfRange},
	{partition.ErrOffsetNotAvailable, codeOffsetNotAvailable},
	{partition.ErrOutOfOrderSequence, codeOutOfOrderSequence},
	{partition.ErrProducerFenced, codeInvalidProducerEpoch},
	{partition.ErrPolicy, codePolicyViolation},
	{errBehind, codeNotEnoughReplicas},
	{partition.ErrRetriable, codeNotEnoughReplicas}, // retriable, and says that nothing was written
	{partition.ErrNotLeader, codeNotLeaderOrFollower},
	{partition.ErrNoSpace, codeKafkaStorage},
	{partition.ErrStorage, codeKafkaStorage},

	{record.ErrTruncated, codeInvalidRecord},
	{record.ErrMagic, codeInvalidRecord},
	{record.ErrInvalid, codeInvalidRecord},
	{record.ErrCorrupt, codeCorruptMessage},
	{record.ErrTimestamp, codeInvalidTimestamp},
	{record.ErrTooLarge, codeMessageTooLarge},
	{record.ErrCodec, codeUnsupportedCompression},

	{controller.ErrTopicExists, codeTopicAlreadyExists},
	{controller.ErrUnknownTopic, codeUnknownTopicOrPartition},
	{controller.ErrUnknownTopicID, codeUnknownTopicID},
	{controller.ErrInvalidTopic, codeInvalidTopic},
	{controller.ErrInvalidPartitions, codeInvalidPartitions},
	{controller.ErrInvalidReplicationFactor, codeInvalidReplicationFactor},
	{controller.ErrInvalidAssignment, codeInvalidReplicaAssignment},
	{controller.ErrInvalidConfig, codeInvalidConfig},
	{controller.ErrInvalidRequest, codeInvalidRequest},
	{controller.ErrPolicy, codePolicyViolation},
	{controller.ErrTimeout, codeRequestTimedOut},
	{controller.ErrNotController, codeNotController},
}

// codeOf is the Kafka code of err.
func codeOf(err error) int16 {
	if err == nil {
		return codeNone
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codeUnknownServer
}

// messageOf is what a client may read about err: Kafka's sentence where there is one, nothing of this machine otherwise.
func messageOf(err error) *string {
	var request *controller.RequestError
	if errors.As(err, &request) {
		if request.Message == "" {
			return nil // Kafka has none for it
		}
		return &request.Message
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			text := c.err.Error()
			return &text
		}
	}
	return nil
}
