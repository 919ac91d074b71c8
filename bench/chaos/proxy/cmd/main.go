// Command cmd runs a bad network between two programs:
//
//	go run ./bench/chaos/proxy/cmd -listen 127.0.0.1:19092 -target 127.0.0.1:9092 -delay 75ms -bandwidth 10000000
//
// It says where it listens and takes orders on standard input, one a line: delay 75ms, bandwidth 10000000 (0 = no limit), cut, stall,
// half-open, heal, flip, bytes (prints how many were passed on). It ends with its input, unless -keep is given.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port")
	target := flag.String("target", "", "host:port that connections go to")
	delay := flag.Duration("delay", 0, "of each byte, one way")
	bandwidth := flag.Int64("bandwidth", 0, "bytes per second, each direction of each connection; 0 = no limit")
	keep := flag.Bool("keep", false, "go on when standard input ends, until a signal comes")
	flag.Parse()
	if *target == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p := proxy.Start(l, *target)
	p.SetDelay(*delay)
	p.SetBandwidth(*bandwidth)
	fmt.Fprintln(os.Stdout, "listening on", p.Addr())
	over := make(chan os.Signal, 1)
	signal.Notify(over, os.Interrupt, syscall.SIGTERM)
	orders := make(chan struct{})
	go func() { // ends with the process
		obey(p, os.Stdin, os.Stdout)
		if !*keep {
			close(orders)
		}
	}()
	select {
	case <-over:
	case <-orders:
	}
	p.Close()
}

// obey carries out orders until there are no more.
func obey(p *proxy.Proxy, in io.Reader, out io.Writer) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		order, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		var err error
		switch order {
		case "":
			continue
		case "delay":
			var d time.Duration
			if d, err = time.ParseDuration(value); err == nil {
				p.SetDelay(d)
			}
		case "bandwidth":
			var n int64
			if n, err = strconv.ParseInt(value, 10, 64); err == nil {
				p.SetBandwidth(n)
			}
		case "cut":
			p.Cut()
		case "stall":
			p.Stall()
		case "half-open":
			p.HalfOpen()
		case "heal":
			p.Heal()
		case "flip":
			p.Flip()
		case "bytes":
			fmt.Fprintln(out, p.Forwarded())
			continue
		default:
			err = fmt.Errorf("no such order: %q", order)
		}
		if err != nil {
			fmt.Fprintln(out, "error:", err)
		} else {
			fmt.Fprintln(out, "done")
		}
	}
}
