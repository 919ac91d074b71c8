package main

import (
	"strings"
	"testing"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
)

func TestOrders(t *testing.T) {
	p, err := proxy.Listen("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var out strings.Builder
	obey(p, strings.NewReader("delay 1ms\nbandwidth 5\n\ncut\nstall\nhalf-open\nheal\nflip\nbytes\ndelay x\nfly\n"), &out)
	want := strings.Repeat("done\n", 7) + "0\nerror: time: invalid duration \"x\"\nerror: no such order: \"fly\"\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
