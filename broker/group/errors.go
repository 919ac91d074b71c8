package group

import "errors"

// What requests are refused for. Each is one of Kafka's errors; broker/handler has their codes.
var (
	ErrCoordinatorLoading      = errors.New("group: coordinator load in progress")
	ErrCoordinatorNotAvailable = errors.New("group: coordinator not available")
	ErrNotCoordinator          = errors.New("group: not the coordinator of this group")
	ErrIllegalGeneration       = errors.New("group: illegal generation")
	ErrInconsistentProtocol    = errors.New("group: inconsistent group protocol")
	ErrInvalidGroupID          = errors.New("group: invalid group id")
	ErrUnknownMember           = errors.New("group: unknown member id")
	ErrInvalidSessionTimeout   = errors.New("group: invalid session timeout")
	ErrRebalanceInProgress     = errors.New("group: rebalance in progress")
	ErrNonEmptyGroup           = errors.New("group: the group is not empty")
	ErrGroupIDNotFound         = errors.New("group: group id not found")
	ErrMemberIDRequired        = errors.New("group: member id required")
	ErrGroupMaxSize            = errors.New("group: the group has reached its maximum size")
	ErrInvalidRequest          = errors.New("group: invalid request")
	ErrFencedInstance          = errors.New("group: fenced instance id")
)
