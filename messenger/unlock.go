package messenger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/zalando/go-keyring"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// A ProtectionKind says what keeps the database key of a profile.
type ProtectionKind string

// The kinds of protection.
const (
	// ProtectionPassphrase: the key is encrypted under a passphrase (Argon2id).
	ProtectionPassphrase ProtectionKind = "passphrase"
	// ProtectionKeyring: the key is in the operating system's keyring.
	ProtectionKeyring ProtectionKind = "keyring"
	// ProtectionKeyFile: the key is in a file beside the database that only its
	// owner may read. Who gets the directory can read the messages.
	ProtectionKeyFile ProtectionKind = "keyfile"
)

// An Unlocker protects the random key of a profile's database when the profile
// is made, and gives it back when it is opened. [Passphrase], [Keyring] and
// [KeyFile] make one.
type Unlocker interface {
	// Kind says which protection it is.
	Kind() ProtectionKind
	// protect keeps key for the profile in dir and returns what must be written
	// down to find it again, which is no secret.
	protect(dir string, key []byte) (protection, error)
	// unprotect returns the key.
	unprotect(dir string, p protection) ([]byte, error)
	// forget removes what protect kept outside the protection.
	forget(dir string, p protection)
}

// protection is what a profile's protection file says, in JSON.
type protection struct {
	Version  int            `json:"version"`
	Kind     ProtectionKind `json:"kind"`
	Argon2id *argon2id      `json:"argon2id,omitempty"`
	Wrapped  []byte         `json:"wrapped,omitempty"` // nonce, then XChaCha20-Poly1305 of the database key
	Entry    string         `json:"entry,omitempty"`   // in the keyring
}

const (
	protectionVersion = 1
	databaseKeySize   = 32
	wrapContext       = "sealpost profile key v1"
)

// argon2id holds the parameters that a passphrase was hashed with.
type argon2id struct {
	Salt    []byte `json:"salt"`
	Time    uint32 `json:"time"`
	Memory  uint32 `json:"memory_kib"`
	Threads uint8  `json:"threads"`
}

// The cost of a guess, after RFC 9106, section 4, second recommended option.
const (
	argonTime    = 3
	argonMemory  = 64 << 10
	argonThreads = 4
	argonSalt    = 16

	maxArgonTime   = 64
	maxArgonMemory = 4 << 20 // a damaged file must not take all memory
)

func (a argon2id) valid() bool {
	return len(a.Salt) >= argonSalt && len(a.Salt) <= 64 && a.Time >= 1 && a.Time <= maxArgonTime &&
		a.Memory >= 8 && a.Memory <= maxArgonMemory && a.Threads >= 1
}

func (a argon2id) key(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, a.Salt, a.Time, a.Memory, a.Threads, chacha20poly1305.KeySize)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b
}

type passphraseUnlocker struct {
	passphrase []byte
	cost       argon2id // of the next time that it protects; the salt is chosen then
}

// Passphrase protects with a passphrase.
func Passphrase(passphrase []byte) Unlocker {
	return passphraseUnlocker{append([]byte(nil), passphrase...), argon2id{Time: argonTime, Memory: argonMemory, Threads: argonThreads}}
}

// Kind implements Unlocker.
func (u passphraseUnlocker) Kind() ProtectionKind { return ProtectionPassphrase }

func (u passphraseUnlocker) protect(_ string, key []byte) (protection, error) {
	if len(u.passphrase) == 0 {
		return protection{}, errors.New("a passphrase must not be empty")
	}
	cost := u.cost
	cost.Salt = randomBytes(argonSalt)
	aead, err := chacha20poly1305.NewX(cost.key(u.passphrase))
	if err != nil {
		return protection{}, fmt.Errorf("wrapping the database key: %w", err)
	}
	nonce := randomBytes(aead.NonceSize())
	return protection{Argon2id: &cost, Wrapped: aead.Seal(nonce, nonce, key, []byte(wrapContext))}, nil
}

func (u passphraseUnlocker) unprotect(_ string, p protection) ([]byte, error) {
	if p.Argon2id == nil || !p.Argon2id.valid() || len(p.Wrapped) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("reading how the passphrase was hashed: %w", ErrDamaged)
	}
	aead, err := chacha20poly1305.NewX(p.Argon2id.key(u.passphrase))
	if err != nil {
		return nil, fmt.Errorf("unwrapping the database key: %w", err)
	}
	nonce, wrapped := p.Wrapped[:aead.NonceSize()], p.Wrapped[aead.NonceSize():]
	key, err := aead.Open(nil, nonce, wrapped, []byte(wrapContext))
	if err != nil {
		return nil, ErrWrongPassphrase
	}
	return key, nil
}

func (u passphraseUnlocker) forget(string, protection) {}

const keyringService = "sealpost"

type keyringUnlocker struct{}

// Keyring protects with the operating system's keyring.
func Keyring() Unlocker { return keyringUnlocker{} }

// KeyringAvailable tells whether the operating system's keyring can be used.
func KeyringAvailable() bool {
	// A keyring that runs answers that it does not have what nobody put there.
	_, err := keyring.Get(keyringService, "probe")
	return err == nil || errors.Is(err, keyring.ErrNotFound)
}

// Kind implements Unlocker.
func (keyringUnlocker) Kind() ProtectionKind { return ProtectionKeyring }

func (keyringUnlocker) protect(_ string, key []byte) (protection, error) {
	entry := "profile " + hex.EncodeToString(randomBytes(16))
	if err := keyring.Set(keyringService, entry, hex.EncodeToString(key)); err != nil {
		return protection{}, fmt.Errorf("%w: %w", ErrKeyring, err)
	}
	return protection{Entry: entry}, nil
}

func (keyringUnlocker) unprotect(_ string, p protection) ([]byte, error) {
	digits, err := keyring.Get(keyringService, p.Entry)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyring, err)
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%w: the entry is no key", ErrKeyring)
	}
	return key, nil
}

func (keyringUnlocker) forget(_ string, p protection) {
	_ = keyring.Delete(keyringService, p.Entry) // a key that opens nothing any more
}

const keyFileName = "database.key"

type keyFileUnlocker struct{}

// KeyFile protects with a file of mode 0600 in the profile's directory.
func KeyFile() Unlocker { return keyFileUnlocker{} }

// Kind implements Unlocker.
func (keyFileUnlocker) Kind() ProtectionKind { return ProtectionKeyFile }

func (keyFileUnlocker) protect(dir string, key []byte) (protection, error) {
	if err := writeFile(filepath.Join(dir, keyFileName), []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return protection{}, fmt.Errorf("writing the key file: %w", err)
	}
	return protection{}, nil
}

func (keyFileUnlocker) unprotect(dir string, _ protection) ([]byte, error) {
	path := filepath.Join(dir, keyFileName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrKeyFile, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: others may read it; chmod 600 %s", ErrKeyFile, path)
	}
	const digits = 2 * databaseKeySize
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if len(text) != digits+1 {
		return nil, fmt.Errorf("%w: %s does not hold a key", ErrKeyFile, path)
	}
	key, err := hex.DecodeString(string(text[:digits]))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not hold a key", ErrKeyFile, path)
	}
	return key, nil
}

func (keyFileUnlocker) forget(dir string, _ protection) {
	_ = os.Remove(filepath.Join(dir, keyFileName)) // a key that opens nothing any more
}
