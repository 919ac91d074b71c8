package main

import (
	"fmt"
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

func TestSharesHaveEveryBugOnce(t *testing.T) {
	for _, n := range []int{1, 3, 7} {
		seen := map[string]int{}
		for k := range n {
			some, err := share(bugs, fmt.Sprintf("%d/%d", k+5*n, n))
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range some {
				seen[b.name+b.file+b.test]++
			}
		}
		for _, b := range bugs {
			if seen[b.name+b.file+b.test] != 1 {
				t.Errorf("%d shares: %s is in %d of them", n, b.name, seen[b.name+b.file+b.test])
			}
		}
	}
	for _, bad := range []string{"", "1", "1/0", "-1/3", "a/b"} {
		if _, err := share(bugs, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
