package seal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	// maxIdentityFile bounds an identity file, in bytes.
	maxIdentityFile = 1 << 20
	// maxScryptWork bounds what opening a protected identity file may cost:
	// 2^20 is 1 GiB of memory and some seconds. age writes 2^18.
	maxScryptWork = 20
	redacted      = "[private key]"
)

// An Identity is a private key that opens files. It prints as a placeholder.
type Identity struct {
	secret    string
	key       age.Identity
	recipient Recipient
}

// GenerateIdentity makes a new hybrid (post-quantum) key from the system's
// randomness.
func GenerateIdentity() (Identity, error) {
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		return Identity{}, fmt.Errorf("generating a key: %w", err)
	}
	return hybridIdentity(key), nil
}

// ParseIdentity reads a private key: "AGE-SECRET-KEY-PQ-1..." (hybrid) or
// "AGE-SECRET-KEY-1..." (X25519). The error wraps [ErrIdentity] and does not
// repeat s.
func ParseIdentity(s string) (Identity, error) {
	switch {
	case strings.HasPrefix(s, "AGE-SECRET-KEY-PQ-1"):
		if key, err := age.ParseHybridIdentity(s); err == nil {
			return hybridIdentity(key), nil
		}
		return Identity{}, fmt.Errorf("%w: a mistyped private key", ErrIdentity)
	case strings.HasPrefix(s, "AGE-SECRET-KEY-1"):
		if key, err := age.ParseX25519Identity(s); err == nil {
			return Identity{key.String(), key, Recipient{key.Recipient().String(), key.Recipient()}}, nil
		}
		return Identity{}, fmt.Errorf("%w: a mistyped private key", ErrIdentity)
	case strings.HasPrefix(s, "AGE-PLUGIN-"):
		return Identity{}, fmt.Errorf("%w: it belongs to a plugin, and plugins are never started", ErrIdentity)
	case strings.HasPrefix(s, "-----BEGIN"), strings.HasPrefix(s, "ssh-"):
		return Identity{}, fmt.Errorf("%w: SSH keys are not taken", ErrIdentity)
	case strings.HasPrefix(s, "age1"):
		return Identity{}, fmt.Errorf("%w: it holds a public key", ErrIdentity)
	}
	return Identity{}, fmt.Errorf(`%w: a private key begins with "AGE-SECRET-KEY-"`, ErrIdentity)
}

func hybridIdentity(key *age.HybridIdentity) Identity {
	return Identity{key.String(), key, Recipient{key.Recipient().String(), key.Recipient()}}
}

// Recipient returns the public half.
func (i Identity) Recipient() Recipient { return i.recipient }

// Secret returns the private key as text, for a store that keeps it.
func (i Identity) Secret() string { return i.secret }

// String returns a placeholder.
func (i Identity) String() string { return redacted }

// Format prints a placeholder for every verb.
func (i Identity) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue logs a placeholder.
func (i Identity) LogValue() slog.Value { return slog.StringValue(redacted) }

// WriteIdentity writes an identity file as age-keygen does. With a passphrase
// the file is encrypted to it (scrypt) and armored, as age -p does.
func WriteIdentity(w io.Writer, i Identity, created time.Time, passphrase []byte) error {
	text := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", created.Format(time.RFC3339), i.recipient, i.secret)
	if len(passphrase) == 0 {
		_, err := io.WriteString(w, text)
		return err
	}
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return fmt.Errorf("preparing the passphrase: %w", err)
	}
	armored := armor.NewWriter(w)
	encrypted, err := age.Encrypt(armored, recipient)
	if err != nil {
		return fmt.Errorf("encrypting the identity file: %w", err)
	}
	if _, err := io.WriteString(encrypted, text); err != nil {
		return err
	}
	return errors.Join(encrypted.Close(), armored.Close())
}

// ReadIdentities reads an identity file: private keys, one a line, with empty
// lines and comments (#) between. If the file is encrypted to a passphrase,
// it asks for it, once. The error wraps [ErrIdentity], [ErrWrongPassphrase], or
// is one of reading or asking.
func ReadIdentities(r io.Reader, ask func() ([]byte, error)) ([]Identity, error) {
	content, err := readIdentityFile(r)
	if err != nil {
		return nil, err
	}
	if sniff(content) != formatOther {
		if content, err = openIdentityFile(content, ask); err != nil {
			return nil, err
		}
	}
	return parseIdentities(content)
}

func readIdentityFile(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxIdentityFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the identity file: %w", err)
	}
	if len(content) > maxIdentityFile {
		return nil, fmt.Errorf("%w: it is larger than 1 MiB", ErrIdentity)
	}
	return content, nil
}

func openIdentityFile(content []byte, ask func() ([]byte, error)) ([]byte, error) {
	src := newSource(bytes.NewReader(content))
	file := src.dearmored()
	plain, err := age.Decrypt(file, &askedPassphrase{ask})
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch):
		return nil, fmt.Errorf("%w: it is encrypted, but not to a passphrase", ErrIdentity)
	case errors.Is(err, errAsking), errors.Is(err, ErrWrongPassphrase):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrIdentity, src.explainHeader(err))
	}
	inside, err := readIdentityFile(plain)
	if err != nil && !errors.Is(err, ErrIdentity) {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, src.explain(err))
	}
	return inside, err
}

func parseIdentities(content []byte) ([]Identity, error) {
	var identities []Identity
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		i, err := ParseIdentity(line)
		if err != nil {
			return nil, fmt.Errorf("reading line %d: %w", n, err)
		}
		identities = append(identities, i)
	}
	if lines.Err() != nil {
		return nil, fmt.Errorf("%w: a line is too long", ErrIdentity)
	}
	if len(identities) == 0 {
		return nil, fmt.Errorf("%w: it holds no private key", ErrIdentity)
	}
	return identities, nil
}

// askedPassphrase asks for the passphrase only when a file is encrypted to one.
type askedPassphrase struct{ ask func() ([]byte, error) }

var errAsking = errors.New("asking for the passphrase")

func (a *askedPassphrase) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, age.ErrIncorrectIdentity
	}
	passphrase, err := a.ask()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAsking, err)
	}
	key, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, ErrWrongPassphrase // an empty one
	}
	key.SetMaxWorkFactor(maxScryptWork)
	fileKey, err := key.Unwrap(stanzas)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrWrongPassphrase
	}
	return fileKey, err
}
