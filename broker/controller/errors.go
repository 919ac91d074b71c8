package controller

import (
	"errors"
	"fmt"
)

// What an operation was refused for. They name the Kafka errors that the handlers answer.
var (
	ErrTopicExists              = errors.New("controller: topic exists")
	ErrUnknownTopic             = errors.New("controller: unknown topic")
	ErrUnknownTopicID           = errors.New("controller: unknown topic id")
	ErrInvalidTopic             = errors.New("controller: invalid topic name")
	ErrInvalidPartitions        = errors.New("controller: invalid number of partitions")
	ErrInvalidReplicationFactor = errors.New("controller: invalid replication factor")
	ErrInvalidAssignment        = errors.New("controller: invalid replica assignment")
	ErrInvalidConfig            = errors.New("controller: invalid config")
	ErrInvalidRequest           = errors.New("controller: invalid request")
	ErrPolicy                   = errors.New("controller: refused by a limit of this broker")
	// ErrNotController: this broker does not lead the metadata Raft group, or not yet. Trying again may succeed.
	ErrNotController = errors.New("controller: not the controller")
	// ErrStandby: the metadata of a site that is not the active one, or is handing over, changes by what the active has.
	ErrStandby = fmt.Errorf("%w: not the active site", ErrNotController)
	// ErrTimeout: the operation is under way and will most likely succeed, but not within its time.
	ErrTimeout = errors.New("controller: timed out")
)

// RequestError is one of the errors above with the sentence that Kafka's controller would say; empty where it says none.
type RequestError struct {
	Kind    error
	Message string
}

// Error implements error.
func (e *RequestError) Error() string {
	if e.Message == "" {
		return e.Kind.Error()
	}
	return e.Message
}

// Unwrap returns Kind.
func (e *RequestError) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) *RequestError {
	return &RequestError{Kind: kind, Message: fmt.Sprintf(format, args...)}
}
