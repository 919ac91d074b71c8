package raft

import "errors"

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
	// ErrUnknown: no such Raft group here.
	ErrUnknown = errors.New("raft: unknown Raft group")
)
