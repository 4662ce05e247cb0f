package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
)

// A KeyPackage is what a client publishes so that others can add it to groups
// while it is away (RFC 9420, Section 10).
type KeyPackage struct {
	Version     ProtocolVersion
	CipherSuite CipherSuite
	InitKey     []byte
	LeafNode    *LeafNode
	Extensions  []Extension
	Signature   []byte
}

func (k *KeyPackage) tbs() []byte { return k.appendUnsigned(nil) }

func (k *KeyPackage) appendUnsigned(b []byte) []byte {
	b = appendUint16(b, uint16(k.Version))
	b = appendUint16(b, uint16(k.CipherSuite))
	b = appendVector(b, k.InitKey)
	b = k.LeafNode.appendTo(b)
	return appendExtensions(b, k.Extensions)
}

func (k *KeyPackage) appendTo(b []byte) []byte {
	return appendVector(k.appendUnsigned(b), k.Signature)
}

func readKeyPackage(r *reader) *KeyPackage {
	return &KeyPackage{
		Version:     ProtocolVersion(r.uint16()),
		CipherSuite: CipherSuite(r.uint16()),
		InitKey:     r.vector(),
		LeafNode:    readLeafNode(r),
		Extensions:  readExtensions(r),
		Signature:   r.vector(),
	}
}

// Marshal returns the encoding of the bare KeyPackage (RFC 9420, Section 10). To
// publish it, use [KeyPackage.Message].
func (k *KeyPackage) Marshal() []byte { return k.appendTo(nil) }

// Message returns the KeyPackage as an MLSMessage (RFC 9420, Section 10).
func (k *KeyPackage) Message() []byte {
	return k.appendTo(appendMessageHeader(nil, WireFormatKeyPackage))
}

// ParseKeyPackage parses an MLSMessage that holds a KeyPackage (RFC 9420, Section
// 10). It checks nothing but the encoding; adding it to a group checks the rest.
func ParseKeyPackage(message []byte) (*KeyPackage, error) {
	m, err := ParseMessage(message)
	if err != nil {
		return nil, err
	}
	if m.KeyPackage == nil {
		return nil, malformed("message is not a key package")
	}
	return m.KeyPackage, nil
}

// Ref returns the KeyPackageRef, which names the key package in a Welcome
// (RFC 9420, Section 5.2).
func (k *KeyPackage) Ref() ([]byte, error) {
	s, err := k.CipherSuite.suite()
	if err != nil {
		return nil, err
	}
	return s.refHash("MLS 1.0 KeyPackage Reference", k.appendTo(nil)), nil
}

// LastResort reports whether the key package may be used more than once (RFC 9420,
// Section 16.8).
func (k *KeyPackage) LastResort() bool {
	_, ok := FindExtension(k.Extensions, ExtensionTypeLastResort)
	return ok
}

const keyPackageLabel = "KeyPackageTBS"

// checkKeyPackage applies the rules of RFC 9420, Section 10.1, but for those that
// compare the leaf with other members, which belong to the tree.
func (c *Client) checkKeyPackage(k *KeyPackage, s *suite, groupID []byte) error {
	if k.Version != ProtocolVersionMLS10 {
		return invalid("10.1", "key package has another protocol version")
	}
	if k.CipherSuite != s.id {
		return invalid("10.1", "key package has another cipher suite")
	}
	leaf := k.LeafNode
	if leaf.LeafNodeSource != LeafNodeSourceKeyPackage {
		return invalid("7.3", "leaf node in a key package has another source")
	}
	if err := s.checkPublicKey(k.InitKey); err != nil {
		return err
	}
	if bytes.Equal(k.InitKey, leaf.EncryptionKey) {
		return invalid("10.1", "init key and encryption key are the same")
	}
	if err := checkExtensions(k.Extensions, inKeyPackage); err != nil {
		return err
	}
	if err := leaf.checkAlone(s); err != nil {
		return err
	}
	if err := leaf.Lifetime.checkRange(c.config.MaxLifetime); err != nil {
		return err
	}
	if err := leaf.Lifetime.checkTime(c.now()); err != nil {
		return err
	}
	if err := leaf.verify(s, nil, 0); err != nil {
		return err
	}
	if err := s.verifyWithLabel(leaf.SignatureKey, keyPackageLabel, k.tbs(), k.Signature); err != nil {
		return err
	}
	return c.authenticate(leaf.credentialCheck(groupID, CredentialInKeyPackage, nil))
}

// ValidateKeyPackage checks a key package as RFC 9420, Section 10.1 asks before
// it is used to add a client. Group.Commit and Group.Process do so themselves.
func (c *Client) ValidateKeyPackage(k *KeyPackage) error {
	s, err := k.CipherSuite.suite()
	if err != nil {
		return err
	}
	return c.checkKeyPackage(k, s, nil)
}

// A PrivateKeyPackage is a KeyPackage with its private keys (RFC 9420, Section 10).
// Its owner keeps it until the Welcome comes, and deletes it then, unless it is a
// last resort.
type PrivateKeyPackage struct {
	KeyPackage    *KeyPackage
	InitKey       []byte // HPKE private key of KeyPackage.InitKey
	EncryptionKey []byte // HPKE private key of the LeafNode
}

// String hides the private keys.
func (p *PrivateKeyPackage) String() string { return "mls.PrivateKeyPackage(redacted)" }

// Format hides the private keys from every verb.
func (p *PrivateKeyPackage) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

const privateKeyPackageVersion = 1

// Marshal returns the key package and its private keys, to be stored in secret.
func (p *PrivateKeyPackage) Marshal() []byte {
	b := p.KeyPackage.appendTo([]byte{privateKeyPackageVersion})
	return appendVector(appendVector(b, p.InitKey), p.EncryptionKey)
}

// ParsePrivateKeyPackage parses the output of [PrivateKeyPackage.Marshal] (RFC 9420,
// Section 10).
func ParsePrivateKeyPackage(b []byte) (*PrivateKeyPackage, error) {
	return parseAll(bytes.Clone(b), func(r *reader) *PrivateKeyPackage {
		if r.uint8() != privateKeyPackageVersion {
			r.fail("unknown version of a private key package")
		}
		return &PrivateKeyPackage{KeyPackage: readKeyPackage(r), InitKey: r.vector(), EncryptionKey: r.vector()}
	})
}

// KeyPackageOptions are the choices of [Client.NewKeyPackage] (RFC 9420, Section
// 10); the zero value is a fine choice.
type KeyPackageOptions struct {
	Leaf       LeafOptions
	Extensions []Extension   // of the KeyPackage itself
	Lifetime   time.Duration // [DefaultLifetime] if zero
	LastResort bool          // may be used again where no other is left (Section 16.8)
}

// clockSkew is by how much a lifetime begins before now, for receivers whose
// clock is slow.
const clockSkew = time.Hour

// NewKeyPackage makes a key package for a cipher suite (RFC 9420, Section 10).
// Publish its Message; each is to be used once.
func (c *Client) NewKeyPackage(cs CipherSuite, id Identity, opts KeyPackageOptions) (*PrivateKeyPackage, error) {
	s, err := cs.suite()
	if err != nil {
		return nil, err
	}
	leafOpts := opts.Leaf
	extensions := append([]Extension(nil), opts.Extensions...)
	if opts.LastResort {
		extensions = append(extensions, Extension{ExtensionType: ExtensionTypeLastResort})
		leafOpts.SupportedExtensions = append([]ExtensionType{ExtensionTypeLastResort}, leafOpts.SupportedExtensions...)
	}
	leaf, err := c.newLeafNode(s, id, leafOpts)
	if err != nil {
		return nil, err
	}
	for _, e := range extensions {
		if !leaf.Capabilities.supportsExtension(e.ExtensionType) {
			return nil, errors.New("mls: key package extension is not among the supported extensions")
		}
	}
	// A KeyPackage has the same GREASE as its leaf, whose capabilities list it.
	extensions = append(extensions, leaf.Extensions[len(leaf.Extensions)-1])
	initKey, err := c.generateKeyPair(s)
	if err != nil {
		return nil, err
	}
	leafKey, err := c.generateKeyPair(s)
	if err != nil {
		return nil, err
	}
	leaf.EncryptionKey = leafKey.public
	leaf.LeafNodeSource = LeafNodeSourceKeyPackage
	leaf.Lifetime = c.newLifetime(opts.Lifetime)
	if err := leaf.sign(s, id.Signer, nil, 0); err != nil {
		return nil, err
	}
	k := &KeyPackage{
		Version:     ProtocolVersionMLS10,
		CipherSuite: cs,
		InitKey:     initKey.public,
		LeafNode:    leaf,
		Extensions:  extensions,
	}
	if k.Signature, err = s.signWithLabel(id.Signer, keyPackageLabel, k.tbs()); err != nil {
		return nil, err
	}
	if err := c.checkKeyPackage(k, s, nil); err != nil {
		return nil, fmt.Errorf("checking our key package: %w", err)
	}
	return &PrivateKeyPackage{KeyPackage: k, InitKey: initKey.secret, EncryptionKey: leafKey.secret}, nil
}

func (c *Client) newLifetime(d time.Duration) Lifetime {
	if d <= 0 {
		d = DefaultLifetime
	}
	now := c.now()
	return Lifetime{NotBefore: uint64(max(0, now.Add(-clockSkew).Unix())), NotAfter: uint64(max(0, now.Add(d).Unix()))}
}

// generateKeyPair makes an HPKE key pair from the client's randomness.
func (c *Client) generateKeyPair(s *suite) (*keyPair, error) {
	ikm, err := c.random(64)
	if err != nil {
		return nil, err
	}
	defer clear(ikm)
	return s.deriveKeyPair(ikm)
}

// random returns n fresh random bytes.
func (c *Client) random(n int) ([]byte, error) {
	b := make([]byte, n)
	source := c.config.Rand
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, b); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return b, nil
}
