package handler_test

import (
	"testing"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestUnusualNames are legal in Kafka and look like something else in a data directory.
func TestUnusualNames(t *testing.T) {
	b := brokertest.Start(t)
	names := []string{".hidden", "...", ".lock", "meta.properties", "x-delete", "-", "_", "-9", "journal", "a.b-0"}
	for range 2 {
		for _, name := range names {
			b.CreateTopic(name, 2)
			if offset := mustProduce(t, b, name, batch(t, nil, "x")); offset != 0 {
				t.Fatalf("topic %q: first record has offset %d", name, offset)
			}
		}
		b.Restart()
		for _, name := range names {
			if offset := mustProduce(t, b, name, batch(t, nil, "x")); offset != 1 {
				t.Fatalf("topic %q: second record has offset %d", name, offset)
			}
		}
		deleteTopic(t, b, names...)
	}
}
