package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acked is how many bytes the other end of a TCP connection has acknowledged since it began (tcpi_bytes_acked, RFC 4898).
func acked(conn net.Conn) (bytes uint64, ok bool) {
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info *unix.TCPInfo
	controlErr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if controlErr != nil || err != nil {
		return 0, false
	}
	return info.Bytes_acked, true
}
