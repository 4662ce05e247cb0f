package mls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
)

// labelPrefix begins every label of the protocol (RFC 9420, Section 5.1.2).
const labelPrefix = "MLS 1.0 "

// hash returns the hash of the concatenated parts.
func (s *suite) hash(parts ...[]byte) []byte {
	h := s.newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(make([]byte, 0, s.nh))
}

// mac is the MAC of RFC 9420, Section 5.1: HMAC with the suite's hash.
func (s *suite) mac(key, data []byte) []byte {
	h := hmac.New(s.newHash, key)
	h.Write(data)
	return h.Sum(make([]byte, 0, s.nh))
}

// macEqual compares the whole of both tags in constant time; tags of different
// lengths differ.
func macEqual(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func (s *suite) extract(salt, ikm []byte) []byte {
	prk, err := hkdf.Extract(s.newHash, ikm, salt)
	if err != nil {
		panic("mls: extracting a key: " + err.Error())
	}
	return prk
}

// expandWithLabel is ExpandWithLabel of RFC 9420, Section 8.
func (s *suite) expandWithLabel(secret []byte, label string, context []byte, length int) []byte {
	out, err := hkdf.Expand(s.newHash, secret, string(appendKDFLabel(nil, label, context, length)), length)
	if err != nil {
		panic("mls: expanding a key: " + err.Error())
	}
	return out
}

// appendKDFLabel appends KDFLabel of RFC 9420, Section 8.
func appendKDFLabel(b []byte, label string, context []byte, length int) []byte {
	b = appendUint16(b, uint16(length))
	b = appendVarint(b, len(labelPrefix)+len(label))
	b = append(b, labelPrefix...)
	b = append(b, label...)
	return appendVector(b, context)
}

// An expander derives several values from one secret, and does what depends on
// the secret alone only once.
type expander struct {
	mac   hash.Hash
	label []byte // room for a KDFLabel
}

func (s *suite) newExpander(secret []byte) *expander {
	mac := hmac.New(s.newHash, secret)
	mac.Reset() // keeps the state after the secret, for each Reset to come
	return &expander{mac: mac, label: make([]byte, 0, 96)}
}

// withLabel is ExpandWithLabel of RFC 9420, Section 8, for at most KDF.Nh bytes:
// one block of HKDF-Expand (RFC 5869, Section 2.3).
func (e *expander) withLabel(label string, context []byte, length int) []byte {
	e.label = append(appendKDFLabel(e.label[:0], label, context, length), 1)
	e.mac.Reset()
	e.mac.Write(e.label)
	return e.mac.Sum(make([]byte, 0, e.mac.Size()))[:length]
}

// deriveSecret is DeriveSecret of RFC 9420, Section 8.
func (s *suite) deriveSecret(secret []byte, label string) []byte {
	return s.expandWithLabel(secret, label, nil, s.nh)
}

// deriveTreeSecret is DeriveTreeSecret of RFC 9420, Section 9.1.
func (e *expander) deriveTreeSecret(label string, generation uint32, length int) []byte {
	var context [4]byte
	return e.withLabel(label, appendUint32(context[:0], generation), length)
}

// refHash is RefHash of RFC 9420, Section 5.2.
func (s *suite) refHash(label string, value []byte) []byte {
	b := make([]byte, 0, len(label)+len(value)+8)
	b = appendVector(b, []byte(label))
	return s.hash(appendVector(b, value))
}

// labelled returns SignContent or EncryptContext, which have the same form
// (RFC 9420, Sections 5.1.2 and 5.1.3).
func labelled(label string, content []byte) []byte {
	b := make([]byte, 0, len(labelPrefix)+len(label)+len(content)+8)
	b = appendVarint(b, len(labelPrefix)+len(label))
	b = append(b, labelPrefix...)
	b = append(b, label...)
	return appendVector(b, content)
}

// HPKECiphertext is a message encrypted to one HPKE public key (RFC 9420,
// Section 7.6).
type HPKECiphertext struct {
	KEMOutput  []byte
	Ciphertext []byte
}

func (c HPKECiphertext) appendTo(b []byte) []byte {
	return appendVector(appendVector(b, c.KEMOutput), c.Ciphertext)
}

func readHPKECiphertext(r *reader) HPKECiphertext {
	return HPKECiphertext{KEMOutput: r.vector(), Ciphertext: r.vector()}
}

// encryptWithLabel is EncryptWithLabel of RFC 9420, Section 5.1.3.
func (s *suite) encryptWithLabel(publicKey []byte, label string, context, plaintext []byte) (HPKECiphertext, error) {
	pk, err := s.kem.NewPublicKey(publicKey)
	if err != nil {
		return HPKECiphertext{}, fmt.Errorf("parsing HPKE public key: %w", err)
	}
	enc, sender, err := hpke.NewSender(pk, s.kdf, s.aead, labelled(label, context))
	if err != nil {
		return HPKECiphertext{}, fmt.Errorf("encapsulating: %w", err)
	}
	ciphertext, err := sender.Seal(nil, plaintext)
	if err != nil {
		return HPKECiphertext{}, fmt.Errorf("sealing: %w", err)
	}
	return HPKECiphertext{KEMOutput: enc, Ciphertext: ciphertext}, nil
}

// decryptWithLabel is DecryptWithLabel of RFC 9420, Section 5.1.3.
func (s *suite) decryptWithLabel(key hpke.PrivateKey, label string, context []byte, c HPKECiphertext) ([]byte, error) {
	recipient, err := hpke.NewRecipient(c.KEMOutput, key, s.kdf, s.aead, labelled(label, context))
	if err != nil {
		return nil, fmt.Errorf("%w: HPKE encapsulation", ErrDecryption)
	}
	plaintext, err := recipient.Open(nil, c.Ciphertext)
	if err != nil {
		return nil, fmt.Errorf("%w: HPKE ciphertext", ErrDecryption)
	}
	return plaintext, nil
}

// A keyPair is an HPKE private key with its encodings, which Go would otherwise
// compute anew each time.
type keyPair struct {
	private hpke.PrivateKey
	secret  []byte // SerializePrivateKey
	public  []byte // SerializePublicKey
}

// deriveKeyPair is KEM.DeriveKeyPair (RFC 9420, Section 5.1).
func (s *suite) deriveKeyPair(ikm []byte) (*keyPair, error) {
	key, err := s.kem.DeriveKeyPair(ikm)
	if err != nil {
		return nil, fmt.Errorf("deriving HPKE key pair: %w", err)
	}
	return newKeyPair(key)
}

// parseKeyPair takes the output of SerializePrivateKey.
func (s *suite) parseKeyPair(secret []byte) (*keyPair, error) {
	key, err := s.kem.NewPrivateKey(secret)
	if err != nil {
		return nil, errors.New("parsing HPKE private key: not a key of the suite")
	}
	return newKeyPair(key)
}

func newKeyPair(key hpke.PrivateKey) (*keyPair, error) {
	secret, err := key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding HPKE private key: %w", err)
	}
	return &keyPair{private: key, secret: secret, public: key.PublicKey().Bytes()}, nil
}

// checkPublicKey refuses an HPKE public key that nobody could encrypt to. A point of
// small order of X25519 is one (RFC 9180, Section 7.1.4), and looks like any other
// until somebody tries.
func (s *suite) checkPublicKey(publicKey []byte) error {
	if _, err := s.kem.NewPublicKey(publicKey); err != nil {
		return fmt.Errorf("%w: HPKE public key", ErrInvalidKey)
	}
	if id := s.kem.ID(); id != kemX25519 && id != kemMLKEM768X25519 {
		return nil
	}
	point, err := ecdh.X25519().NewPublicKey(publicKey[len(publicKey)-x25519Size:])
	if err == nil {
		_, err = smallOrderProbe.ECDH(point)
	}
	if err != nil {
		return fmt.Errorf("%w: HPKE public key", ErrInvalidKey)
	}
	return nil
}

// KEMs whose public keys end in a point of X25519 (RFC 9180, Section 7.1;
// draft-connolly-cfrg-xwing-kem).
const (
	kemX25519         = 0x0020
	kemMLKEM768X25519 = 0x647a
	x25519Size        = 32
)

// smallOrderProbe is multiplied with points to see whether they have a small order.
// Any scalar does; this one is no secret.
var smallOrderProbe = func() *ecdh.PrivateKey {
	scalar, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{8}, x25519Size))
	if err != nil {
		panic(err) // fixed input, tested
	}
	return scalar
}()

// open decrypts with the suite's AEAD.
func (s *suite) open(key, nonce, ciphertext, aad []byte) ([]byte, error) {
	aead, err := s.newAEAD(key)
	if err != nil {
		panic("mls: AEAD key of a wrong length")
	}
	plaintext, err := aead.Open(nil, nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrDecryption
	}
	return plaintext, nil
}

// seal encrypts with the suite's AEAD.
func (s *suite) seal(key, nonce, plaintext, aad []byte) []byte {
	b := append(make([]byte, 0, len(plaintext)+tagSize), plaintext...)[:len(plaintext)+tagSize]
	s.sealInPlace(key, nonce, b, aad)
	return b
}

// sealInPlace encrypts what b holds before its last tagSize bytes, which are room
// for the tag.
func (s *suite) sealInPlace(key, nonce, b, aad []byte) {
	aead, err := s.newAEAD(key)
	if err != nil {
		panic("mls: AEAD key of a wrong length")
	}
	aead.Seal(b[:0], nonce, b[:len(b)-tagSize], aad)
}
