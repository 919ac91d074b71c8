package brokertest

import (
	"net"
	"testing"
)

// TestReservedAddressGoesToWhoNamesIt: it is dialled in vain, listened at, and listened at again after its listener has gone.
func TestReservedAddressGoesToWhoNamesIt(t *testing.T) {
	address := Reserve(t)
	for range 2 {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Fatalf("somebody listens at %s", address)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		_ = l.Close()
	}
}

// TestReservedAddressIsGivenToNobodyElse asks for all ports that there are.
func TestReservedAddressIsGivenToNobodyElse(t *testing.T) {
	reserved := map[string]bool{}
	for range 50 {
		reserved[Reserve(t)] = true
	}
	for range 2000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		if reserved[l.Addr().String()] {
			t.Fatalf("%s was handed out", l.Addr())
		}
	}
}
