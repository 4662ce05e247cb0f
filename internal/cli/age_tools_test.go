package cli

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// agePaths are the folders of the age commands, which are tools of this module
// and built once.
var agePaths = sync.OnceValues(func() (string, error) {
	var folders []string
	for _, name := range []string{"age", "age-keygen"} {
		out, err := exec.Command("go", "tool", "-n", name).Output()
		if err != nil {
			return "", err
		}
		folders = append(folders, filepath.Dir(strings.TrimSpace(string(out))))
	}
	return strings.Join(folders, string(filepath.ListSeparator)), nil
})

// agetools puts the real age commands into PATH.
func agetools(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: agetools")
	}
	folders, err := agePaths()
	ts.Check(err)
	ts.Setenv("PATH", folders+string(filepath.ListSeparator)+ts.Getenv("PATH"))
}
