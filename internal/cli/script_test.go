package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sealpost": func() { os.Exit(Main(os.Args[1:])) },
	})
}

// TestScript runs the scripts in testdata/script against the real program, each
// in a folder of its own with nothing of the caller's environment.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			setupActors(env)
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("XDG_DATA_HOME", env.WorkDir+"/data")
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")
			env.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+env.WorkDir+"/no-bus") // no keyring
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"agetools": agetools,
			"freeport": freeport,
			"waitport": waitport,
			"status":   status,
			"act":      act,
			"nowhere":  nowhere,
			"register": register,
			"takecode": takecode,
			"lines":    lines,
			"issue":    issue,
			"get":      get,
			"silent":   silent,
		},
	})
}

// freeport NAME sets the environment variable NAME to a loopback port that is
// free now.
func freeport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer listener.Close()
	ts.Setenv(args[0], strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

// waitport PORT waits until something listens on the loopback port.
func waitport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitport PORT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", args[0]))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("nothing listens on port %s: %v", args[0], err)
		case <-tick.C:
		}
	}
}

var inviteCode = regexp.MustCompile(`invite:[0-9a-z-]{39}`)

// takecode FILE NAME sets the environment variable NAME to the invite code in the
// file, and NAME_ID to its first group.
func takecode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: takecode FILE NAME")
	}
	code := inviteCode.FindString(ts.ReadFile(args[0]))
	if code == "" {
		ts.Fatalf("%s has no invite code", args[0])
	}
	ts.Setenv(args[1], code)
	ts.Setenv(args[1]+"_ID", code[len("invite:"):][:4])
}

// lines FILE TEXT... writes each text to the file as a line.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lines FILE TEXT...")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(args[1:], "\n")+"\n"), 0o600))
}

// status N PROGRAM [ARG...] runs a program as exec does and demands its exit
// status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
