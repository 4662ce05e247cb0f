package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"filippo.io/edwards25519"
)

// Errors of this file.
var (
	// ErrKey reports bytes or text that are no acceptable public key.
	ErrKey = errors.New("malformed public key")
	// ErrSignature reports a signature that does not verify.
	ErrSignature = errors.New("signature does not verify")
)

const (
	accountKeyPrefix = "account:"
	deviceKeyPrefix  = "device:"
	deviceIDPrefix   = "id:"
	redacted         = "[private key]"
)

// An AccountKey is the Ed25519 public key of an account. Its text form is
// "account:" and 64 hexadecimal digits.
type AccountKey [ed25519.PublicKeySize]byte

// A DeviceKey is the Ed25519 public key of a device. Its text form is "device:"
// and 64 hexadecimal digits.
type DeviceKey [ed25519.PublicKeySize]byte

// A DeviceID names a device: 16 random bytes. Its text form is "id:" and 32
// hexadecimal digits, so that no id can be read as a key or the reverse.
type DeviceID [16]byte

// ParseAccountKey reads the text form of an account key.
func ParseAccountKey(s string) (AccountKey, error) {
	b, err := parsePrefixed(s, accountKeyPrefix, ed25519.PublicKeySize)
	if err != nil {
		return AccountKey{}, err
	}
	return accountKeyFromBytes(b)
}

// ParseDeviceID reads the text form of a device id.
func ParseDeviceID(s string) (DeviceID, error) {
	b, err := parsePrefixed(s, deviceIDPrefix, len(DeviceID{}))
	if err != nil {
		return DeviceID{}, err
	}
	return DeviceID(b), nil
}

// DeviceIDFromBytes reads a device id of exactly 16 bytes.
func DeviceIDFromBytes(b []byte) (DeviceID, error) {
	if len(b) != len(DeviceID{}) {
		return DeviceID{}, fmt.Errorf("a device id has %d bytes, not %d", len(DeviceID{}), len(b))
	}
	return DeviceID(b), nil
}

func parsePrefixed(s, prefix string, size int) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok || len(digits) != 2*size || strings.ToLower(digits) != digits {
		return nil, fmt.Errorf("%w: want %q and %d hexadecimal digits", ErrKey, prefix, 2*size)
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%w: want %q and %d hexadecimal digits", ErrKey, prefix, 2*size)
	}
	return b, nil
}

// String returns the text form.
func (k AccountKey) String() string { return accountKeyPrefix + hex.EncodeToString(k[:]) }

// String returns the text form.
func (k DeviceKey) String() string { return deviceKeyPrefix + hex.EncodeToString(k[:]) }

// String returns the text form.
func (id DeviceID) String() string { return deviceIDPrefix + hex.EncodeToString(id[:]) }

// Verify checks that signature is the account's over message in context.
func (k AccountKey) Verify(context Context, message, signature []byte) error {
	return verify(k[:], context, message, signature)
}

// Verify checks that signature is the device's over message in context.
func (k DeviceKey) Verify(context Context, message, signature []byte) error {
	return verify(k[:], context, message, signature)
}

func verify(key []byte, context Context, message, signature []byte) error {
	if !ed25519.Verify(key, context.frame(message), signature) {
		return ErrSignature
	}
	return nil
}

func accountKeyFromBytes(b []byte) (AccountKey, error) {
	if err := checkPublicKey(b); err != nil {
		return AccountKey{}, err
	}
	return AccountKey(b), nil
}

func deviceKeyFromBytes(b []byte) (DeviceKey, error) {
	if err := checkPublicKey(b); err != nil {
		return DeviceKey{}, err
	}
	return DeviceKey(b), nil
}

// checkPublicKey refuses what crypto/ed25519 lets pass: points in non-canonical
// encoding, and points of small order, under which one signature verifies for
// many messages.
func checkPublicKey(b []byte) error {
	point, err := new(edwards25519.Point).SetBytes(b)
	if err != nil || !bytes.Equal(point.Bytes(), b) {
		return ErrKey
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return fmt.Errorf("%w: a point of small order", ErrKey)
	}
	return nil
}

// An AccountPrivateKey signs device certificates. It prints as a placeholder.
type AccountPrivateKey struct{ key ed25519.PrivateKey }

// A DevicePrivateKey signs what a device says. It prints as a placeholder.
type DevicePrivateKey struct{ key ed25519.PrivateKey }

// SeedSize is the size in bytes of what [AccountPrivateKey.Seed] and
// [DevicePrivateKey.Seed] return.
const SeedSize = ed25519.SeedSize

// GenerateAccountKey makes a new account key from the system's randomness.
func GenerateAccountKey() AccountPrivateKey { return AccountPrivateKey{generateKey()} }

// GenerateDeviceKey makes a new device key from the system's randomness.
func GenerateDeviceKey() DevicePrivateKey { return DevicePrivateKey{generateKey()} }

// NewDeviceID makes a new random device id.
func NewDeviceID() DeviceID {
	var id DeviceID
	rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

func generateKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails (crypto/rand)
	return ed25519.NewKeyFromSeed(seed)
}

// AccountKeyFromSeed restores a key from the [SeedSize] bytes that Seed returned.
func AccountKeyFromSeed(seed []byte) (AccountPrivateKey, error) {
	key, err := keyFromSeed(seed)
	return AccountPrivateKey{key}, err
}

// DeviceKeyFromSeed restores a key from the [SeedSize] bytes that Seed returned.
func DeviceKeyFromSeed(seed []byte) (DevicePrivateKey, error) {
	key, err := keyFromSeed(seed)
	return DevicePrivateKey{key}, err
}

func keyFromSeed(seed []byte) (ed25519.PrivateKey, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("a private key has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Seed returns the secret from which the key is restored. Only the encrypted
// store may hold it.
func (k AccountPrivateKey) Seed() []byte { return k.key.Seed() }

// Seed returns the secret from which the key is restored. Only the encrypted
// store may hold it.
func (k DevicePrivateKey) Seed() []byte { return k.key.Seed() }

// Public returns the public half.
func (k AccountPrivateKey) Public() AccountKey { return AccountKey(k.key.Public().(ed25519.PublicKey)) }

// Public returns the public half.
func (k DevicePrivateKey) Public() DeviceKey { return DeviceKey(k.key.Public().(ed25519.PublicKey)) }

// Sign signs message in context.
func (k AccountPrivateKey) Sign(context Context, message []byte) []byte {
	return ed25519.Sign(k.key, context.frame(message))
}

// Sign signs message in context.
func (k DevicePrivateKey) Sign(context Context, message []byte) []byte {
	return ed25519.Sign(k.key, context.frame(message))
}

// String returns a placeholder.
func (k AccountPrivateKey) String() string { return redacted }

// String returns a placeholder.
func (k DevicePrivateKey) String() string { return redacted }

// Format prints a placeholder for every verb.
func (k AccountPrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// Format prints a placeholder for every verb.
func (k DevicePrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue logs a placeholder.
func (k AccountPrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// LogValue logs a placeholder.
func (k DevicePrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }
