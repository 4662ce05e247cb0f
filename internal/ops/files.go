package ops

import (
	"fmt"
	"syscall"
)

// filesBesides is what the relay keeps open besides connections: the store's files,
// once for each reader, the certificate, and who looks at metrics.
const filesBesides = 128

// Connections returns how many connections the process can have open by the
// system's limit of open files (RLIMIT_NOFILE), with what else it opens left out.
// Go has raised the soft limit to the hard one.
func Connections() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("asking how many files may be open: %w", err)
	}
	files := int(min(limit.Cur, 1<<30)) // it may be infinite
	return max(files-filesBesides, files/2), nil
}
