package compact

import "golang.org/x/sys/unix"

// wantHugePages saves the processor most of the page table walks that looking at random places costs. It is a hint.
func wantHugePages(pages []byte) { _ = unix.Madvise(pages, unix.MADV_HUGEPAGE) }
