package mls

// A ProposalType names a kind of proposal (RFC 9420, Section 17.4). Applications
// define their own in the range 0xF000 to 0xFFFF.
type ProposalType uint16

// The proposal types of RFC 9420, Section 17.4.
const (
	ProposalTypeAdd                    ProposalType = 0x0001
	ProposalTypeUpdate                 ProposalType = 0x0002
	ProposalTypeRemove                 ProposalType = 0x0003
	ProposalTypePreSharedKey           ProposalType = 0x0004
	ProposalTypeReInit                 ProposalType = 0x0005
	ProposalTypeExternalInit           ProposalType = 0x0006
	ProposalTypeGroupContextExtensions ProposalType = 0x0007
)

// isDefault reports whether every client supports the type.
func (t ProposalType) isDefault() bool {
	return t >= ProposalTypeAdd && t <= ProposalTypeGroupContextExtensions
}

// needsPath reports whether a commit of such a proposal needs an UpdatePath
// (RFC 9420, Section 17.4). The application's own types do, to be on the safe
// side.
func (t ProposalType) needsPath() bool {
	return t != ProposalTypeAdd && t != ProposalTypePreSharedKey && t != ProposalTypeReInit
}

// allowedExternally reports whether an external sender may send the type
// (RFC 9420, Section 12.1.8).
func (t ProposalType) allowedExternally() bool {
	return t != ProposalTypeUpdate && t != ProposalTypeExternalInit
}

// A Proposal asks for a change of the group (RFC 9420, Section 12.1). It is one
// of [*Add], [*Update], [*Remove], [*PreSharedKey], [*ReInit], [*ExternalInit],
// [*GroupContextExtensions] and [*CustomProposal].
type Proposal interface {
	ProposalType() ProposalType
	appendBody([]byte) []byte
}

// Add asks to add a client (RFC 9420, Section 12.1.1).
type Add struct{ KeyPackage *KeyPackage }

// Update asks to replace the sender's leaf (RFC 9420, Section 12.1.2).
type Update struct{ LeafNode *LeafNode }

// Remove asks to remove a member (RFC 9420, Section 12.1.3).
type Remove struct{ Removed LeafIndex }

// PreSharedKey asks to mix a pre-shared key into the key schedule (RFC 9420,
// Section 12.1.4). Leave the nonce of its PSK empty: it is then chosen by random.
type PreSharedKey struct{ PSK PreSharedKeyID }

// ReInit asks to close the group, and to open a new one with the same members and
// other parameters (RFC 9420, Section 12.1.5).
type ReInit struct {
	GroupID     []byte
	Version     ProtocolVersion
	CipherSuite CipherSuite
	Extensions  []Extension
}

// ExternalInit brings the init secret of an external commit (RFC 9420,
// Section 12.1.6).
type ExternalInit struct{ KEMOutput []byte }

// GroupContextExtensions asks to replace all of the group's extensions (RFC 9420,
// Section 12.1.7).
type GroupContextExtensions struct{ Extensions []Extension }

// CustomProposal is a proposal of the application's own type (RFC 9420, Section
// 13.2). Its content is encoded as opaque<V>.
type CustomProposal struct {
	Type ProposalType
	Data []byte
}

// ProposalType returns [ProposalTypeAdd].
func (*Add) ProposalType() ProposalType { return ProposalTypeAdd }

// ProposalType returns [ProposalTypeUpdate].
func (*Update) ProposalType() ProposalType { return ProposalTypeUpdate }

// ProposalType returns [ProposalTypeRemove].
func (*Remove) ProposalType() ProposalType { return ProposalTypeRemove }

// ProposalType returns [ProposalTypePreSharedKey].
func (*PreSharedKey) ProposalType() ProposalType { return ProposalTypePreSharedKey }

// ProposalType returns [ProposalTypeReInit].
func (*ReInit) ProposalType() ProposalType { return ProposalTypeReInit }

// ProposalType returns [ProposalTypeExternalInit].
func (*ExternalInit) ProposalType() ProposalType { return ProposalTypeExternalInit }

// ProposalType returns [ProposalTypeGroupContextExtensions].
func (*GroupContextExtensions) ProposalType() ProposalType {
	return ProposalTypeGroupContextExtensions
}

// ProposalType returns the application's type.
func (p *CustomProposal) ProposalType() ProposalType { return p.Type }

func (p *Add) appendBody(b []byte) []byte          { return p.KeyPackage.appendTo(b) }
func (p *Update) appendBody(b []byte) []byte       { return p.LeafNode.appendTo(b) }
func (p *Remove) appendBody(b []byte) []byte       { return appendUint32(b, uint32(p.Removed)) }
func (p *PreSharedKey) appendBody(b []byte) []byte { return p.PSK.appendTo(b) }
func (p *ExternalInit) appendBody(b []byte) []byte { return appendVector(b, p.KEMOutput) }

func (p *ReInit) appendBody(b []byte) []byte {
	b = appendVector(b, p.GroupID)
	b = appendUint16(appendUint16(b, uint16(p.Version)), uint16(p.CipherSuite))
	return appendExtensions(b, p.Extensions)
}

func (p *GroupContextExtensions) appendBody(b []byte) []byte {
	return appendExtensions(b, p.Extensions)
}

func (p *CustomProposal) appendBody(b []byte) []byte { return appendVector(b, p.Data) }

func appendProposal(b []byte, p Proposal) []byte {
	return p.appendBody(appendUint16(b, uint16(p.ProposalType())))
}

func readProposal(r *reader) Proposal {
	t := ProposalType(r.uint16())
	switch t {
	case 0:
		r.fail("reserved proposal type")
		return nil
	case ProposalTypeAdd:
		return &Add{readKeyPackage(r)}
	case ProposalTypeUpdate:
		return &Update{readLeafNode(r)}
	case ProposalTypeRemove:
		return &Remove{LeafIndex(r.uint32())}
	case ProposalTypePreSharedKey:
		return &PreSharedKey{readPreSharedKeyID(r)}
	case ProposalTypeReInit:
		return readReInit(r)
	case ProposalTypeExternalInit:
		return &ExternalInit{r.vector()}
	case ProposalTypeGroupContextExtensions:
		return &GroupContextExtensions{readExtensions(r)}
	}
	return &CustomProposal{t, r.vector()}
}

func readReInit(r *reader) *ReInit {
	return &ReInit{
		GroupID:     r.vector(),
		Version:     ProtocolVersion(r.uint16()),
		CipherSuite: CipherSuite(r.uint16()),
		Extensions:  readExtensions(r),
	}
}
