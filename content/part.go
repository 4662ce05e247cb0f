package content

import "strconv"

// Disposition is what a part is for (draft, sections "Message Bodies" and "MIMI
// Content Disposition registry"). A number that is not known counts as
// DispositionRender.
type Disposition uint8

// Dispositions of the draft.
const (
	DispositionUnspecified Disposition = iota
	// DispositionRender: to be shown as the receiver sees fit.
	DispositionRender
	// DispositionReaction: a single reaction to another message.
	DispositionReaction
	// DispositionProfile: a profile of a participant or a room.
	DispositionProfile
	// DispositionInline: to be shown within the conversation.
	DispositionInline
	// DispositionIcon: such as an avatar.
	DispositionIcon
	// DispositionAttachment: to be downloaded, not shown at once.
	DispositionAttachment
	// DispositionSession: a multimedia session, or a URI to join one.
	DispositionSession
	// DispositionPreview: the sender's preview, such as of a link.
	DispositionPreview
)

var dispositionNames = [...]string{"unspecified", "render", "reaction", "profile", "inline", "icon", "attachment",
	"session", "preview"}

// String is the name in the draft, or the number.
func (d Disposition) String() string {
	if int(d) < len(dispositionNames) {
		return dispositionNames[d]
	}
	return strconv.Itoa(int(d))
}

// shown says whether a part of this disposition belongs to what people read.
func (d Disposition) shown() bool {
	return d == DispositionUnspecified || d == DispositionRender || d == DispositionInline || d > DispositionPreview
}

// NestedPart is a part of a message (draft, section "Message Bodies").
type NestedPart struct {
	Disposition Disposition
	// Language is empty, or a list of language tags (RFC 5646), separated by commas.
	// It is not checked.
	Language string
	// Content is a NullPart, SinglePart, ExternalPart or MultiPart.
	Content PartContent
}

// PartContent is what a part holds: NullPart, SinglePart, ExternalPart or MultiPart.
type PartContent interface{ cardinality() cardinality }

// cardinality tells the kinds of parts apart.
type cardinality uint8

const (
	cardinalityNull cardinality = iota
	cardinalitySingle
	cardinalityExternal
	cardinalityMulti
)

// NullPart is a part without content: what a deletion has for a body.
type NullPart struct{}

// SinglePart is content inside of the message.
type SinglePart struct {
	// ContentType is the media type with its parameters.
	ContentType string
	Content     []byte
}

// ExternalPart is content to be fetched (draft, section "External content").
type ExternalPart struct {
	// ContentType is the media type of what is fetched, decrypted.
	ContentType string
	URL         string
	// Expires is until when it can be fetched, in seconds since 1970 UTC; 0 for always.
	Expires uint32
	// Size is in bytes; 0 where it is not known.
	Size uint64
	// EncAlg is a number of IANA's registry of AEAD algorithms (1: AES-128-GCM, 2:
	// AES-256-GCM); 0 for none, and then Key, Nonce and AAD are empty.
	EncAlg uint16
	Key    []byte
	Nonce  []byte
	// AAD is the additional authenticated data, empty as a rule.
	AAD []byte
	// HashAlg is a number of IANA's registry of named information hash algorithms (1:
	// SHA-256); 0 for none.
	HashAlg uint8
	// ContentHash is the hash of what is fetched, as it stands at the URL.
	ContentHash []byte
	// Description and Filename are for people; either can be empty. Filename comes from
	// a stranger: use no path from it.
	Description string
	Filename    string
}

// MultiPart is a list of two parts or more.
type MultiPart struct {
	Semantics PartSemantics
	Parts     []NestedPart
}

// PartSemantics is how the parts of a MultiPart belong together (draft, section
// "Message Bodies").
type PartSemantics uint8

// Semantics of the draft. There are no others.
const (
	// ChooseOne: exactly one of them is to be processed.
	ChooseOne PartSemantics = iota
	// SingleUnit: all of them, or none.
	SingleUnit
	// ProcessAll: as many of them as possible.
	ProcessAll
)

func (NullPart) cardinality() cardinality     { return cardinalityNull }
func (SinglePart) cardinality() cardinality   { return cardinalitySingle }
func (ExternalPart) cardinality() cardinality { return cardinalityExternal }
func (MultiPart) cardinality() cardinality    { return cardinalityMulti }
