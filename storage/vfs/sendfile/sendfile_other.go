//go:build !linux

package sendfile

import (
	"errors"
	"net"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Socket is never made here: ranges of files are copied through a buffer.
type Socket struct{}

// New returns nil.
func New(net.Conn) *Socket { return nil }

// Send never moves anything.
func (*Socket) Send(vfs.File, int64, int64) (sent int64, ok bool, err error) { return 0, false, nil }

// Forget does nothing.
func (*Socket) Forget() {}

// WriteMore always fails.
func (*Socket) WriteMore([]byte) (int, error) { return 0, errors.ErrUnsupported }

// InputWaits cannot see it.
func (*Socket) InputWaits() bool { return true }
