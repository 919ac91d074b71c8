package raft

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
)

var (
	// ErrNotLeader: this broker does not lead the Raft group, or not yet, or no longer. What was proposed may have been
	// stored and may commit later.
	ErrNotLeader = errors.New("raft: not the leader")
	// ErrVoid: the command was not appended: an earlier one of this leadership is missing, or it was checked in another
	// term, or the log is fenced. It will never commit; trying again may succeed.
	ErrVoid = errors.New("raft: command voided")
	// ErrClosed: the Raft group or the Host was stopped. What was in flight may have been stored.
	ErrClosed = errors.New("raft: closed")
	// ErrOffline: the data of the Raft group is not usable; the text says why.
	ErrOffline = errors.New("raft: offline")
	// ErrLevel: the command is of a format level that the data directory is not raised to, or that is not there yet.
	ErrLevel = errors.New("raft: command of a higher format level")
	// ErrLinked: shipped batches do not carry what their rows say. Nothing was proposed.
	ErrLinked = errors.New("raft: shipped batches and their rows differ")
	// ErrUnknown: no such Raft group here.
	ErrUnknown = errors.New("raft: unknown Raft group")
)

// VoidError is ErrVoid with the reason.
type VoidError struct {
	Reason entry.VoidReason
	text   string // "" = it was stored as a void
}

func (e *VoidError) Error() string {
	if e.text != "" {
		return fmt.Sprintf("%v: %s", ErrVoid, e.text)
	}
	return fmt.Sprintf("%v: %s", ErrVoid, e.Reason)
}

// Is makes errors.Is find ErrVoid.
func (e *VoidError) Is(target error) bool { return target == ErrVoid }

// overtaken is the error of a command that was not stored, since an earlier one of this leadership is missing or in the way.
func overtaken(why string) error { return &VoidError{Reason: entry.VoidSequence, text: why} }
