package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// A ServerID names a server in request signatures: by the SHA-256 of its TLS
// public key in DER form (SubjectPublicKeyInfo), where clients pin that key, or
// by its domain name, where certificate authorities vouch for it. A signature
// made for one server is worth nothing at another.
type ServerID [sha256.Size]byte

const serverIDPrefix = "SHA256:"

// ServerIDOf returns the id of the server with this TLS public key
// (SubjectPublicKeyInfo in DER form).
func ServerIDOf(subjectPublicKeyInfo []byte) ServerID { return sha256.Sum256(subjectPublicKeyInfo) }

// ServerIDOfDomain returns the id of the server that has a certificate for this
// DNS name. No key has the same id: "DNS:" is hashed before the name, and DER
// does not begin so.
func ServerIDOfDomain(name string) ServerID {
	return sha256.Sum256([]byte("DNS:" + strings.ToLower(strings.TrimSuffix(name, "."))))
}

// ParseServerID reads the text form.
func ParseServerID(s string) (ServerID, error) {
	b, err := parsePrefixed(s, serverIDPrefix, sha256.Size)
	if err != nil {
		return ServerID{}, errors.New("a server fingerprint is SHA256: and 64 hexadecimal digits")
	}
	return ServerID(b), nil
}

// String returns the fingerprint as people compare it: "SHA256:" and 64
// hexadecimal digits.
func (id ServerID) String() string { return serverIDPrefix + hex.EncodeToString(id[:]) }

// NonceSize is the size in bytes of a request's nonce.
const NonceSize = 16

// A Request is what a device signs to make one call to a server.
type Request struct {
	Server ServerID
	Method string // full gRPC method, "/sealpost.v1.Delivery/Connect"
	Device DeviceID
	Time   time.Time // to the millisecond
	Nonce  [NonceSize]byte
}

// NewRequest returns a request with a fresh random nonce.
func NewRequest(server ServerID, method string, device DeviceID, now time.Time) Request {
	r := Request{Server: server, Method: method, Device: device, Time: now.Truncate(time.Millisecond)}
	rand.Read(r.Nonce[:]) // never fails (crypto/rand)
	return r
}

// Sign returns the signature of the request by its device's key.
func (r Request) Sign(key DevicePrivateKey) []byte { return key.Sign(ContextRequest, r.signed()) }

// Verify checks the signature. Whether the time is near and the nonce new is
// for the server to check.
func (r Request) Verify(key DeviceKey, signature []byte) error {
	if len(signature) != ed25519.SignatureSize {
		return fmt.Errorf("a request signature of %d bytes: %w", len(signature), ErrSignature)
	}
	return key.Verify(ContextRequest, r.signed(), signature)
}

func (r Request) signed() []byte {
	var b cryptobyte.Builder
	b.AddBytes(r.Server[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.Method)) })
	b.AddBytes(r.Device[:])
	b.AddUint64(uint64(r.Time.UnixMilli()))
	b.AddBytes(r.Nonce[:])
	return b.BytesOrPanic() // cannot fail: methods are our own short names
}
