//go:build !linux && !darwin

package handler

import "errors"

// diskSpace is not known here; the answer then says -1, as Kafka does where it cannot tell.
func diskSpace(string) (total, usable int64, err error) { return 0, 0, errors.ErrUnsupported }
