package mls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // hashes of the ECDSA schemes
	_ "crypto/sha512"
	"errors"
	"fmt"
	"math/big"
)

// A signatureScheme is the signature algorithm of a suite (RFC 9420,
// Section 5.1.2).
type signatureScheme interface {
	// verify reports whether sig is publicKey's signature of message.
	verify(publicKey, message, sig []byte) bool
	// sign signs message with a key of this scheme.
	sign(key crypto.Signer, message []byte) ([]byte, error)
	// encode returns the SignaturePublicKey of a key of this scheme.
	encode(publicKey crypto.PublicKey) ([]byte, error)
	// check refuses a SignaturePublicKey that is not one of this scheme.
	check(publicKey []byte) error
	generate() (crypto.Signer, error)
	// parse takes a private key in the scheme's native form.
	parse(secret []byte) (crypto.Signer, error)
}

var errWrongScheme = errors.New("mls: signature key is not of the cipher suite's scheme")

type ed25519Scheme struct{}

func (ed25519Scheme) verify(publicKey, message, sig []byte) bool {
	return len(publicKey) == ed25519.PublicKeySize && ed25519.Verify(publicKey, message, sig)
}

func (ed25519Scheme) sign(key crypto.Signer, message []byte) ([]byte, error) {
	return key.Sign(rand.Reader, message, crypto.Hash(0))
}

func (ed25519Scheme) encode(publicKey crypto.PublicKey) ([]byte, error) {
	key, ok := publicKey.(ed25519.PublicKey)
	if !ok {
		return nil, errWrongScheme
	}
	return key, nil
}

func (ed25519Scheme) check(publicKey []byte) error {
	if len(publicKey) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: Ed25519 public key", ErrInvalidKey)
	}
	return nil
}

func (ed25519Scheme) generate() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(nil)
	return key, err
}

// parse takes a seed, or a seed followed by the public key.
func (ed25519Scheme) parse(secret []byte) (crypto.Signer, error) {
	switch len(secret) {
	case ed25519.SeedSize, ed25519.PrivateKeySize:
		return ed25519.NewKeyFromSeed(secret[:ed25519.SeedSize]), nil
	}
	return nil, errWrongScheme
}

// ecdsaScheme signs a digest; its signatures are DER (RFC 8446, Section 4.2.3).
type ecdsaScheme struct {
	curve elliptic.Curve
	hash  crypto.Hash
}

var (
	ecdsaP256 = ecdsaScheme{elliptic.P256(), crypto.SHA256}
	ecdsaP384 = ecdsaScheme{elliptic.P384(), crypto.SHA384}
	ecdsaP521 = ecdsaScheme{elliptic.P521(), crypto.SHA512}
)

func (s ecdsaScheme) digest(message []byte) []byte {
	h := s.hash.New()
	h.Write(message)
	return h.Sum(nil)
}

func (s ecdsaScheme) verify(publicKey, message, sig []byte) bool {
	key, err := ecdsa.ParseUncompressedPublicKey(s.curve, publicKey)
	return err == nil && ecdsa.VerifyASN1(key, s.digest(message), sig)
}

func (s ecdsaScheme) sign(key crypto.Signer, message []byte) ([]byte, error) {
	return key.Sign(rand.Reader, s.digest(message), s.hash)
}

func (s ecdsaScheme) encode(publicKey crypto.PublicKey) ([]byte, error) {
	key, ok := publicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != s.curve {
		return nil, errWrongScheme
	}
	return key.Bytes()
}

func (s ecdsaScheme) check(publicKey []byte) error {
	if _, err := ecdsa.ParseUncompressedPublicKey(s.curve, publicKey); err != nil {
		return fmt.Errorf("%w: ECDSA public key", ErrInvalidKey)
	}
	return nil
}

func (s ecdsaScheme) generate() (crypto.Signer, error) {
	return ecdsa.GenerateKey(s.curve, rand.Reader)
}

// parse takes the scalar in big-endian order. Encoders that drop its leading
// zeros exist.
func (s ecdsaScheme) parse(secret []byte) (crypto.Signer, error) {
	size := (s.curve.Params().BitSize + 7) / 8
	if len(secret) > size {
		return nil, errWrongScheme
	}
	return ecdsa.ParseRawPrivateKey(s.curve, new(big.Int).SetBytes(secret).FillBytes(make([]byte, size)))
}

// GenerateSignatureKey returns a new key of the suite's signature scheme (RFC 9420,
// Section 5.1.1): an [ed25519.PrivateKey] or an [*ecdsa.PrivateKey].
func (c CipherSuite) GenerateSignatureKey() (crypto.Signer, error) {
	s, err := c.suite()
	if err != nil {
		return nil, err
	}
	return s.scheme.generate()
}

// ParseSignatureKey returns the signature key with the given encoding (RFC 9420,
// Section 5.1.1): an Ed25519 seed (32 bytes) or private key (64 bytes), or an ECDSA
// scalar in big-endian order.
func (c CipherSuite) ParseSignatureKey(secret []byte) (crypto.Signer, error) {
	s, err := c.suite()
	if err != nil {
		return nil, err
	}
	return s.scheme.parse(secret)
}

// SignaturePublicKey encodes the public key of a signer as the suite has it in
// LeafNodes (RFC 9420, Section 5.1.1).
func (c CipherSuite) SignaturePublicKey(signer crypto.Signer) ([]byte, error) {
	s, err := c.suite()
	if err != nil {
		return nil, err
	}
	return s.scheme.encode(signer.Public())
}

// signWithLabel is SignWithLabel of RFC 9420, Section 5.1.2.
func (s *suite) signWithLabel(key crypto.Signer, label string, content []byte) ([]byte, error) {
	sig, err := s.scheme.sign(key, labelled(label, content))
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", label, err)
	}
	return sig, nil
}

// verifyWithLabel is VerifyWithLabel of RFC 9420, Section 5.1.2.
func (s *suite) verifyWithLabel(publicKey []byte, label string, content, sig []byte) error {
	if !s.scheme.verify(publicKey, labelled(label, content), sig) {
		return fmt.Errorf("%w: %s", ErrSignature, label)
	}
	return nil
}
