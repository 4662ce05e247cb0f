package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// ErrCertificate reports bytes that are no certificate or device record.
var ErrCertificate = errors.New("malformed certificate")

const certificateVersion = 1

// A Certificate says that a device belongs to an account. It is signed by the
// account key over everything in it.
//
// Its encoding, in network byte order:
//
//	uint8   version (1)
//	uint8   length of the username, then the username
//	byte    account key [32]
//	byte    device key [32]
//	byte    device id [16]
//	uint64  issued at, seconds since 1970 UTC
//	byte    signature by the account key over all before it [64]
type Certificate struct {
	Username   Username
	AccountKey AccountKey
	DeviceKey  DeviceKey
	DeviceID   DeviceID
	IssuedAt   time.Time // UTC, whole seconds
	signature  [ed25519.SignatureSize]byte
}

// IssueCertificate certifies a device for the account that key belongs to.
func IssueCertificate(key AccountPrivateKey, username Username, device DeviceKey, id DeviceID, issuedAt time.Time) Certificate {
	c := Certificate{
		Username:   username,
		AccountKey: key.Public(),
		DeviceKey:  device,
		DeviceID:   id,
		IssuedAt:   issuedAt.UTC().Truncate(time.Second),
	}
	c.signature = [ed25519.SignatureSize]byte(key.Sign(ContextCertificate, c.signed()))
	return c
}

// Marshal returns the encoding of the certificate.
func (c Certificate) Marshal() []byte { return append(c.signed(), c.signature[:]...) }

func (c Certificate) signed() []byte {
	var b cryptobyte.Builder
	b.AddUint8(certificateVersion)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(c.Username)) })
	b.AddBytes(c.AccountKey[:])
	b.AddBytes(c.DeviceKey[:])
	b.AddBytes(c.DeviceID[:])
	b.AddUint64(uint64(c.IssuedAt.Unix()))
	return b.BytesOrPanic() // cannot fail: a username has at most 32 bytes
}

// ParseCertificate reads a certificate and verifies its signature. What it
// returns is consistent in itself; whether the account key is the expected one
// is for the caller to check. The error wraps [ErrCertificate], [ErrUsername],
// [ErrKey] or [ErrSignature].
func ParseCertificate(b []byte) (Certificate, error) {
	s := cryptobyte.String(b)
	c, err := readCertificate(&s)
	if err == nil && !s.Empty() {
		return Certificate{}, fmt.Errorf("%w: bytes after its end", ErrCertificate)
	}
	return c, err
}

func readCertificate(s *cryptobyte.String) (Certificate, error) {
	var (
		version                    uint8
		username                   cryptobyte.String
		account, device, id, proof []byte
		issued                     uint64
	)
	if !s.ReadUint8(&version) || version != certificateVersion ||
		!s.ReadUint8LengthPrefixed(&username) ||
		!s.ReadBytes(&account, ed25519.PublicKeySize) ||
		!s.ReadBytes(&device, ed25519.PublicKeySize) ||
		!s.ReadBytes(&id, len(DeviceID{})) ||
		!s.ReadUint64(&issued) || issued > maxUnixTime ||
		!s.ReadBytes(&proof, ed25519.SignatureSize) {
		return Certificate{}, ErrCertificate
	}
	c := Certificate{
		DeviceID:  DeviceID(id),
		IssuedAt:  time.Unix(int64(issued), 0).UTC(),
		signature: [ed25519.SignatureSize]byte(proof),
	}
	var err error
	if c.Username, err = ParseUsername(string(username)); err != nil {
		return Certificate{}, fmt.Errorf("reading the name in a certificate: %w", err)
	}
	if string(c.Username) != string(username) {
		return Certificate{}, fmt.Errorf("%w: the name is not in lower case", ErrCertificate)
	}
	if c.AccountKey, err = accountKeyFromBytes(account); err != nil {
		return Certificate{}, fmt.Errorf("reading the account key in a certificate: %w", err)
	}
	if c.DeviceKey, err = deviceKeyFromBytes(device); err != nil {
		return Certificate{}, fmt.Errorf("reading the device key in a certificate: %w", err)
	}
	if err := c.AccountKey.Verify(ContextCertificate, c.signed(), proof); err != nil {
		return Certificate{}, fmt.Errorf("verifying a certificate: %w", err)
	}
	return c, nil
}

// maxUnixTime is the end of the year 9999, the last that time.Time prints in
// its usual formats.
const maxUnixTime = 253402300799
