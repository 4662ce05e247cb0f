package mls

import (
	"crypto"
	"fmt"
	"slices"
	"time"
)

// ProtocolVersion is the version of the protocol (RFC 9420, Section 6).
type ProtocolVersion uint16

// ProtocolVersionMLS10 is MLS 1.0, the version of RFC 9420 (Section 6).
const ProtocolVersionMLS10 ProtocolVersion = 1

// A LeafNodeSource says how a LeafNode came into the tree (RFC 9420,
// Section 7.2).
type LeafNodeSource uint8

// The sources of a LeafNode (RFC 9420, Section 7.2).
const (
	LeafNodeSourceKeyPackage LeafNodeSource = 1
	LeafNodeSourceUpdate     LeafNodeSource = 2
	LeafNodeSourceCommit     LeafNodeSource = 3
)

// Capabilities lists what a client supports (RFC 9420, Section 7.2). Default
// extensions and proposals are not listed.
type Capabilities struct {
	Versions     []ProtocolVersion
	CipherSuites []CipherSuite
	Extensions   []ExtensionType
	Proposals    []ProposalType
	Credentials  []CredentialType
}

func (c Capabilities) appendTo(b []byte) []byte {
	b = appendUint16List(b, c.Versions)
	b = appendUint16List(b, c.CipherSuites)
	b = appendUint16List(b, c.Extensions)
	b = appendUint16List(b, c.Proposals)
	return appendUint16List(b, c.Credentials)
}

func readCapabilities(r *reader) Capabilities {
	return Capabilities{
		Versions:     readUint16List[ProtocolVersion](r),
		CipherSuites: readUint16List[CipherSuite](r),
		Extensions:   readUint16List[ExtensionType](r),
		Proposals:    readUint16List[ProposalType](r),
		Credentials:  readUint16List[CredentialType](r),
	}
}

func (c Capabilities) supportsExtension(t ExtensionType) bool {
	return t.isDefault() || slices.Contains(c.Extensions, t)
}

// missing returns the first of the wanted types that is neither a default one nor
// among those that a client has. Both lists can be long if a hostile client made
// them, so that it takes no more time than reading them.
func missing[T interface {
	~uint16
	isDefault() bool
}](have, want []T) (T, bool) {
	var set map[T]bool
	if len(want) > 8 {
		set = make(map[T]bool, len(have))
		for _, t := range have {
			set[t] = true
		}
	}
	for _, t := range want {
		if !t.isDefault() && !set[t] && (set != nil || !slices.Contains(have, t)) {
			return t, true
		}
	}
	return 0, false
}

func extensionTypes(list []Extension) []ExtensionType {
	types := make([]ExtensionType, len(list))
	for i, e := range list {
		types[i] = e.ExtensionType
	}
	return types
}

// meets reports whether a client with these capabilities may be in a group with
// the given requirements.
func (c Capabilities) meets(req RequiredCapabilities) error {
	if t, ok := missing(c.Extensions, req.ExtensionTypes); ok {
		return invalid("7.3", "required extension 0x%04X is not in the leaf's capabilities", uint16(t))
	}
	if t, ok := missing(c.Proposals, req.ProposalTypes); ok {
		return invalid("7.3", "required proposal 0x%04X is not in the leaf's capabilities", uint16(t))
	}
	if t, ok := missing(c.Credentials, req.CredentialTypes); ok {
		return invalid("7.3", "required credential type 0x%04X is not in the leaf's capabilities", uint16(t))
	}
	return nil
}

// A Lifetime is the time in which a key package may be used, in seconds since
// the Unix epoch, both ends included (RFC 9420, Section 7.2).
type Lifetime struct {
	NotBefore uint64
	NotAfter  uint64
}

// checkRange refuses a lifetime longer than the application accepts.
func (l Lifetime) checkRange(longest time.Duration) error {
	if l.NotAfter < l.NotBefore {
		return invalid("7.2", "lifetime ends before it begins")
	}
	if longest > 0 && l.NotAfter-l.NotBefore > uint64(longest/time.Second) {
		return invalid("7.2", "lifetime is longer than %v", longest)
	}
	return nil
}

// checkBegun refuses a lifetime that begins after now.
func (l Lifetime) checkBegun(now time.Time) error {
	if uint64(max(0, now.Unix())) < l.NotBefore {
		return invalid("7.3", "lifetime has not begun")
	}
	return nil
}

// checkTime refuses a lifetime that does not include now.
func (l Lifetime) checkTime(now time.Time) error {
	if err := l.checkBegun(now); err != nil {
		return err
	}
	if uint64(max(0, now.Unix())) > l.NotAfter {
		return invalid("7.3", "lifetime has ended")
	}
	return nil
}

// A LeafNode is a client's appearance in a group (RFC 9420, Section 7.2).
// LeafNodes that this package returns are shared and must not be changed.
type LeafNode struct {
	EncryptionKey  []byte
	SignatureKey   []byte
	Credential     Credential
	Capabilities   Capabilities
	LeafNodeSource LeafNodeSource
	Lifetime       Lifetime // where the source is a key package
	ParentHash     []byte   // where the source is a commit
	Extensions     []Extension
	Signature      []byte
}

func (l *LeafNode) appendUnsigned(b []byte) []byte {
	b = appendVector(b, l.EncryptionKey)
	b = appendVector(b, l.SignatureKey)
	b = l.Credential.appendTo(b)
	b = l.Capabilities.appendTo(b)
	b = append(b, byte(l.LeafNodeSource))
	switch l.LeafNodeSource {
	case LeafNodeSourceKeyPackage:
		b = appendUint64(b, l.Lifetime.NotBefore)
		b = appendUint64(b, l.Lifetime.NotAfter)
	case LeafNodeSourceCommit:
		b = appendVector(b, l.ParentHash)
	}
	return appendExtensions(b, l.Extensions)
}

func (l *LeafNode) appendTo(b []byte) []byte {
	return appendVector(l.appendUnsigned(b), l.Signature)
}

func readLeafNode(r *reader) *LeafNode {
	l := &LeafNode{
		EncryptionKey:  r.vector(),
		SignatureKey:   r.vector(),
		Credential:     readCredential(r),
		Capabilities:   readCapabilities(r),
		LeafNodeSource: LeafNodeSource(r.uint8()),
	}
	switch l.LeafNodeSource {
	case LeafNodeSourceKeyPackage:
		l.Lifetime = Lifetime{NotBefore: r.uint64(), NotAfter: r.uint64()}
	case LeafNodeSourceUpdate:
	case LeafNodeSourceCommit:
		l.ParentHash = r.vector()
	default:
		r.fail("unknown leaf node source")
	}
	l.Extensions = readExtensions(r)
	l.Signature = r.vector()
	return l
}

// Marshal returns the encoding of the LeafNode (RFC 9420, Section 7.2).
func (l *LeafNode) Marshal() []byte { return l.appendTo(nil) }

// tbs returns LeafNodeTBS. The place in the group is signed along, unless the
// LeafNode was made for a key package.
func (l *LeafNode) tbs(groupID []byte, index LeafIndex) []byte {
	b := l.appendUnsigned(nil)
	if l.LeafNodeSource != LeafNodeSourceKeyPackage {
		b = appendUint32(appendVector(b, groupID), uint32(index))
	}
	return b
}

const leafNodeLabel = "LeafNodeTBS"

func (l *LeafNode) sign(s *suite, key crypto.Signer, groupID []byte, index LeafIndex) error {
	sig, err := s.signWithLabel(key, leafNodeLabel, l.tbs(groupID, index))
	l.Signature = sig
	return err
}

func (l *LeafNode) verify(s *suite, groupID []byte, index LeafIndex) error {
	return s.verifyWithLabel(l.SignatureKey, leafNodeLabel, l.tbs(groupID, index), l.Signature)
}

// checkAlone applies the rules of RFC 9420, Section 7.3 that concern the
// LeafNode alone: keys, extensions and capabilities.
func (l *LeafNode) checkAlone(s *suite) error {
	if err := s.checkPublicKey(l.EncryptionKey); err != nil {
		return err
	}
	if err := s.scheme.check(l.SignatureKey); err != nil {
		return err
	}
	if err := checkExtensions(l.Extensions, inLeafNode); err != nil {
		return err
	}
	c := l.Capabilities
	if !slices.Contains(c.Versions, ProtocolVersionMLS10) {
		return invalid("7.2", "leaf's capabilities lack the protocol version")
	}
	if !slices.Contains(c.CipherSuites, s.id) {
		return invalid("7.2", "leaf's capabilities lack the cipher suite")
	}
	if !slices.Contains(c.Credentials, l.Credential.CredentialType) {
		return invalid("7.3", "leaf's credential type is not in its capabilities")
	}
	if slices.ContainsFunc(c.Extensions, ExtensionType.isDefault) {
		return invalid("7.2", "default extension type listed in capabilities")
	}
	if slices.ContainsFunc(c.Proposals, ProposalType.isDefault) {
		return invalid("7.2", "default proposal type listed in capabilities")
	}
	if t, ok := missing(c.Extensions, extensionTypes(l.Extensions)); ok {
		return invalid("7.3", "leaf's extension 0x%04X is not in its capabilities", uint16(t))
	}
	return nil
}

// checkInContext applies the rules that tie a LeafNode to the GroupContext.
func (l *LeafNode) checkInContext(groupExtensions []Extension) error {
	req, err := requiredCapabilities(groupExtensions)
	if err != nil {
		return err
	}
	if err := l.Capabilities.meets(req); err != nil {
		return err
	}
	if t, ok := missing(l.Capabilities.Extensions, extensionTypes(groupExtensions)); ok {
		return invalid("13.4", "group extension 0x%04X is not in the leaf's capabilities", uint16(t))
	}
	return nil
}

// binding returns the credential and its key.
func (l *LeafNode) binding() *CredentialBinding {
	return &CredentialBinding{Credential: l.Credential, SignatureKey: l.SignatureKey}
}

func (l *LeafNode) credentialCheck(groupID []byte, use CredentialUse, previous *LeafNode) CredentialCheck {
	check := CredentialCheck{GroupID: groupID, Use: use, Credential: l.Credential, SignatureKey: l.SignatureKey}
	if previous != nil {
		check.Previous = previous.binding()
	}
	return check
}

// A clientSet holds clients by their leaves. Two leaves are of one client if they
// have the same signature key, or the same credential.
type clientSet struct {
	keys        map[string]bool
	credentials map[string]bool
}

func newClientSet() *clientSet {
	return &clientSet{keys: make(map[string]bool), credentials: make(map[string]bool)}
}

func (s *clientSet) add(l *LeafNode) {
	s.keys[string(l.SignatureKey)] = true
	s.credentials[string(l.Credential.appendTo(nil))] = true
}

func (s *clientSet) has(l *LeafNode) bool {
	return s.keys[string(l.SignatureKey)] || s.credentials[string(l.Credential.appendTo(nil))]
}

// LeafOptions is what a client says of itself in its LeafNode (RFC 9420, Section
// 7.2). The zero value says what this package supports.
type LeafOptions struct {
	// Extensions are put into the LeafNode. Types that are not default ones are
	// added to the capabilities.
	Extensions []Extension

	// SupportedExtensions and SupportedProposals are the application's own types,
	// and SupportedCredentials its credential types beyond the type of its own.
	SupportedExtensions  []ExtensionType
	SupportedProposals   []ProposalType
	SupportedCredentials []CredentialType
}

// newLeafNode returns a LeafNode without key, source and signature.
func (c *Client) newLeafNode(s *suite, id Identity, opts LeafOptions) (*LeafNode, error) {
	publicKey, err := id.publicKey(s)
	if err != nil {
		return nil, err
	}
	grease, err := c.random(8)
	if err != nil {
		return nil, err
	}
	caps := Capabilities{
		Versions:     []ProtocolVersion{ProtocolVersionMLS10},
		CipherSuites: append([]CipherSuite{s.id}, c.otherSuites(s)...),
		Extensions:   slices.Clone(opts.SupportedExtensions),
		Proposals:    slices.Clone(opts.SupportedProposals),
		Credentials:  slices.Clone(opts.SupportedCredentials),
	}
	if !slices.Contains(caps.Credentials, id.Credential.CredentialType) {
		caps.Credentials = append(caps.Credentials, id.Credential.CredentialType)
	}
	for _, e := range opts.Extensions {
		if !caps.supportsExtension(e.ExtensionType) {
			caps.Extensions = append(caps.Extensions, e.ExtensionType)
		}
	}
	caps.CipherSuites = append(caps.CipherSuites, CipherSuite(greaseValue(grease[0])))
	caps.Extensions = append(caps.Extensions, ExtensionType(greaseValue(grease[1])))
	caps.Proposals = append(caps.Proposals, ProposalType(greaseValue(grease[2])))
	caps.Credentials = append(caps.Credentials, CredentialType(greaseValue(grease[3])))
	return &LeafNode{
		SignatureKey: publicKey,
		Credential:   id.Credential,
		Capabilities: caps,
		Extensions:   append(slices.Clip(opts.Extensions), Extension{ExtensionType(greaseValue(grease[1])), grease[4:]}),
	}, nil
}

// replaceLeafNode returns a copy of our LeafNode for an Update or a Commit, still to be
// given a key and to be signed.
func (c *Client) replaceLeafNode(s *suite, old *LeafNode, id Identity, opts *LeafOptions) (*LeafNode, error) {
	if opts != nil {
		return c.newLeafNode(s, id, *opts)
	}
	publicKey, err := id.publicKey(s)
	if err != nil {
		return nil, err
	}
	leaf := *old
	leaf.SignatureKey, leaf.Credential = publicKey, id.Credential
	if t := id.Credential.CredentialType; !slices.Contains(leaf.Capabilities.Credentials, t) {
		return nil, fmt.Errorf("credential type 0x%04X is not among the leaf's capabilities", uint16(t))
	}
	leaf.Lifetime, leaf.ParentHash = Lifetime{}, nil
	return &leaf, nil
}
