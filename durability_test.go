package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var killRounds = flag.Int("kill-rounds", 12, "how often the relay is killed in TestNothingIsLostWhenTheRelayIsKilled")

// Alice writes while Bob is off line, the relay is killed with -9 in the middle
// of it and started again, many times over. Then Bob reads everything once, in
// order. All with the real program.
func TestNothingIsLostWhenTheRelayIsKilled(t *testing.T) {
	p := buildProgram(t)
	relay := p.startRelay()
	p.register("alice")
	p.register("bob")
	p.accept("bob", "alice")

	var written []string
	for round := range *killRounds {
		killed := make(chan struct{})
		delay := time.Duration(rand.IntN(400)) * time.Millisecond
		go func() {
			defer close(killed)
			<-time.After(delay)
			_ = relay.Process.Kill() // SIGKILL; Wait below tells how it ended
		}()
		for i := range 3 {
			text := fmt.Sprintf("round %d, message %d", round, i)
			if p.send("alice", "bob", text) {
				written = append(written, text)
			}
		}
		<-killed
		_ = relay.Wait()
		relay = p.startRelay()
	}
	if !p.send("alice", "bob", "the end") {
		t.Fatal("the relay is up and the message was not taken")
	}
	written = append(written, "the end")

	if got := p.readAll("bob", len(written)); !slices.Equal(got, written) {
		t.Errorf("Bob reads %d texts, want %d:\n got %q\nwant %q", len(got), len(written), got, written)
	}
	if len(written) < *killRounds {
		t.Errorf("only %d texts were written in %d rounds: the relay was never up", len(written), *killRounds)
	}
	p.wantNothingReadable("round 0", "the end")
}

// A program is the real binary, with folders of its own.
type program struct {
	t      *testing.T
	path   string
	home   string
	listen string
}

func buildProgram(t *testing.T) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{t: t, path: filepath.Join(dir, "sealpost"), home: dir, listen: freeAddress(t)}
	if out, err := exec.Command("go", "build", "-o", p.path, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Env = append(os.Environ(), "HOME="+p.home, "XDG_DATA_HOME="+filepath.Join(p.home, "data"),
		"DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(p.home, "none")) // no keyring
	return cmd
}

func (p *program) relayDir() string { return filepath.Join(p.home, "relay") }

// startRelay starts the relay and waits until it takes connections.
func (p *program) startRelay() *exec.Cmd {
	p.t.Helper()
	cmd := p.command("server", "--listen", p.listen, "--data", p.relayDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", p.listen)
		if err == nil {
			conn.Close()
			return cmd
		}
		<-time.After(10 * time.Millisecond)
	}
	p.t.Fatalf("the relay did not come up: %s", stderr.String())
	return nil
}

// register answers the questions of the first run.
func (p *program) register(name string) {
	p.t.Helper()
	cmd := p.command("client", "--profile", name)
	cmd.Stdin = strings.NewReader(name + "\n" + p.listen + "\nyes\n\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("registering %s: %v\n%s", name, err, out)
	}
}

// accept lets somebody write to a profile.
func (p *program) accept(profile, name string) {
	p.t.Helper()
	if out, err := p.command("accept", "--profile", profile, name).CombinedOutput(); err != nil {
		p.t.Fatalf("accepting %s: %v\n%s", name, err, out)
	}
}

// send sends one message and tells whether the client has taken it into its
// outbox. That the relay is down at the moment is part of the game.
func (p *program) send(from, to, text string) bool {
	p.t.Helper()
	cmd := p.command("send", "--profile", from, "--json", "--timeout", "3s", to, text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var outcome struct {
		ID   string `json:"id"`
		Code string `json:"code"`
	}
	if jsonErr := json.Unmarshal(out, &outcome); jsonErr != nil {
		p.t.Fatalf("sending %q: %v, %v\n%s%s", text, err, jsonErr, out, stderr.String())
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 4) {
		p.t.Fatalf("sending %q: %v\n%s", text, err, stderr.String())
	}
	return outcome.ID != ""
}

// readAll reads the inbox until n texts have come, and once more to see that
// no other follows.
func (p *program) readAll(profile string, n int) []string {
	p.t.Helper()
	var texts []string
	for range 20 {
		got := p.inbox(profile)
		if len(texts) >= n && len(got) == 0 {
			break
		}
		texts = append(texts, got...)
	}
	return texts
}

func (p *program) inbox(profile string) []string {
	p.t.Helper()
	cmd := p.command("inbox", "--profile", profile, "--json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("reading the inbox: %v\n%s", err, stderr.String())
	}
	var texts []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var line struct{ Kind, Text string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			p.t.Fatalf("line %q: %v", lines.Text(), err)
		}
		if line.Kind != "text" {
			p.t.Errorf("the inbox shows a notice: %s", lines.Text())
		}
		texts = append(texts, line.Text)
	}
	return texts
}

// wantNothingReadable looks into every file of the relay for what was said.
func (p *program) wantNothingReadable(texts ...string) {
	p.t.Helper()
	files := 0
	err := filepath.WalkDir(p.relayDir(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, text := range texts {
			if bytes.Contains(content, []byte(text)) {
				p.t.Errorf("%s holds %q", path, text)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		p.t.Errorf("searched %d files of the relay: %v", files, err)
	}
}
