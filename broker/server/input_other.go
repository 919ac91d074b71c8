//go:build !linux

package server

import "net"

// newInputWaiter returns nil: connections keep their buffers here.
func newInputWaiter(net.Conn) inputWaiter { return nil }
