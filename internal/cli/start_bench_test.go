package cli

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// BenchmarkStart measures from the start of the program to the first question
// of the first run, and to the chat of a profile without a passphrase.
func BenchmarkStart(b *testing.B) {
	home := b.TempDir()
	program := home + "/sealpost"
	if out, err := exec.Command("go", "build", "-o", program, "sealpost").CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	env := append(os.Environ(), "XDG_DATA_HOME="+home+"/data", "DBUS_SESSION_BUS_ADDRESS=unix:path="+home+"/no-bus")
	server, address := startServer(b, env, program, home+"/relay")
	defer server.Process.Kill()
	setUp := exec.Command(program, "client")
	setUp.Env, setUp.Stdin = env, strings.NewReader("alice\n"+address+"\nyes\n\n")
	if out, err := setUp.CombinedOutput(); err != nil {
		b.Fatalf("setting up: %v\n%s", err, out)
	}
	b.Run("question", func(b *testing.B) {
		for b.Loop() {
			runUntil(b, env, "Your name: ", program, "client", "--profile", "nobody")
		}
	})
	b.Run("chat", func(b *testing.B) {
		for b.Loop() {
			runUntil(b, env, "You are alice", program, "client")
		}
	})
}

// startServer runs a relay on a free port until it says its address.
func startServer(b *testing.B, env []string, program, dir string) (*exec.Cmd, string) {
	b.Helper()
	server := exec.Command(program, "server", "--listen", "127.0.0.1:0", "--data", dir)
	server.Env = env
	r, w := io.Pipe()
	server.Stdout, server.Stderr = w, w
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), "127.0.0.1:"); ok {
			go io.Copy(io.Discard, r)
			port := strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })[0]
			return server, "127.0.0.1:" + port
		}
	}
	b.Fatal("the server said no address")
	return nil, ""
}

// runUntil runs a program until its output has mark, and kills it.
func runUntil(b *testing.B, env []string, mark string, program string, args ...string) {
	b.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = env
	input, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	defer input.Close()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	w.Close()
	var shown []byte
	part := make([]byte, 1024)
	for !bytes.Contains(shown, []byte(mark)) {
		n, err := r.Read(part)
		if err != nil {
			b.Fatalf("waiting for %q after %q: %v", mark, shown, err)
		}
		shown = append(shown, part[:n]...)
	}
	cmd.Process.Kill()
	cmd.Wait()
}
