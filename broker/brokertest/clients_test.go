package brokertest_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestGoClientsReadWhatTheyWrote runs the part of make interop that needs Go only, against a broker of this process: franz-go,
// sarama and kafka-go write with every codec, and read in groups whose members join, leave and die, each client by itself and
// all in one group.
func TestGoClientsReadWhatTheyWrote(t *testing.T) {
	t.Parallel()
	b := brokertest.Start(t, "group.initial.rebalance.delay.ms=500")
	dir := t.TempDir()
	interop := filepath.Join(dir, "interop")
	// Its waits have limits of their own, and say what was waited for.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, run := range []*exec.Cmd{
		exec.CommandContext(ctx, "go", "build", "-o", interop, "github.com/tandembroker/tandem/bench/interop"),
		exec.CommandContext(ctx, interop, "-bootstrap", b.Address(), "-dir", dir, "-short", "-run", "^(matrix|groups)$", "-clients", "franz-go,sarama,kafka-go"),
	} {
		out, err := run.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
	}
}
