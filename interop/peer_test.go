package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// callTimeout bounds one command to the peer; the slowest, a commit in a group of
// twenty, takes about a second on an idle core.
const callTimeout = 60 * time.Second

// maxLine bounds one answer of the peer.
const maxLine = 16 << 20

// peer is the process that runs ts-mls (peer/driver.js). Its commands are answered in
// order, so it serves one goroutine.
type peer struct {
	stdin  io.WriteCloser
	lines  chan []byte
	stderr *lockedBuffer
	lastID int
	groups int // conversations so far, which number their members' names
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// install makes sure that node and the packages of peer/package-lock.json are there.
// Without them it skips the test, but never where CI is set: there it installs the
// packages, and a missing node is a failure.
var install = sync.OnceValue(func() error {
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is not installed")
	}
	if _, err := os.Stat(filepath.Join("peer", "node_modules", "ts-mls", "package.json")); err == nil {
		return nil
	}
	if os.Getenv("CI") == "" {
		return errors.New("`npm ci` was not run in interop/peer")
	}
	npm := exec.Command("npm", "ci")
	npm.Dir = "peer"
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("running npm ci: %w\n%s", err, out)
	}
	return nil
})

func startPeer(t testing.TB) *peer {
	t.Helper()
	if err := install(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command("node", "driver.js")
	cmd.Dir = "peer"
	p := &peer{lines: make(chan []byte), stderr: &lockedBuffer{}}
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	go p.read(stdout)
	t.Cleanup(func() {
		stdin.Close()
		for range p.lines { // until the process closes its end
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the peer ended with %v\n%s", err, p.stderr)
		}
	})
	return p
}

func (p *peer) read(stdout io.Reader) {
	defer close(p.lines)
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		p.lines <- bytes.Clone(scanner.Bytes())
	}
}

// args are a command's fields; []byte values travel as base64.
type args map[string]any

// peerError is the peer's own refusal of a command.
type peerError struct {
	op, message string
}

func (e *peerError) Error() string {
	return fmt.Sprintf("peer: %s: %s", e.op, e.message)
}

// call sends one command and decodes its result into result, unless that is nil.
func (p *peer) call(op string, a args, result any) error {
	p.lastID++
	command := args{"id": p.lastID, "op": op}
	for key, value := range a {
		command[key] = value
	}
	line, err := json.Marshal(command)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", op, err)
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("sending %s: %w\n%s", op, err, p.stderr)
	}
	var answer struct {
		ID     int
		Error  *string
		Result json.RawMessage
	}
	select {
	case line, ok := <-p.lines:
		if !ok {
			return fmt.Errorf("awaiting the answer to %s: the peer ended\n%s", op, p.stderr)
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("decoding the answer to %s: %w", op, err)
		}
	case <-time.After(callTimeout):
		return fmt.Errorf("awaiting the answer to %s: none in %v\n%s", op, callTimeout, p.stderr)
	}
	if answer.ID != p.lastID {
		return fmt.Errorf("answer %d came for command %d", answer.ID, p.lastID)
	}
	if answer.Error != nil {
		return &peerError{op, *answer.Error}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return fmt.Errorf("decoding the result of %s: %w", op, err)
	}
	return nil
}
