package sqlite

import "golang.org/x/sys/unix"

// freeBytes returns how much this process may still write to the disk of a path.
func freeBytes(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // another type on other systems
}
