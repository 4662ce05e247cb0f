package mls

import (
	"crypto/hpke"
	"fmt"
)

// A GroupContext is what all members of a group agree on in an epoch (RFC 9420,
// Section 8.1).
type GroupContext struct {
	Version                 ProtocolVersion
	CipherSuite             CipherSuite
	GroupID                 []byte
	Epoch                   uint64
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Extensions              []Extension
}

func (c *GroupContext) appendTo(b []byte) []byte {
	b = appendUint16(b, uint16(c.Version))
	b = appendUint16(b, uint16(c.CipherSuite))
	b = appendVector(b, c.GroupID)
	b = appendUint64(b, c.Epoch)
	b = appendVector(b, c.TreeHash)
	b = appendVector(b, c.ConfirmedTranscriptHash)
	return appendExtensions(b, c.Extensions)
}

func readGroupContext(r *reader) GroupContext {
	return GroupContext{
		Version:                 ProtocolVersion(r.uint16()),
		CipherSuite:             CipherSuite(r.uint16()),
		GroupID:                 r.vector(),
		Epoch:                   r.uint64(),
		TreeHash:                r.vector(),
		ConfirmedTranscriptHash: r.vector(),
		Extensions:              readExtensions(r),
	}
}

// Marshal returns the encoding of the GroupContext (RFC 9420, Section 8.1).
func (c *GroupContext) Marshal() []byte { return c.appendTo(nil) }

// joinerSecret is the joiner_secret of an epoch (RFC 9420, Section 8).
func (s *suite) joinerSecret(initSecret, commitSecret, groupContext []byte) []byte {
	secret := s.extract(initSecret, commitSecret)
	defer clear(secret)
	return s.expandWithLabel(secret, "joiner", groupContext, s.nh)
}

// memberSecret mixes the PSKs into the joiner_secret. The welcome_secret and the
// epoch_secret follow from it.
func (s *suite) memberSecret(joinerSecret, pskSecret []byte) []byte {
	return s.extract(joinerSecret, pskSecret)
}

func (s *suite) welcomeSecret(memberSecret []byte) []byte {
	return s.deriveSecret(memberSecret, "welcome")
}

func (s *suite) epochSecret(memberSecret, groupContext []byte) []byte {
	return s.expandWithLabel(memberSecret, "epoch", groupContext, s.nh)
}

// epochSecrets holds the secrets of an epoch (RFC 9420, Table 4). The
// encryption_secret is not among them: it goes into the secret tree.
type epochSecrets struct {
	senderDataSecret   []byte
	exporterSecret     []byte
	externalSecret     []byte
	confirmationKey    []byte
	membershipKey      []byte
	resumptionPSK      []byte
	epochAuthenticator []byte
	initSecret         []byte

	// Each message asks for what derives from the senderDataSecret; see senderData.
	senderDataExpander *expander
}

// senderData returns the expander of the sender_data_secret.
func (e *epochSecrets) senderData(s *suite) *expander {
	if e.senderDataExpander == nil {
		e.senderDataExpander = s.newExpander(e.senderDataSecret)
	}
	return e.senderDataExpander
}

// deriveEpoch derives the secrets of an epoch, and wipes the epoch_secret.
func (s *suite) deriveEpoch(epochSecret []byte) (secrets *epochSecrets, encryptionSecret []byte) {
	defer clear(epochSecret)
	return &epochSecrets{
		senderDataSecret:   s.deriveSecret(epochSecret, "sender data"),
		exporterSecret:     s.deriveSecret(epochSecret, "exporter"),
		externalSecret:     s.deriveSecret(epochSecret, "external"),
		confirmationKey:    s.deriveSecret(epochSecret, "confirm"),
		membershipKey:      s.deriveSecret(epochSecret, "membership"),
		resumptionPSK:      s.deriveSecret(epochSecret, "resumption"),
		epochAuthenticator: s.deriveSecret(epochSecret, "authentication"),
		initSecret:         s.deriveSecret(epochSecret, "init"),
	}, s.deriveSecret(epochSecret, "encryption")
}

func (e *epochSecrets) fields() []*[]byte {
	return []*[]byte{
		&e.senderDataSecret, &e.exporterSecret, &e.externalSecret, &e.confirmationKey,
		&e.membershipKey, &e.resumptionPSK, &e.epochAuthenticator, &e.initSecret,
	}
}

// export is MLS-Exporter of RFC 9420, Section 8.5.
func (s *suite) export(exporterSecret []byte, label string, context []byte, length int) []byte {
	secret := s.deriveSecret(exporterSecret, label)
	defer clear(secret)
	return s.expandWithLabel(secret, "exported", s.hash(context), length)
}

const externalInitLabel = "MLS 1.0 external init secret"

// sendExternalInit chooses the init secret of an external commit (RFC 9420,
// Section 8.3).
func (s *suite) sendExternalInit(externalPub []byte) (kemOutput, initSecret []byte, err error) {
	pk, err := s.kem.NewPublicKey(externalPub)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: external_pub", ErrInvalidKey)
	}
	kemOutput, sender, err := hpke.NewSender(pk, s.kdf, s.aead, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("encapsulating: %w", err)
	}
	initSecret, err = sender.Export(externalInitLabel, s.nh)
	return kemOutput, initSecret, err
}

// receiveExternalInit computes the same from the ExternalInit proposal.
func (s *suite) receiveExternalInit(externalSecret, kemOutput []byte) ([]byte, error) {
	key, err := s.deriveKeyPair(externalSecret)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewRecipient(kemOutput, key.private, s.kdf, s.aead, nil)
	if err != nil {
		return nil, invalid("8.3", "ExternalInit does not decapsulate")
	}
	return recipient.Export(externalInitLabel, s.nh)
}
