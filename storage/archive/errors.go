package archive

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrUnknown: no sealed archive has that id.
	ErrUnknown = errors.New("archive: no such archive")
	// ErrBusy: another call for the partition is running. Nothing was done.
	ErrBusy = errors.New("archive: partition is being archived")
	// ErrInvalid: what is to be archived is not the tail that was announced, or its cut has been made already. Nothing was staged.
	ErrInvalid = errors.New("archive: invalid tail")
	// ErrNoSpace: the disk is too full for the copy. Nothing was staged; it may be tried again.
	ErrNoSpace = errors.New("archive: disk full")
	// ErrDamaged: bytes of an archive are not what they must be. It comes as a DamageError.
	ErrDamaged = errors.New("archive: damaged")
)

// DamageError names a damage. It is ErrDamaged.
type DamageError struct {
	File   string
	Pos    int64 // byte in File
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("archive: damaged: %s, byte %d: %s", e.File, e.Pos, e.Reason)
}

// Unwrap makes errors.Is(err, ErrDamaged) hold.
func (e *DamageError) Unwrap() error { return ErrDamaged }

// damagesMax bounds how many damages of one archive are told.
const damagesMax = 32

// damages collects what is wrong with an archive.
type damages struct {
	list []error
	more int
}

func (d *damages) add(file string, pos int64, format string, args ...any) {
	d.join(&DamageError{File: file, Pos: pos, Reason: fmt.Sprintf(format, args...)})
}

func (d *damages) join(e *DamageError) {
	if len(d.list) == damagesMax {
		d.more++
		return
	}
	d.list = append(d.list, e)
}

// note takes damage from err, and returns what is none.
func (d *damages) note(err error) error {
	var damage *DamageError
	if errors.As(err, &damage) {
		d.join(damage)
		return nil
	}
	return err
}

func (d *damages) any() bool { return len(d.list) > 0 }

// err is nil, or all of them.
func (d *damages) err() error {
	if d.more > 0 {
		return errors.Join(errors.Join(d.list...), fmt.Errorf("%w at %d more places", ErrDamaged, d.more))
	}
	return errors.Join(d.list...)
}

// isFull says that err is of a disk, or a quota, that is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
