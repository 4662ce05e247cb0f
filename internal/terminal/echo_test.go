//go:build linux

package terminal

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// waitForEcho returns once the terminal shows, or does not show, what is typed.
func waitForEcho(t *testing.T, file *os.File, want bool) {
	t.Helper()
	for {
		settings, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if (settings.Lflag&unix.ECHO != 0) == want {
			return
		}
		runtime.Gosched()
	}
}
