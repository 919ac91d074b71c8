package storage

import "golang.org/x/sys/unix"

// openFilesMax bounds the default of Options.OpenFiles.
const openFilesMax = 65_536

// openFilesDefault leaves most of what the process may open to connections, the journal, and files that are open for a moment.
func openFilesDefault() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return openFilesMax
	}
	return int(min(limit.Cur/4, openFilesMax))
}
