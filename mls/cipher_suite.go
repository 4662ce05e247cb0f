package mls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A CipherSuite names the algorithms that a group uses (RFC 9420, Section 5.1).
type CipherSuite uint16

// The cipher suites of RFC 9420, Section 17.1, but for the two on Curve448.
const (
	MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519        CipherSuite = 0x0001
	MLS_128_DHKEMP256_AES128GCM_SHA256_P256             CipherSuite = 0x0002
	MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519 CipherSuite = 0x0003
	MLS_256_DHKEMP521_AES256GCM_SHA512_P521             CipherSuite = 0x0005
	MLS_256_DHKEMP384_AES256GCM_SHA384_P384             CipherSuite = 0x0007
)

// The cipher suites TBD1 to TBD8 of draft-ietf-mls-pq-ciphersuites-06. The draft
// has no code points yet; these are of the range for private use (RFC 9420, Section
// 17.1), and will change once it has.
const (
	MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519 CipherSuite = 0xF001
	MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519 CipherSuite = 0xF002
	MLS_128_MLKEM768P256_AES128GCM_SHA256_P256      CipherSuite = 0xF003
	MLS_128_MLKEM768P256_AES256GCM_SHA384_P256      CipherSuite = 0xF004
	MLS_192_MLKEM1024P384_AES256GCM_SHA384_P384     CipherSuite = 0xF005
	MLS_128_MLKEM768_AES256GCM_SHA384_Ed25519       CipherSuite = 0xF006
	MLS_128_MLKEM768_AES256GCM_SHA384_P256          CipherSuite = 0xF007
	MLS_192_MLKEM1024_AES256GCM_SHA384_P384         CipherSuite = 0xF008
)

// DefaultCipherSuite is secure against an attacker who records messages today and
// has a quantum computer later, and as secure as X25519 should ML-KEM fall (RFC
// 9420, Section 5.1).
const DefaultCipherSuite = MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519

// suite holds the algorithms behind a CipherSuite.
type suite struct {
	id      CipherSuite
	name    string
	kem     hpke.KEM
	kdf     hpke.KDF
	aead    hpke.AEAD
	newHash func() hash.Hash
	newAEAD func(key []byte) (cipher.AEAD, error)
	nh      int // KDF.Nh, also the length of a hash
	nk      int // AEAD.Nk
	scheme  signatureScheme
}

// nonceSize is AEAD.Nn, the same for every suite.
const nonceSize = 12

var suites = []*suite{
	aes128(MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", hpke.DHKEM(ecdh.X25519()), ed25519Scheme{}),
	aes128(MLS_128_DHKEMP256_AES128GCM_SHA256_P256, "MLS_128_DHKEMP256_AES128GCM_SHA256_P256", hpke.DHKEM(ecdh.P256()), ecdsaP256),
	{
		id:   MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
		name: "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
		kem:  hpke.DHKEM(ecdh.X25519()), kdf: hpke.HKDFSHA256(), aead: hpke.ChaCha20Poly1305(),
		newHash: sha256.New, newAEAD: chacha20poly1305.New, nh: 32, nk: 32, scheme: ed25519Scheme{},
	},
	{
		id:   MLS_256_DHKEMP521_AES256GCM_SHA512_P521,
		name: "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
		kem:  hpke.DHKEM(ecdh.P521()), kdf: hpke.HKDFSHA512(), aead: hpke.AES256GCM(),
		newHash: sha512.New, newAEAD: newGCM, nh: 64, nk: 32, scheme: ecdsaP521,
	},
	aes256(MLS_256_DHKEMP384_AES256GCM_SHA384_P384, "MLS_256_DHKEMP384_AES256GCM_SHA384_P384", hpke.DHKEM(ecdh.P384()), ecdsaP384),

	aes128(MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519, "MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519", hpke.MLKEM768X25519(), ed25519Scheme{}),
	aes256(MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519, "MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519", hpke.MLKEM768X25519(), ed25519Scheme{}),
	aes128(MLS_128_MLKEM768P256_AES128GCM_SHA256_P256, "MLS_128_MLKEM768P256_AES128GCM_SHA256_P256", hpke.MLKEM768P256(), ecdsaP256),
	aes256(MLS_128_MLKEM768P256_AES256GCM_SHA384_P256, "MLS_128_MLKEM768P256_AES256GCM_SHA384_P256", hpke.MLKEM768P256(), ecdsaP256),
	aes256(MLS_192_MLKEM1024P384_AES256GCM_SHA384_P384, "MLS_192_MLKEM1024P384_AES256GCM_SHA384_P384", hpke.MLKEM1024P384(), ecdsaP384),
	aes256(MLS_128_MLKEM768_AES256GCM_SHA384_Ed25519, "MLS_128_MLKEM768_AES256GCM_SHA384_Ed25519", hpke.MLKEM768(), ed25519Scheme{}),
	aes256(MLS_128_MLKEM768_AES256GCM_SHA384_P256, "MLS_128_MLKEM768_AES256GCM_SHA384_P256", hpke.MLKEM768(), ecdsaP256),
	aes256(MLS_192_MLKEM1024_AES256GCM_SHA384_P384, "MLS_192_MLKEM1024_AES256GCM_SHA384_P384", hpke.MLKEM1024(), ecdsaP384),
}

func aes128(id CipherSuite, name string, kem hpke.KEM, scheme signatureScheme) *suite {
	return &suite{
		id: id, name: name, kem: kem, kdf: hpke.HKDFSHA256(), aead: hpke.AES128GCM(),
		newHash: sha256.New, newAEAD: newGCM, nh: 32, nk: 16, scheme: scheme,
	}
}

func aes256(id CipherSuite, name string, kem hpke.KEM, scheme signatureScheme) *suite {
	return &suite{
		id: id, name: name, kem: kem, kdf: hpke.HKDFSHA384(), aead: hpke.AES256GCM(),
		newHash: sha512.New384, newAEAD: newGCM, nh: 48, nk: 32, scheme: scheme,
	}
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// CipherSuites lists the suites that this package implements, in the order of their
// code points (RFC 9420, Section 17.1).
func CipherSuites() []CipherSuite {
	ids := make([]CipherSuite, len(suites))
	for i, s := range suites {
		ids[i] = s.id
	}
	return ids
}

// String returns the registered name of the suite.
func (c CipherSuite) String() string {
	if s, err := c.suite(); err == nil {
		return s.name
	}
	return fmt.Sprintf("CipherSuite(0x%04X)", uint16(c))
}

func (c CipherSuite) suite() (*suite, error) {
	for _, s := range suites {
		if s.id == c {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: cipher suite 0x%04X", ErrUnsupported, uint16(c))
}
