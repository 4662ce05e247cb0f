package cli

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sealpost/messenger"
)

// TestServiceManager starts the real program as systemd does: with the socket
// open already, and an ear for what the server says of itself.
func TestServiceManager(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "sealpost") // by which TestMain knows what to run
	if err := os.Symlink(program, name); err != nil {
		t.Fatal(err)
	}
	// The shell has the process id that the program will have.
	server := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" server --data "$1" --listen 127.0.0.1:1`, name, filepath.Join(dir, "data"))
	server.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	server.ExtraFiles = []*os.File{socket} // its file 3
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Process.Kill()
	if state := hear(t, notified); state != "READY=1" {
		t.Fatalf("the server says %q", state)
	}
	if _, err := messenger.IdentifyServer(t.Context(), nil, listener.Addr().String()); err != nil {
		t.Error(err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state := hear(t, notified); state != "STOPPING=1" {
		t.Errorf("the server says %q", state)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

func hear(t *testing.T, notified *net.UnixConn) string {
	t.Helper()
	if err := notified.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1024)
	n, err := notified.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}
