//go:build linux

package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// pipe returns a file that gives text and ends.
func pipe(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	go func() {
		io.WriteString(w, text)
		w.Close()
	}()
	return r
}

func TestConsoleFromAPipe(t *testing.T) {
	var out bytes.Buffer
	c := NewConsole(pipe(t, "alice\nsecret words\r\n"+strings.Repeat("x", MaxLine+1)+"\nlast line"), &out)
	if got, err := c.Ask(t.Context(), "Name: "); got != "alice" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := c.AskSecret(t.Context(), "Passphrase: "); string(got) != "secret words" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Ask(t.Context(), ""); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("a line too long gave %v", err)
	}
	lines, err := c.Lines(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	if in := <-lines.Inputs(); in.Text != "last line" || in.Err != nil {
		t.Errorf("got %v", in)
	}
	if in := <-lines.Inputs(); !errors.Is(in.Err, io.EOF) {
		t.Errorf("got %v", in)
	}
	if lines.Interactive() {
		t.Error("a pipe is no person")
	}
	if got := out.String(); got != "Name: Passphrase: \n" {
		t.Errorf("the console wrote %q", got)
	}
}

func TestConsoleStops(t *testing.T) {
	r, w, err := os.Pipe() // nobody ever writes
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewConsole(r, io.Discard).Ask(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// newTerminal returns both ends of a pseudo-terminal of this width: the
// keyboard and screen, and what a program sees.
func newTerminal(t *testing.T, columns uint16) (keyboard, file *os.File) {
	t.Helper()
	keyboard, file, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { keyboard.Close(); file.Close() })
	if err := pty.Setsize(keyboard, &pty.Winsize{Cols: columns, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	return keyboard, file
}

// readUntil reads from the screen until it showed mark.
func readUntil(t *testing.T, screen *os.File, mark string) string {
	t.Helper()
	var shown []byte
	b := make([]byte, 1024)
	for !bytes.Contains(shown, []byte(mark)) {
		n, err := screen.Read(b)
		if err != nil {
			t.Fatalf("waiting for %q after %q: %v", mark, shown, err)
		}
		shown = append(shown, b[:n]...)
	}
	return string(shown)
}

func TestAttackF3PassphraseIsNotEchoed(t *testing.T) {
	keyboard, file := newTerminal(t, 80)
	var got []byte
	done := make(chan error, 1)
	c := NewConsole(file, file)
	go func() {
		var err error
		got, err = c.AskSecret(t.Context(), "Passphrase: ")
		io.WriteString(file, "the end")
		done <- err
	}()
	shown := readUntil(t, keyboard, "Passphrase: ")
	waitForEcho(t, file, false)
	io.WriteString(keyboard, "open sesame\n")
	shown += readUntil(t, keyboard, "the end")
	if err := <-done; err != nil || string(got) != "open sesame" {
		t.Errorf("got %q, %v", got, err)
	}
	if strings.Contains(shown, "sesame") {
		t.Errorf("the screen shows %q", shown)
	}
}

func TestLinesOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	keyboard, file := newTerminal(t, 20)
	before, err := term.GetState(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := NewConsole(file, file).Lines(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newScreen(20)
	s.Write([]byte(strings.Replace(readUntil(t, keyboard, bracketedPasteOn), bracketedPasteOn, "", 1)))
	lines.SetPrompt("bob> ")
	io.WriteString(keyboard, "half a wo")
	s.Write([]byte(readUntil(t, keyboard, "half a wo")))
	lines.Print("12:00 alice: a message that comes in between", 6)
	s.Write([]byte(readUntil(t, keyboard, "half a wo")))
	io.WriteString(keyboard, "rd\r")
	if in := <-lines.Inputs(); in.Text != "half a word" || in.Err != nil {
		t.Errorf("got %v", in)
	}
	lines.Close()
	s.Write([]byte(strings.Replace(readUntil(t, keyboard, bracketedPasteOff), bracketedPasteOff, "", 1)))
	want := []string{"12:00 alice: a", "      message that", "      comes in", "      between", ""}
	if got := s.text(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
	if len(s.bad) > 0 {
		t.Errorf("%q reached the screen", s.bad)
	}
	if after, err := term.GetState(int(file.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v", err)
	}
	keyboard.Close() // nobody is at the terminal any more
	if in := <-lines.Inputs(); in.Err == nil {
		t.Errorf("got %v", in)
	}
}
