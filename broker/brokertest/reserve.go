package brokertest

import (
	"net"
	"testing"
)

// Reserve is an address on loopback, host:port, that nobody listens at and that is given to nobody who asks for any port or dials out, for
// as long as the test runs. A server that asks for it by name gets it, again and again.
func Reserve(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	// A connection that stays open keeps its port from being handed out; with SO_REUSEADDR, which Go sets, it does not keep it from being
	// listened at.
	for _, open := range []func() (net.Conn, error){
		func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) },
		l.Accept,
	} {
		conn, err := open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	return l.Addr().String()
}
