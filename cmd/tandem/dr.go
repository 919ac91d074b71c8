package main

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tandembroker/tandem/cmd/internal/dr"
)

// disasterRecovery runs `tandem dr args`. An interrupt ends the waiting; what was begun goes on at the brokers.
func disasterRecovery(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return dr.Run(ctx, args, dr.Surroundings{
		In: os.Stdin, Out: stdout, Err: stderr, Terminal: terminal(os.Stdin), Now: time.Now, Sleep: sleep, NewID: rand.Text, Produce: dr.NewProducer,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, "tcp", address)
		},
	})
}

// terminal says whether somebody can answer questions there.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !isNull(info)
}

// isNull says that info is of the null device, which is a character device too.
func isNull(info os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
