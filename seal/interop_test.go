package seal

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
)

// tool returns the path of a Go tool of this module, built once.
func tool(t *testing.T, name string) string {
	t.Helper()
	find, _ := tools.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		out, err := exec.Command("go", "tool", "-n", name).Output()
		return strings.TrimSpace(string(out)), err
	}))
	path, err := find.(func() (string, error))()
	if err != nil {
		t.Fatalf("building %s: %v", name, err)
	}
	return path
}

var tools sync.Map // name → func() (path string, err error)

func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, stderr.String())
	}
	return out
}

// TestInteropAge: what the age command encrypts we open, and the reverse, with
// the keys of both.
func TestInteropAge(t *testing.T) {
	dir := t.TempDir()
	plaintext := bytes.Repeat([]byte("from one to the other\n"), 10_000)
	for name, identityFile := range map[string][]byte{
		"X25519":     run(t, nil, "age-keygen"),
		"hybrid":     run(t, nil, "age-keygen", "-pq"),
		"our hybrid": []byte(newIdentity(t).Secret() + "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, identityFile, 0o600); err != nil {
				t.Fatal(err)
			}
			identities, err := ReadIdentities(bytes.NewReader(identityFile), noPassphrase)
			if err != nil {
				t.Fatal(err)
			}
			recipient := strings.TrimSpace(string(run(t, identityFile, "age-keygen", "-y")))
			if got := identities[0].Recipient().String(); got != recipient {
				t.Fatalf("the recipient is %.20s..., age says %.20s...", got, recipient)
			}
			for _, flag := range []string{"--encrypt", "--armor"} {
				got, err := decrypt(run(t, plaintext, "age", flag, "-r", recipient), identities...)
				if err != nil || !bytes.Equal(got, plaintext) {
					t.Errorf("opening what age %s made: %d bytes, %v", flag, len(got), err)
				}
				file := encrypt(t, plaintext, Options{Armor: flag == "--armor"}, identities[0])
				if got := run(t, file, "age", "-d", "-i", path); !bytes.Equal(got, plaintext) {
					t.Errorf("age opens %d bytes of ours", len(got))
				}
			}
		})
	}
}

// TestInteropSigned: age opens a signed file, and shows the layer with the
// plaintext in it.
func TestInteropSigned(t *testing.T) {
	i := newIdentity(t)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(i.Secret()), 0o600); err != nil {
		t.Fatal(err)
	}
	plaintext := []byte("signed by Carol")
	got := run(t, encrypt(t, plaintext, Options{Signer: newTestSigner("carol")}, i), "age", "-d", "-i", path)
	if !bytes.HasPrefix(got, []byte(signedMagic)) || !bytes.Contains(got, plaintext) {
		t.Errorf("age shows %q", got)
	}
	r, err := NewVerifyReader(bytes.NewReader(got), i.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if inside, err := io.ReadAll(r); err != nil || !bytes.Equal(inside, plaintext) {
		t.Errorf("%q, %v", inside, err)
	}
}

// TestAgeLimit: a file for as many recipients as we take is one that age opens.
func TestAgeLimit(t *testing.T) {
	recipients := make([]Recipient, MaxRecipients)
	for n := range recipients {
		recipients[n] = newX25519Identity(t).Recipient()
	}
	last := newX25519Identity(t)
	recipients[MaxRecipients-1] = last.Recipient()
	var file bytes.Buffer
	w, err := NewWriter(&file, recipients, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := age.Decrypt(&file, last.key); err != nil {
		t.Error(err)
	}
}
