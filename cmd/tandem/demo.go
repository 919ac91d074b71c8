package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tandembroker/tandem/cmd/internal/demo"
)

// demonstrate runs `tandem demo`.
func demonstrate(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		_, _ = fmt.Fprintln(stderr, "tandem demo: it takes no arguments")
		return exitUsage
	}
	self, err := os.Executable()
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "tandem demo: %v\n", err)
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo.Run(ctx, self, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "tandem demo: %v\n", err)
		return exitFailed
	}
	return exitDone
}
