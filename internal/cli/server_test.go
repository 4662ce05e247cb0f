package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// startServer runs sealpost server in this process and returns what it printed
// once it listens, and a function that stops it and returns its exit status.
func startServer(t testing.TB, args ...string) (greeting string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- run(&environment{ctx: ctx, stdin: os.Stdin, stdout: writer, stderr: io.Discard}, append([]string{"server"}, args...))
		writer.Close()
	}()
	var b bytes.Buffer
	chunk := make([]byte, 4096)
	for !strings.Contains(b.String(), "connect") {
		n, err := reader.Read(chunk)
		if err != nil {
			t.Fatalf("the server ended: %v: %s", err, &b)
		}
		b.Write(chunk[:n])
	}
	go io.Copy(io.Discard, reader)
	return b.String(), func() int {
		cancel()
		return <-status
	}
}

func TestServerStartsAndStops(t *testing.T) {
	dir := t.TempDir()
	var greetings []string
	for range 2 {
		greeting, stop := startServer(t, "--data", dir, "--listen", "127.0.0.1:0")
		if status := stop(); status != exitOK {
			t.Fatalf("exit status %d", status)
		}
		_, fingerprint, _ := strings.Cut(greeting, "SHA256:")
		greetings = append(greetings, fingerprint[:64])
	}
	if greetings[0] != greetings[1] {
		t.Fatal("the fingerprint changed over a restart")
	}
}

func TestServerErrors(t *testing.T) {
	used := t.TempDir()
	greeting, stop := startServer(t, "--data", used, "--listen", "127.0.0.1:0")
	defer stop()
	_, address, _ := strings.Cut(greeting, "address")
	address = strings.Fields(address)[0]
	file := filepath.Join(t.TempDir(), "file")
	corrupt := t.TempDir()
	for _, path := range []string{file, filepath.Join(corrupt, "relay.db")} {
		if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"port in use":    {[]string{"--data", t.TempDir(), "--listen", address}, "the port is in use"},
		"data in use":    {[]string{"--data", used, "--listen", "127.0.0.1:0"}, "opening " + used + ": the data directory is in use by another server"},
		"data is a file": {[]string{"--data", file, "--listen", "127.0.0.1:0"}, "hint: name a directory"},
		"corrupt":        {[]string{"--data", corrupt, "--listen", "127.0.0.1:0"}, "damaged"},
		"no port":        {[]string{"--data", t.TempDir(), "--listen", "127.0.0.1"}, "HOST:PORT"},
		"not ours":       {[]string{"--data", t.TempDir(), "--listen", "192.0.2.1:7443"}, "this machine does not have that address"},
		"metrics":        {[]string{"--data", t.TempDir(), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1"}, "--metrics takes HOST:PORT, such as 127.0.0.1:9090"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			status := run(&environment{ctx: t.Context(), stdin: os.Stdin, stdout: io.Discard, stderr: &stderr}, append([]string{"server"}, test.args...))
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if status != exitFailure || !strings.Contains(stderr.String(), test.want) || len(lines) != 2 ||
				!strings.HasPrefix(lines[0], "sealpost: error: ") || !strings.HasPrefix(lines[1], "sealpost: hint: ") {
				t.Fatalf("status %d and %q, want one error with %q and one hint", status, &stderr, test.want)
			}
		})
	}
}

// BenchmarkServerStart measures from the command to a connection, with the
// certificate to be made at the first start and kept at the next.
func BenchmarkServerStart(b *testing.B) {
	for name, first := range map[string]bool{"first": true, "again": false} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			_, stop := startServer(b, "--data", dir, "--listen", "127.0.0.1:0")
			stop()
			for b.Loop() {
				if first {
					b.StopTimer()
					dir = filepath.Join(b.TempDir(), "data")
					b.StartTimer()
				}
				greeting, stop := startServer(b, "--data", dir, "--listen", "127.0.0.1:0")
				_, address, _ := strings.Cut(greeting, "address")
				conn, err := net.DialTimeout("tcp", strings.Fields(address)[0], time.Second)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				conn.Close()
				stop()
				b.StartTimer()
			}
		})
	}
}

// TestEverySettingIsExplained looks for the flags in the documentation.
func TestEverySettingIsExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	if status := run(&environment{ctx: t.Context(), stdin: os.Stdin, stdout: &help, stderr: io.Discard}, []string{"server", "--help"}); status != exitOK {
		t.Fatalf("exit status %d", status)
	}
	flags := regexp.MustCompile(`(?m)^ +--([a-z-]+)`).FindAllStringSubmatch(help.String(), -1)
	if len(flags) < 20 {
		t.Fatalf("only the flags %v", flags)
	}
	for _, flag := range flags {
		if !strings.HasPrefix(flag[1], "limit-") && !bytes.Contains(text, []byte("`--"+flag[1])) && !bytes.Contains(text, []byte("--"+flag[1]+"`")) {
			t.Errorf("docs/operations.md does not explain --%s", flag[1])
		}
	}
}
