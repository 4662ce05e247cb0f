package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"sealpost/identity"
	"sealpost/seal"
)

// A person is somebody with a profile, in memory.
type person struct {
	certificate identity.Certificate
	device      identity.DevicePrivateKey
	file        seal.Identity
	contacts    map[identity.Username]*person
	closed      int
}

func newPerson(t *testing.T, name identity.Username) *person {
	t.Helper()
	file, err := seal.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	device := identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(identity.GenerateAccountKey(), name, device.Public(), identity.NewDeviceID(), time.Unix(0, 0))
	return &person{certificate: certificate, device: device, file: file, contacts: map[identity.Username]*person{}}
}

var errNoContact = errors.New("no such account")

func (p *person) recipients(_ context.Context, name identity.Username) ([]seal.Recipient, error) {
	other, ok := p.contacts[name]
	if !ok {
		return nil, errNoContact
	}
	return []seal.Recipient{other.file.Recipient()}, nil
}

func (p *person) account(_ context.Context, name identity.Username) (identity.AccountKey, error) {
	other, ok := p.contacts[name]
	if !ok {
		return identity.AccountKey{}, errNoContact
	}
	return other.certificate.AccountKey, nil
}

func (p *person) identity() (seal.Identity, error) { return p.file, nil }
func (p *person) signer() seal.Signer              { return deviceSigner{p} }
func (p *person) Close() error                     { p.closed++; return nil }
func (p *person) open(*files) (fileKeys, error)    { return p, nil }
func (p *person) refuse(*files) (fileKeys, error) {
	return nil, errors.New("the profile is opened without need")
}

type deviceSigner struct{ p *person }

func (s deviceSigner) Certificate() identity.Certificate { return s.p.certificate }
func (s deviceSigner) Sign(message []byte) []byte {
	return s.p.device.Sign(identity.ContextFile, message)
}

// testFiles is the world around a command, without a terminal.
func testFiles(t *testing.T) (f *files, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return newFiles(&environment{ctx: t.Context(), stdin: stdin, stdout: stdout, stderr: stderr}, false), stdout, stderr
}

// TestAttackF9SignedFiles: a file that was swapped for another, or passed on, is
// not taken for the demanded signer's.
func TestAttackF9SignedFiles(t *testing.T) {
	alice, bob, mallory := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "mallory")
	for _, p := range []*person{alice, bob, mallory} {
		p.contacts["alice"], p.contacts["bob"], p.contacts["mallory"] = alice, bob, mallory
	}
	dir := t.TempDir()
	plain := filepath.Join(dir, "plan.txt")
	if err := os.WriteFile(plain, []byte("meet at noon"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(name string, by *person, sign bool, to ...string) string {
		f, _, _ := testFiles(t)
		file := filepath.Join(dir, name)
		if err := (&encryptCommand{To: to, Sign: sign, Input: plain, Output: file}).run(f, by.open); err != nil {
			t.Fatal(err)
		}
		return file
	}
	signed := write("signed.age", bob, true, "@alice")
	byMallory := write("mallory.age", mallory, true, "@alice")
	unsigned := write("unsigned.age", bob, false, "@alice", "@bob")

	// Mallory got a signed file herself, and passes its inside on.
	forMallory := write("for-mallory.age", bob, true, "@mallory")
	inside := ageInside(t, forMallory, mallory.file)
	if err := os.WriteFile(plain, inside, 0o600); err != nil {
		t.Fatal(err)
	}
	passedOn := write("passed-on.age", mallory, false, "@alice")

	for _, test := range []struct {
		name, file, from string
		want             error
		told             bool // who signed, unasked
	}{
		{"signed", signed, "@bob", nil, false},
		{"signed, key given", signed, bob.certificate.AccountKey.String(), nil, false},
		{"signed, nobody demanded", signed, "", nil, true},
		{"unsigned, nobody demanded", unsigned, "", nil, false},
		{"unsigned", unsigned, "@bob", seal.ErrNotSigned, false},
		{"by somebody else", byMallory, "@bob", seal.ErrWrongSigner, false},
		{"passed on", passedOn, "@bob", seal.ErrNotForMe, false},
		{"passed on, nobody demanded", passedOn, "", seal.ErrNotForMe, false},
		{"unknown signer", signed, "@carol", errNoContact, false},
	} {
		f, stdout, stderr := testFiles(t)
		err := (&decryptCommand{From: test.from, Input: test.file}).run(f, alice.open)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if got := stdout.String(); (err == nil && got != "meet at noon") || (err != nil && got != "") {
			t.Errorf("%s: %q came out", test.name, got)
		}
		if told := strings.Contains(stderr.String(), bob.certificate.AccountKey.String()); told != test.told {
			t.Errorf("%s: told %q", test.name, stderr.String())
		}
	}
	if alice.closed != 9 {
		t.Errorf("the profile was opened 9 times and closed %d times", alice.closed)
	}
}

// ageInside is what plain age makes of a file.
func ageInside(t *testing.T, file string, key seal.Identity) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key.Secret()), 0o600); err != nil {
		t.Fatal(err)
	}
	folders, err := agePaths()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(filepath.SplitList(folders)[0], "age"), "-d", "-i", path, file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestProfileStaysClosed: where keys are given on the command line, no profile
// is needed.
func TestProfileStaysClosed(t *testing.T) {
	alice := newPerson(t, "alice")
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key"), filepath.Join(dir, "file")
	if err := os.WriteFile(key, []byte(alice.file.Secret()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _, _ := testFiles(t)
	if err := (&encryptCommand{To: []string{alice.file.Recipient().String()}, Output: file}).run(f, alice.refuse); err != nil {
		t.Error(err)
	}
	from := alice.certificate.AccountKey.String()
	if err := (&decryptCommand{Identity: []string{key}, Input: file, From: from}).run(f, alice.refuse); !errors.Is(err, seal.ErrNotSigned) {
		t.Error(err)
	}
	if err := (&decryptCommand{Identity: []string{key}, Input: file}).run(f, alice.refuse); err != nil {
		t.Error(err)
	}
}

// TestTerminal: a terminal gets no encrypted bytes, and plaintext only harmless.
func TestTerminal(t *testing.T) {
	alice := newPerson(t, "alice")
	screen, tty, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer screen.Close()
	to := []string{alice.file.Recipient().String()}
	f, encrypted, _ := testFiles(t)
	hostile := filepath.Join(t.TempDir(), "hostile")
	if err := os.WriteFile(hostile, []byte("caf\u00e9\n\x1b]52;c;cm0gLXJm\x07\u202etxt.exe\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&encryptCommand{To: to, Input: hostile}).run(f, alice.refuse); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, encrypted.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.stdout = tty
	var refusal *userError
	if err := (&encryptCommand{To: to, Input: hostile}).run(f, alice.refuse); !errors.As(err, &refusal) || refusal.code != "BINARY_TO_TERMINAL" {
		t.Errorf("encrypting to a terminal: %v", err)
	}
	if err := (&decryptCommand{Input: file}).run(f, alice.open); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	shown, err := io.ReadAll(screen)
	if err != nil && !errors.Is(err, unix.EIO) { // how Linux tells that the other side is closed
		t.Fatal(err)
	}
	if got, want := string(shown), "caf\u00e9\r\n\\x1b]52;c;cm0gLXJm\\x07\\u202etxt.exe\r\n"; got != want {
		t.Errorf("the terminal got %q, want %q", got, want)
	}
}

// TestProgress: a large file shows its progress on a terminal, and takes it away
// at the end; nowhere else.
func TestProgress(t *testing.T) {
	alice := newPerson(t, "alice")
	screen, tty, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer screen.Close()
	shown := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(screen) // ends with an error where the other side is closed
		shown <- string(text)
	}()
	large := filepath.Join(t.TempDir(), "large")
	if err := errors.Join(os.WriteFile(large, nil, 0o600), os.Truncate(large, 2*progressSize)); err != nil {
		t.Fatal(err)
	}
	f, _, quiet := testFiles(t)
	command := &encryptCommand{To: []string{alice.file.Recipient().String()}, Input: large, Output: os.DevNull}
	if err := command.run(f, alice.refuse); err != nil || quiet.Len() > 0 {
		t.Errorf("without a terminal: %q, %v", quiet.String(), err)
	}
	f.stderr = tty
	if err := command.run(f, alice.refuse); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	if text := <-shown; !strings.Contains(text, "%") || !strings.HasSuffix(strings.TrimRight(text, " "), "\r") {
		t.Errorf("the terminal got %q", text)
	}
}

// TestInterrupted: Ctrl-C while a pipe gives nothing ends the command and leaves
// no file.
func TestInterrupted(t *testing.T) {
	alice := newPerson(t, "alice")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	f := newFiles(&environment{ctx: ctx, stdin: r, stdout: io.Discard, stderr: io.Discard}, false)
	dir := t.TempDir()
	done := make(chan error, 1)
	go func() {
		done <- (&encryptCommand{To: []string{alice.file.Recipient().String()}, Output: filepath.Join(dir, "file")}).run(f, alice.refuse)
	}()
	if _, err := w.WriteString("a beginning"); err != nil {
		t.Fatal(err)
	}
	interrupt()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPrintableWriter(t *testing.T) {
	text := "a\u00e9\u4e16\U0001f600\r\nb\xff\x1b[2J\r"
	want := "a\u00e9\u4e16\U0001f600\nb\\xff\\x1b[2J\\x0d"
	for size := 1; size <= len(text); size++ {
		var screen strings.Builder
		w := &printableWriter{w: &screen}
		for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
			if _, err := io.WriteString(w, rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if screen.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, screen.String(), want)
		}
	}
}
