package mls

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A CredentialType says how a [Credential] names its holder (RFC 9420,
// Section 17.5).
type CredentialType uint16

// The credential types of RFC 9420, Section 17.5.
const (
	CredentialTypeBasic CredentialType = 0x0001
	CredentialTypeX509  CredentialType = 0x0002
)

// isDefault reports whether every client supports the type: none is of that kind.
func (CredentialType) isDefault() bool { return false }

// A Credential is a claim to an identity (RFC 9420, Section 5.3). It is worth
// nothing before the [AuthenticationService] has accepted it for a signature key.
type Credential struct {
	CredentialType CredentialType

	// Identity holds the identity of a basic credential. Of a credential type
	// that this package does not know, it holds the content, which is taken to
	// be opaque<V>.
	Identity []byte

	// Certificates holds the DER certificates of an X.509 credential, the one of
	// the signature key first. That it is of the signature key is checked here; all
	// else about certificates is for the [AuthenticationService].
	Certificates [][]byte
}

// BasicCredential returns a credential that is a bare identity (RFC 9420, Section
// 5.3).
func BasicCredential(identity []byte) Credential {
	return Credential{CredentialType: CredentialTypeBasic, Identity: identity}
}

// Equal reports whether both credentials are the same bytes.
func (c Credential) Equal(other Credential) bool {
	return bytes.Equal(c.appendTo(nil), other.appendTo(nil))
}

func (c Credential) appendTo(b []byte) []byte {
	b = appendUint16(b, uint16(c.CredentialType))
	if c.CredentialType == CredentialTypeX509 {
		return appendList(b, c.Certificates, appendVector)
	}
	return appendVector(b, c.Identity)
}

func readCredential(r *reader) Credential {
	c := Credential{CredentialType: CredentialType(r.uint16())}
	if c.CredentialType == CredentialTypeX509 {
		c.Certificates = readList(r, (*reader).vector)
	} else {
		c.Identity = r.vector()
	}
	return c
}

// A CredentialUse says where the [AuthenticationService] is asked about a
// credential (RFC 9420, Section 5.3.1).
type CredentialUse int

// The uses of credentials (RFC 9420, Section 5.3.1).
const (
	// CredentialInKeyPackage is a client that is about to be added.
	CredentialInKeyPackage CredentialUse = iota + 1
	// CredentialInUpdate is a member that proposes to replace its leaf.
	CredentialInUpdate
	// CredentialInCommit is a committer that replaces its leaf, or the joiner of
	// an external commit.
	CredentialInCommit
	// CredentialInTree is a member of a group that we join.
	CredentialInTree
	// CredentialOfExternalSender is a sender outside of the group that the
	// group's external_senders extension lists.
	CredentialOfExternalSender
)

func (u CredentialUse) String() string {
	switch u {
	case CredentialInKeyPackage:
		return "key package"
	case CredentialInUpdate:
		return "update"
	case CredentialInCommit:
		return "commit"
	case CredentialInTree:
		return "ratchet tree"
	case CredentialOfExternalSender:
		return "external sender"
	}
	return fmt.Sprintf("CredentialUse(%d)", int(u))
}

// A CredentialCheck is the question to an [AuthenticationService] (RFC 9420, Section
// 5.3.1).
type CredentialCheck struct {
	// GroupID is the group that the credential is used in, or nil where a key
	// package is checked outside of a group.
	GroupID []byte
	Use     CredentialUse

	// Credential is the claim, and SignatureKey the key that it has to be bound
	// to, encoded as in a LeafNode.
	Credential   Credential
	SignatureKey []byte

	// Previous is what the leaf held before, where a member replaces its own leaf,
	// or comes back by an external commit in place of it; nil otherwise.
	Previous *CredentialBinding
}

// A CredentialBinding is a credential and the signature key it was accepted for (RFC
// 9420, Section 5.3.1).
type CredentialBinding struct {
	Credential   Credential
	SignatureKey []byte
}

// An AuthenticationService decides which credentials to believe (RFC 9420,
// Section 5.3.1). This package cannot do that, since only the application knows
// what an identity is. Every credential is shown to it before it takes effect,
// each time it appears in a new place.
//
// Calls may come from several goroutines at once.
type AuthenticationService interface {
	// ValidateCredential returns nil if the signature key belongs to whom the
	// credential names, and is acceptable in that place. Any error refuses the
	// message that the credential came in.
	ValidateCredential(CredentialCheck) error

	// ValidateSuccessor returns nil if the credential may take the place of
	// Previous, which is set. It is asked in addition, where a member changes its
	// leaf, and where somebody from outside of the group claims a member's place
	// as its own: accept only who is the same client.
	ValidateSuccessor(CredentialCheck) error
}

// AuthenticationFunc makes an [AuthenticationService] of a function, for
// applications in which a client's credential never changes (RFC 9420, Section
// 5.3.1).
type AuthenticationFunc func(CredentialCheck) error

// ValidateCredential calls f.
func (f AuthenticationFunc) ValidateCredential(c CredentialCheck) error { return f(c) }

// ValidateSuccessor refuses every credential but the one before.
func (AuthenticationFunc) ValidateSuccessor(c CredentialCheck) error {
	if !c.Credential.Equal(c.Previous.Credential) {
		return errors.New("mls: member changes its credential")
	}
	return nil
}

// An Identity is what a client presents itself with (RFC 9420, Section 5.3): a
// credential, and the signature key that it is bound to.
type Identity struct {
	Credential Credential

	// Signer holds the private key. Any implementation will do, a hardware key
	// as well as an [ed25519.PrivateKey] or an [*ecdsa.PrivateKey].
	Signer crypto.Signer
}

func (id Identity) publicKey(s *suite) ([]byte, error) {
	if id.Signer == nil {
		return nil, errors.New("mls: identity without a signer")
	}
	key, err := s.scheme.encode(id.Signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding signature key: %w", err)
	}
	return key, nil
}

// checkCertificate checks that the first certificate of an X.509 credential is of
// the signature key that the credential stands beside (RFC 9420, Section 5.3).
func (c Credential) checkCertificate(signatureKey []byte) error {
	if c.CredentialType != CredentialTypeX509 {
		return nil
	}
	if len(c.Certificates) == 0 {
		return invalid("5.3", "X.509 credential without a certificate")
	}
	if !bytes.Equal(certificateKey(c.Certificates[0]), signatureKey) {
		return invalid("5.3", "X.509 certificate is of another key than the signature key")
	}
	return nil
}

// certificateKey returns the subjectPublicKey of a DER certificate (RFC 5280,
// Section 4.1), which has the form of a SignaturePublicKey; nil if it has none.
// Package crypto/x509 would link the network into this one.
func certificateKey(der []byte) []byte {
	var certificate, tbs, info cryptobyte.String
	var key []byte
	input := cryptobyte.String(der)
	version := asn1.Tag(0).Constructed().ContextSpecific()
	ok := input.ReadASN1(&certificate, asn1.SEQUENCE) && input.Empty() &&
		certificate.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(version) &&
		tbs.SkipASN1(asn1.INTEGER) && // serialNumber
		tbs.SkipASN1(asn1.SEQUENCE) && // signature
		tbs.SkipASN1(asn1.SEQUENCE) && // issuer
		tbs.SkipASN1(asn1.SEQUENCE) && // validity
		tbs.SkipASN1(asn1.SEQUENCE) && // subject
		tbs.ReadASN1(&info, asn1.SEQUENCE) &&
		info.SkipASN1(asn1.SEQUENCE) && // algorithm
		info.ReadASN1BitStringAsBytes(&key) && info.Empty()
	if !ok {
		return nil
	}
	return key
}

// authenticate asks the application about a credential.
func (c *Client) authenticate(check CredentialCheck) error {
	if err := check.Credential.checkCertificate(check.SignatureKey); err != nil {
		return err
	}
	if err := c.auth.ValidateCredential(check); err != nil {
		return fmt.Errorf("authenticating %s: %w", check.Use, err)
	}
	if check.Previous == nil {
		return nil
	}
	if err := c.auth.ValidateSuccessor(check); err != nil {
		return fmt.Errorf("authenticating successor in %s: %w", check.Use, err)
	}
	return nil
}
