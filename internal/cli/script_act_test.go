package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

const actorTimeout = 60 * time.Second

// An actor is a program that a script talks with while it runs.
type actor struct {
	cmd   *exec.Cmd
	input io.WriteCloser

	mu      sync.Mutex
	output  []byte
	seen    int           // what of output expect went past
	ended   bool          // the output is complete
	changed chan struct{} // closed at the next change of output or ended
}

type actorsKey struct{}

// setupActors gives a script its actors.
func setupActors(env *testscript.Env) { env.Values[actorsKey{}] = map[string]*actor{} }

// Commands to talk with a program:
//
//	act NAME start [-terminal COLUMNS] PROGRAM [ARG...]
//	act NAME type TEXT        types the text and presses Enter
//	act NAME keys TEXT        types the text, a Go string without quotes
//	act NAME expect PATTERN   waits until the output has it, after what was expected before
//	act NAME resize COLUMNS
//	act NAME eof              ends the input
//	act NAME interrupt        sends SIGINT
//	act NAME term             sends SIGTERM
//	act NAME status N         waits for the end
//	act NAME save FILE        writes the output so far to a file
func act(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: act NAME start|type|keys|expect|resize|eof|interrupt|term|status|save [ARG...]")
	}
	actors := ts.Value(actorsKey{}).(map[string]*actor)
	name, verb, args := args[0], args[1], args[2:]
	if verb == "start" {
		actors[name] = startActor(ts, args)
		return
	}
	a := actors[name]
	if a == nil {
		ts.Fatalf("nobody is called %s", name)
	}
	argument := strings.Join(args, " ")
	switch verb {
	case "type":
		a.write(ts, argument+"\n")
	case "keys":
		text, err := strconv.Unquote(`"` + argument + `"`)
		ts.Check(err)
		a.write(ts, text)
	case "expect":
		a.expect(ts, argument)
	case "resize":
		a.resize(ts, argument)
	case "term":
		ts.Check(a.cmd.Process.Signal(syscall.SIGTERM))
	case "eof":
		ts.Check(a.input.Close())
	case "interrupt":
		ts.Check(a.cmd.Process.Signal(os.Interrupt))
	case "status":
		a.status(ts, argument)
	case "save":
		a.mu.Lock()
		defer a.mu.Unlock()
		ts.Check(os.WriteFile(ts.MkAbs(argument), a.output, 0o600))
	default:
		ts.Fatalf("act: no verb %s", verb)
	}
}

func startActor(ts *testscript.TestScript, args []string) *actor {
	columns := 0
	if args[0] == "-terminal" {
		var err error
		columns, err = strconv.Atoi(args[1])
		ts.Check(err)
		args = args[2:]
	}
	path := args[0]
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if _, err := os.Stat(dir + "/" + args[0]); err == nil {
			path = dir + "/" + args[0]
			break
		}
	}
	a := &actor{cmd: exec.Command(path, args[1:]...), changed: make(chan struct{})}
	a.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TERM", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"} {
		a.cmd.Env = append(a.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(a.start(uint16(columns)))
	ts.Defer(func() {
		a.input.Close()
		a.cmd.Process.Kill()
		a.cmd.Wait()
	})
	return a
}

func (a *actor) start(columns uint16) error {
	if columns > 0 {
		file, err := pty.StartWithSize(a.cmd, &pty.Winsize{Cols: columns, Rows: 24})
		a.input = file
		if err == nil {
			go a.read(file)
		}
		return err
	}
	input, err := a.cmd.StdinPipe()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	a.input, a.cmd.Stdout, a.cmd.Stderr = input, w, w
	if err := a.cmd.Start(); err != nil {
		return err
	}
	go a.read(r)
	return w.Close()
}

func (a *actor) read(r io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		a.mu.Lock()
		a.output = append(a.output, b[:n]...)
		a.ended = err != nil
		close(a.changed)
		a.changed = make(chan struct{})
		a.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (a *actor) write(ts *testscript.TestScript, text string) {
	_, err := io.WriteString(a.input, text)
	ts.Check(err)
}

func (a *actor) expect(ts *testscript.TestScript, pattern string) {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	if err := a.wait(func() bool {
		at := re.FindIndex(a.output[a.seen:])
		if at == nil {
			return false
		}
		a.seen += at[1]
		return true
	}); err != nil {
		ts.Fatalf("waiting for %q: %v; the output is\n%q", pattern, err, a.output)
	}
}

// wait returns once done does, which runs with the lock held.
func (a *actor) wait(done func() bool) error {
	timeout := time.After(actorTimeout)
	for {
		a.mu.Lock()
		ok, ended, changed := done(), a.ended, a.changed
		a.mu.Unlock()
		if ok {
			return nil
		}
		if ended {
			return errors.New("the program ended")
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("not within %v", actorTimeout)
		}
	}
}

func (a *actor) resize(ts *testscript.TestScript, columns string) {
	n, err := strconv.Atoi(columns)
	ts.Check(err)
	terminal, ok := a.input.(*os.File)
	if !ok {
		ts.Fatalf("not on a terminal")
	}
	ts.Check(pty.Setsize(terminal, &pty.Winsize{Cols: uint16(n), Rows: 24}))
}

func (a *actor) status(ts *testscript.TestScript, want string) {
	if err := a.wait(func() bool { return a.ended }); err != nil {
		ts.Fatalf("waiting for the end: %v; the output is\n%q", err, a.output)
	}
	err := a.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := strconv.Itoa(a.cmd.ProcessState.ExitCode()); got != want {
		ts.Fatalf("exit status %s, want %s; the output is\n%q", got, want, a.output)
	}
}

// register NAME [PASSPHRASE] sets up a profile and an account of this name with
// the server at port $PORT.
func register(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: register NAME [PASSPHRASE]")
	}
	answers := []string{args[0], "127.0.0.1:" + ts.Getenv("PORT"), "yes", ""}
	if len(args) == 2 {
		answers = append(answers[:3], args[1], args[1])
	}
	a := startActor(ts, []string{"sealpost", "client", "--profile", args[0]})
	a.write(ts, strings.Join(answers, "\n")+"\n")
	ts.Check(a.input.Close())
	a.status(ts, "0")
}

// nowhere TEXT FILE... fails where the command line or the environment of a
// process, or a file, has the text; with !, where none has. Folders are
// searched with all that is in them.
func nowhere(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: nowhere TEXT FILE...")
	}
	places := processesWith(ts, args[0])
	for _, file := range args[1:] {
		places = append(places, filesWith(ts, args[0], ts.MkAbs(file))...)
	}
	if !neg && len(places) > 0 {
		ts.Fatalf("%q is in %v", args[0], places)
	}
	if neg && len(places) == 0 {
		ts.Fatalf("%q is nowhere", args[0])
	}
}

func filesWith(ts *testscript.TestScript, text, root string) (places []string) {
	ts.Check(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			places = append(places, path)
		}
		return err
	}))
	return places
}

func processesWith(ts *testscript.TestScript, text string) (places []string) {
	entries, err := os.ReadDir("/proc")
	ts.Check(err)
	for _, entry := range entries {
		for _, part := range []string{"cmdline", "environ"} {
			path := "/proc/" + entry.Name() + "/" + part
			content, err := os.ReadFile(path)
			if err == nil && bytes.Contains(content, []byte(text)) {
				places = append(places, path)
			}
		}
	}
	return places
}
