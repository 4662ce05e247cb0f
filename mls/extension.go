package mls

// An ExtensionType names an extension (RFC 9420, Section 17.3). Applications
// define their own in the range 0xF000 to 0xFFFF.
type ExtensionType uint16

// The extension types of RFC 9420, Section 17.3, and last_resort, which the
// registry has from draft-ietf-mls-extensions.
const (
	ExtensionTypeApplicationID        ExtensionType = 0x0001
	ExtensionTypeRatchetTree          ExtensionType = 0x0002
	ExtensionTypeRequiredCapabilities ExtensionType = 0x0003
	ExtensionTypeExternalPub          ExtensionType = 0x0004
	ExtensionTypeExternalSenders      ExtensionType = 0x0005
	ExtensionTypeLastResort           ExtensionType = 0x000A
)

// isDefault reports whether every client supports the type, which is then not
// listed in capabilities (RFC 9420, Section 7.2).
func (t ExtensionType) isDefault() bool {
	return t >= ExtensionTypeApplicationID && t <= ExtensionTypeExternalSenders
}

// An Extension carries data that the protocol does not need to know (RFC 9420,
// Section 13.4).
type Extension struct {
	ExtensionType ExtensionType
	ExtensionData []byte
}

func (e Extension) appendTo(b []byte) []byte {
	return appendVector(appendUint16(b, uint16(e.ExtensionType)), e.ExtensionData)
}

func readExtension(r *reader) Extension {
	return Extension{ExtensionType: ExtensionType(r.uint16()), ExtensionData: r.vector()}
}

func appendExtensions(b []byte, list []Extension) []byte {
	return appendList(b, list, func(b []byte, e Extension) []byte { return e.appendTo(b) })
}

// readExtensions reads a list of extensions, in which a type stands at most once
// (RFC 9420, Section 13.4).
func readExtensions(r *reader) []Extension {
	list := readList(r, readExtension)
	seen := make(map[ExtensionType]bool, len(list))
	for _, e := range list {
		if seen[e.ExtensionType] {
			r.fail("extension type listed twice")
			return nil
		}
		seen[e.ExtensionType] = true
	}
	return list
}

// FindExtension returns the data of the extension of the given type (RFC 9420,
// Section 13.4).
func FindExtension(list []Extension, t ExtensionType) (data []byte, ok bool) {
	for _, e := range list {
		if e.ExtensionType == t {
			return e.ExtensionData, true
		}
	}
	return nil, false
}

// An extensionPlace is a structure that holds extensions.
type extensionPlace int

const (
	inKeyPackage extensionPlace = iota
	inLeafNode
	inGroupContext
	inGroupInfo
)

// extensionPlaces says where the default extensions may stand (RFC 9420,
// Section 17.3).
var extensionPlaces = map[ExtensionType]extensionPlace{
	ExtensionTypeApplicationID:        inLeafNode,
	ExtensionTypeRatchetTree:          inGroupInfo,
	ExtensionTypeRequiredCapabilities: inGroupContext,
	ExtensionTypeExternalPub:          inGroupInfo,
	ExtensionTypeExternalSenders:      inGroupContext,
}

// checkExtensions refuses duplicates, default extensions out of their place, and
// data of a known extension that does not parse to its end.
func checkExtensions(list []Extension, place extensionPlace) error {
	seen := make(map[ExtensionType]bool, len(list))
	for _, e := range list {
		if seen[e.ExtensionType] {
			return invalid("13.4", "extension type 0x%04X listed twice", uint16(e.ExtensionType))
		}
		seen[e.ExtensionType] = true
		if want, ok := extensionPlaces[e.ExtensionType]; ok && want != place {
			return invalid("17.3", "extension type 0x%04X out of its place", uint16(e.ExtensionType))
		}
		if err := checkExtensionData(e); err != nil {
			return err
		}
	}
	return nil
}

func checkExtensionData(e Extension) error {
	var err error
	switch e.ExtensionType {
	case ExtensionTypeApplicationID, ExtensionTypeExternalPub:
		_, err = parseAll(e.ExtensionData, (*reader).vector)
	case ExtensionTypeRequiredCapabilities:
		_, err = parseAll(e.ExtensionData, readRequiredCapabilities)
	case ExtensionTypeExternalSenders:
		_, err = parseAll(e.ExtensionData, readExternalSenders)
	}
	return err
}

// ApplicationIDExtension returns the application_id extension of a LeafNode
// (RFC 9420, Section 5.3.3).
func ApplicationIDExtension(id []byte) Extension {
	return Extension{ExtensionTypeApplicationID, appendVector(nil, id)}
}

// RequiredCapabilities lists what every member of a group has to support beyond
// the defaults (RFC 9420, Section 11.1).
type RequiredCapabilities struct {
	ExtensionTypes  []ExtensionType
	ProposalTypes   []ProposalType
	CredentialTypes []CredentialType
}

// Extension returns the required_capabilities extension of a GroupContext (RFC 9420,
// Section 11.1).
func (c RequiredCapabilities) Extension() Extension {
	b := appendUint16List(nil, c.ExtensionTypes)
	b = appendUint16List(b, c.ProposalTypes)
	return Extension{ExtensionTypeRequiredCapabilities, appendUint16List(b, c.CredentialTypes)}
}

func readRequiredCapabilities(r *reader) RequiredCapabilities {
	return RequiredCapabilities{
		ExtensionTypes:  readUint16List[ExtensionType](r),
		ProposalTypes:   readUint16List[ProposalType](r),
		CredentialTypes: readUint16List[CredentialType](r),
	}
}

// requiredCapabilities returns the group's requirements; the zero value if it
// has none.
func requiredCapabilities(extensions []Extension) (RequiredCapabilities, error) {
	data, ok := FindExtension(extensions, ExtensionTypeRequiredCapabilities)
	if !ok {
		return RequiredCapabilities{}, nil
	}
	return parseAll(data, readRequiredCapabilities)
}

// An ExternalSender may send proposals from outside of the group (RFC 9420,
// Section 12.1.8.1).
type ExternalSender struct {
	SignatureKey []byte
	Credential   Credential
}

// ExternalSendersExtension returns the external_senders extension of a GroupContext
// (RFC 9420, Section 12.1.8.1). A sender names itself by its place in the list.
func ExternalSendersExtension(senders []ExternalSender) Extension {
	return Extension{ExtensionTypeExternalSenders, appendList(nil, senders, func(b []byte, s ExternalSender) []byte {
		return s.Credential.appendTo(appendVector(b, s.SignatureKey))
	})}
}

func readExternalSenders(r *reader) []ExternalSender {
	return readList(r, func(r *reader) ExternalSender {
		return ExternalSender{SignatureKey: r.vector(), Credential: readCredential(r)}
	})
}

func externalSenders(extensions []Extension) ([]ExternalSender, error) {
	data, ok := FindExtension(extensions, ExtensionTypeExternalSenders)
	if !ok {
		return nil, nil
	}
	return parseAll(data, readExternalSenders)
}

// externalPubExtension returns the external_pub extension of a GroupInfo: a key
// with a length of its own inside of the extension data (RFC 9420,
// Section 12.4.3.2).
func externalPubExtension(key []byte) Extension {
	return Extension{ExtensionTypeExternalPub, appendVector(nil, key)}
}

// greaseValue returns one of the values that every receiver has to ignore
// (RFC 9420, Section 13.5), chosen by random.
func greaseValue(random byte) uint16 {
	return 0x0A0A + 0x1010*uint16(random%15)
}
