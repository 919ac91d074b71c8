package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBugsFollowTheCode: what a seeded bug changes stands once in the source. To seed them all takes minutes; this tells at once.
func TestBugsFollowTheCode(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.file)))
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		for _, old := range []string{b.old, b.old2} {
			if n := strings.Count(string(source), old); old != "" && n != 1 {
				t.Errorf("%s: the text to change stands %d times in %s: %q", b.name, n, b.file, old)
			}
		}
	}
}
