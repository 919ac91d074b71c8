//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/cmd/internal/demo"
)

// The demo is a test by itself: it fails where a record is in no log and no archive, or the sites differ.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 s")
	}
	t.Setenv(beTandem, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := demo.Run(context.Background(), self, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"west is the active site (site epoch 5)", "acknowledged records in no log and no archive", "equal:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}
