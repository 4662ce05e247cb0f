package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

func TestIdentityFile(t *testing.T) {
	i := newIdentity(t)
	created := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, passphrase := range []string{"", "correct horse"} {
		var file bytes.Buffer
		if err := WriteIdentity(&file, i, created, []byte(passphrase)); err != nil {
			t.Fatal(err)
		}
		if hidden := !strings.Contains(file.String(), i.Secret()); hidden != (passphrase != "") {
			t.Errorf("passphrase %q: the secret is hidden: %v", passphrase, hidden)
		}
		asked := 0
		got, err := ReadIdentities(&file, func() ([]byte, error) { asked++; return []byte(passphrase), nil })
		if err != nil || len(got) != 1 || got[0].Secret() != i.Secret() || got[0].Recipient().String() != i.Recipient().String() {
			t.Errorf("passphrase %q: %d identities, %v", passphrase, len(got), err)
		}
		if want := len(passphrase) > 0; (asked == 1) != want {
			t.Errorf("passphrase %q: asked %d times", passphrase, asked)
		}
	}
}

func TestIdentityFileRefused(t *testing.T) {
	i := newIdentity(t)
	protected := protect(t, i.Secret(), "correct horse")
	cancelled := errors.New("somebody pressed Ctrl-C")
	answer := func(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }
	tests := []struct {
		name string
		file []byte
		ask  func() ([]byte, error)
		want error
	}{
		{"wrong passphrase", protected, answer("wrong"), ErrWrongPassphrase},
		{"empty passphrase", protected, answer(""), ErrWrongPassphrase},
		{"no answer", protected, func() ([]byte, error) { return nil, cancelled }, cancelled},
		{"cut", protected[:len(protected)/2], answer("correct horse"), ErrTruncated},
		{"encrypted to a key", encrypt(t, []byte(i.Secret()), Options{}, i), noPassphrase, ErrIdentity},
		{"changed", changed(protected, 250), answer("correct horse"), ErrIdentity},
	}
	for _, test := range tests {
		if _, err := ReadIdentities(bytes.NewReader(test.file), test.ask); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// protect encrypts to a passphrase that is cheap to check.
func protect(t *testing.T, text, passphrase string) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(8)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func changed(file []byte, at int) []byte {
	c := slices.Clone(file)
	c[at] = 'A' + (c[at]-'A'+1)%26
	return c
}

func TestSeveralIdentities(t *testing.T) {
	a, b := newIdentity(t), newX25519Identity(t)
	file := "# mine\r\n" + a.Secret() + "\r\n\r\n" + b.Secret()
	got, err := ReadIdentities(strings.NewReader(file), noPassphrase)
	if err != nil || len(got) != 2 || got[0].Secret() != a.Secret() || got[1].Secret() != b.Secret() {
		t.Errorf("%d identities, %v", len(got), err)
	}
	if !a.Recipient().PostQuantum() || b.Recipient().PostQuantum() {
		t.Error("which recipient is post-quantum")
	}
}

func TestIdentityDoesNotPrint(t *testing.T) {
	i := newIdentity(t)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "identity", i)
	for _, text := range []string{i.String(), fmt.Sprintf("%v %+v %#v %s %x", i, i, i, i, i), fmt.Sprint([]Identity{i}), log.String()} {
		if strings.Contains(text, "AGE-SECRET") || strings.Contains(text, "4147452d") {
			t.Errorf("a private key was printed")
		}
	}
}
