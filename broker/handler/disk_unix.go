//go:build linux || darwin

package handler

import "golang.org/x/sys/unix"

// diskSpace is the size of the file system of dir, and what an unprivileged writer may still use of it, in bytes.
func diskSpace(dir string) (total, usable int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}
