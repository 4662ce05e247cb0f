package mls

import (
	"bytes"
	"errors"
	"fmt"
)

// expect compares two byte strings of a vector.
func expect(what string, got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is %x, want %x", what, got, want)
	}
	return nil
}

type treeMathVector struct {
	NLeaves uint32    `json:"n_leaves"`
	NNodes  uint32    `json:"n_nodes"`
	Root    uint32    `json:"root"`
	Left    []*uint32 `json:"left"`
	Right   []*uint32 `json:"right"`
	Parent  []*uint32 `json:"parent"`
	Sibling []*uint32 `json:"sibling"`
}

func checkTreeMath(v treeMathVector) error {
	height := heightFor(v.NLeaves)
	if n := uint32(2)<<height - 1; n != v.NNodes || uint32(rootOf(height)) != v.Root {
		return fmt.Errorf("%d nodes with root %d", n, rootOf(height))
	}
	for i := range v.NNodes {
		x := nodeIndex(i)
		relations := []struct {
			want *uint32
			has  bool
			f    func(nodeIndex) nodeIndex
		}{
			{v.Left[i], x.level() > 0, nodeIndex.left},
			{v.Right[i], x.level() > 0, nodeIndex.right},
			{v.Parent[i], x != rootOf(height), nodeIndex.parent},
			{v.Sibling[i], x != rootOf(height), nodeIndex.sibling},
		}
		for j, r := range relations {
			if (r.want != nil) != r.has || r.has && uint32(r.f(x)) != *r.want {
				return fmt.Errorf("relation %d of node %d", j, x)
			}
		}
	}
	return nil
}

type deserializationVector struct {
	Header hexBytes `json:"vlbytes_header"`
	Length int      `json:"length"`
}

func checkDeserialization(v deserializationVector) error {
	r := reader{rest: v.Header}
	if n := r.varint(); r.finish() != nil || n != v.Length {
		return fmt.Errorf("length %d, error %w", n, r.err)
	}
	return expect("header", appendVarint(nil, v.Length), v.Header)
}

type cryptoBasicsVector struct {
	CipherSuite CipherSuite `json:"cipher_suite"`
	RefHash     struct {
		Label string   `json:"label"`
		Value hexBytes `json:"value"`
		Out   hexBytes `json:"out"`
	} `json:"ref_hash"`
	ExpandWithLabel struct {
		Secret  hexBytes `json:"secret"`
		Label   string   `json:"label"`
		Context hexBytes `json:"context"`
		Length  int      `json:"length"`
		Out     hexBytes `json:"out"`
	} `json:"expand_with_label"`
	DeriveSecret struct {
		Secret hexBytes `json:"secret"`
		Label  string   `json:"label"`
		Out    hexBytes `json:"out"`
	} `json:"derive_secret"`
	DeriveTreeSecret struct {
		Secret     hexBytes `json:"secret"`
		Label      string   `json:"label"`
		Generation uint32   `json:"generation"`
		Length     int      `json:"length"`
		Out        hexBytes `json:"out"`
	} `json:"derive_tree_secret"`
	SignWithLabel struct {
		Priv      hexBytes `json:"priv"`
		Pub       hexBytes `json:"pub"`
		Content   hexBytes `json:"content"`
		Label     string   `json:"label"`
		Signature hexBytes `json:"signature"`
	} `json:"sign_with_label"`
	EncryptWithLabel struct {
		Priv       hexBytes `json:"priv"`
		Pub        hexBytes `json:"pub"`
		Label      string   `json:"label"`
		Context    hexBytes `json:"context"`
		Plaintext  hexBytes `json:"plaintext"`
		KEMOutput  hexBytes `json:"kem_output"`
		Ciphertext hexBytes `json:"ciphertext"`
	} `json:"encrypt_with_label"`
}

func checkCryptoBasics(v cryptoBasicsVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	x, d, t := v.ExpandWithLabel, v.DeriveSecret, v.DeriveTreeSecret
	if err := errors.Join(
		expect("RefHash", s.refHash(v.RefHash.Label, v.RefHash.Value), v.RefHash.Out),
		expect("ExpandWithLabel", s.expandWithLabel(x.Secret, x.Label, x.Context, x.Length), x.Out),
		expect("DeriveSecret", s.deriveSecret(d.Secret, d.Label), d.Out),
		expect("DeriveTreeSecret", s.newExpander(t.Secret).deriveTreeSecret(t.Label, t.Generation, t.Length), t.Out),
	); err != nil {
		return err
	}
	return errors.Join(checkSignVector(s, v), checkEncryptVector(s, v))
}

func checkSignVector(s *suite, v cryptoBasicsVector) error {
	w := v.SignWithLabel
	if err := s.verifyWithLabel(w.Pub, w.Label, w.Content, w.Signature); err != nil {
		return err
	}
	key, err := s.scheme.parse(w.Priv)
	if err != nil {
		return err
	}
	sig, err := s.signWithLabel(key, w.Label, w.Content)
	if err != nil {
		return err
	}
	return s.verifyWithLabel(w.Pub, w.Label, w.Content, sig)
}

func checkEncryptVector(s *suite, v cryptoBasicsVector) error {
	e := v.EncryptWithLabel
	key, err := s.parseKeyPair(e.Priv)
	if err != nil {
		return err
	}
	plaintext, err := s.decryptWithLabel(key.private, e.Label, e.Context, HPKECiphertext{e.KEMOutput, e.Ciphertext})
	if err != nil {
		return err
	}
	if err := expect("plaintext", plaintext, e.Plaintext); err != nil {
		return err
	}
	again, err := s.encryptWithLabel(e.Pub, e.Label, e.Context, e.Plaintext)
	if err != nil {
		return err
	}
	if plaintext, err = s.decryptWithLabel(key.private, e.Label, e.Context, again); err != nil {
		return err
	}
	return expect("plaintext", plaintext, e.Plaintext)
}

type secretTreeVector struct {
	CipherSuite CipherSuite `json:"cipher_suite"`
	SenderData  struct {
		Secret     hexBytes `json:"sender_data_secret"`
		Ciphertext hexBytes `json:"ciphertext"`
		Key        hexBytes `json:"key"`
		Nonce      hexBytes `json:"nonce"`
	} `json:"sender_data"`
	EncryptionSecret hexBytes                    `json:"encryption_secret"`
	Leaves           [][]secretTreeVectorRatchet `json:"leaves"`
}

type secretTreeVectorRatchet struct {
	Generation       uint32   `json:"generation"`
	HandshakeKey     hexBytes `json:"handshake_key"`
	HandshakeNonce   hexBytes `json:"handshake_nonce"`
	ApplicationKey   hexBytes `json:"application_key"`
	ApplicationNonce hexBytes `json:"application_nonce"`
}

func checkSecretTree(v secretTreeVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	key, nonce := s.senderDataKey(s.newExpander(v.SenderData.Secret), v.SenderData.Ciphertext)
	if err := errors.Join(expect("sender data key", key, v.SenderData.Key), expect("sender data nonce", nonce, v.SenderData.Nonce)); err != nil {
		return err
	}
	tree := newSecretTree(s, heightFor(uint32(len(v.Leaves))), v.EncryptionSecret)
	for i, generations := range v.Leaves {
		for _, g := range generations {
			for kind, want := range map[ratchetKind][2]hexBytes{
				handshakeRatchet:   {g.HandshakeKey, g.HandshakeNonce},
				applicationRatchet: {g.ApplicationKey, g.ApplicationNonce},
			} {
				use, err := tree.find(LeafIndex(i), kind, g.Generation)
				if err != nil {
					return err
				}
				if err := errors.Join(expect("key", use.key, want[0]), expect("nonce", use.nonce, want[1])); err != nil {
					return err
				}
				tree.consume(use)
			}
		}
	}
	return nil
}

type messageProtectionVector struct {
	CipherSuite             CipherSuite `json:"cipher_suite"`
	GroupID                 hexBytes    `json:"group_id"`
	Epoch                   uint64      `json:"epoch"`
	TreeHash                hexBytes    `json:"tree_hash"`
	ConfirmedTranscriptHash hexBytes    `json:"confirmed_transcript_hash"`
	SignaturePriv           hexBytes    `json:"signature_priv"`
	SignaturePub            hexBytes    `json:"signature_pub"`
	EncryptionSecret        hexBytes    `json:"encryption_secret"`
	SenderDataSecret        hexBytes    `json:"sender_data_secret"`
	MembershipKey           hexBytes    `json:"membership_key"`
	Proposal                hexBytes    `json:"proposal"`
	ProposalPriv            hexBytes    `json:"proposal_priv"`
	ProposalPub             hexBytes    `json:"proposal_pub"`
	Commit                  hexBytes    `json:"commit"`
	CommitPriv              hexBytes    `json:"commit_priv"`
	CommitPub               hexBytes    `json:"commit_pub"`
	Application             hexBytes    `json:"application"`
	ApplicationPriv         hexBytes    `json:"application_priv"`
}

func (v messageProtectionVector) context() []byte {
	c := GroupContext{
		Version: ProtocolVersionMLS10, CipherSuite: v.CipherSuite, GroupID: v.GroupID, Epoch: v.Epoch,
		TreeHash: v.TreeHash, ConfirmedTranscriptHash: v.ConfirmedTranscriptHash,
	}
	return c.Marshal()
}

func checkMessageProtection(v messageProtectionVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		raw, public, private hexBytes
		contentType          ContentType
	}{
		{v.Proposal, v.ProposalPub, v.ProposalPriv, ContentTypeProposal},
		{v.Commit, v.CommitPub, v.CommitPriv, ContentTypeCommit},
		{v.Application, nil, v.ApplicationPriv, ContentTypeApplication},
	} {
		c := content{contentType: ContentTypeApplication, applicationData: m.raw}
		if m.contentType != ContentTypeApplication {
			if c, err = parseAll(m.raw, func(r *reader) content { return readContent(r, m.contentType) }); err != nil {
				return err
			}
		}
		if m.public != nil {
			if err := v.checkPublic(s, m.public, m.raw); err != nil {
				return fmt.Errorf("public content type %d: %w", m.contentType, err)
			}
		}
		if err := v.checkPrivate(s, m.private, m.raw); err != nil {
			return fmt.Errorf("private content type %d: %w", m.contentType, err)
		}
		if err := v.checkOwnProtection(s, c, m.raw); err != nil {
			return fmt.Errorf("own message of content type %d: %w", m.contentType, err)
		}
	}
	return nil
}

// rawContent returns a content in the form of the vectors.
func rawContent(c content) []byte {
	if c.contentType == ContentTypeApplication {
		return c.applicationData
	}
	return c.appendTo(nil)
}

func (v messageProtectionVector) checkPublic(s *suite, message, raw []byte) error {
	m, err := ParseMessage(message)
	if err != nil {
		return err
	}
	if m.PublicMessage == nil {
		return errors.New("not a PublicMessage")
	}
	a, err := m.PublicMessage.unprotectPublic(s, v.MembershipKey, v.context())
	if err != nil {
		return err
	}
	if err := a.verify(s, v.SignaturePub, v.context()); err != nil {
		return err
	}
	return expect("content", rawContent(a.content.content), raw)
}

func (v messageProtectionVector) checkPrivate(s *suite, message, raw []byte) error {
	m, err := ParseMessage(message)
	if err != nil {
		return err
	}
	if m.PrivateMessage == nil {
		return errors.New("not a PrivateMessage")
	}
	p := m.PrivateMessage
	data, err := p.decryptSenderData(s, s.newExpander(v.SenderDataSecret))
	if err != nil {
		return err
	}
	if data.leafIndex != 1 {
		return fmt.Errorf("sender %d", data.leafIndex)
	}
	tree := newSecretTree(s, 1, bytes.Clone(v.EncryptionSecret))
	use, err := tree.find(data.leafIndex, ratchetFor(p.contentType), data.generation)
	if err != nil {
		return err
	}
	a, err := p.decryptContent(s, data, use)
	if err != nil {
		return err
	}
	if err := a.verify(s, v.SignaturePub, v.context()); err != nil {
		return err
	}
	return expect("content", rawContent(a.content.content), raw)
}

// protect protects a content as the vector's sender, in both forms.
func (v messageProtectionVector) protect(s *suite, c content) (public, private []byte, err error) {
	key, err := s.scheme.parse(v.SignaturePriv)
	if err != nil {
		return nil, nil, err
	}
	a := &authenticatedContent{
		content: framedContent{groupID: v.GroupID, epoch: v.Epoch, sender: memberSender(1), content: c},
		auth:    authData{confirmationTag: make([]byte, s.nh)},
	}
	a.wireFormat = WireFormatPublicMessage
	if err := a.sign(s, key, v.context()); err != nil {
		return nil, nil, err
	}
	public = a.protectPublic(s, v.MembershipKey, v.context())
	a.wireFormat = WireFormatPrivateMessage
	if err := a.sign(s, key, v.context()); err != nil {
		return nil, nil, err
	}
	use, err := newSecretTree(s, 1, bytes.Clone(v.EncryptionSecret)).findNext(1, ratchetFor(c.contentType))
	if err != nil {
		return nil, nil, err
	}
	return public, a.protectPrivate(s, s.newExpander(v.SenderDataSecret), use, [4]byte{1, 2, 3, 4}, DefaultPadding), nil
}

func (v messageProtectionVector) checkOwnProtection(s *suite, c content, raw []byte) error {
	public, private, err := v.protect(s, c)
	if err != nil {
		return err
	}
	if err := v.checkPrivate(s, private, raw); err != nil {
		return err
	}
	err = v.checkPublic(s, public, raw)
	if c.contentType == ContentTypeApplication {
		if err == nil {
			return errors.New("application data was accepted in a PublicMessage")
		}
		return nil
	}
	return err
}

type keyScheduleVector struct {
	CipherSuite       CipherSuite        `json:"cipher_suite"`
	GroupID           hexBytes           `json:"group_id"`
	InitialInitSecret hexBytes           `json:"initial_init_secret"`
	Epochs            []keyScheduleEpoch `json:"epochs"`
}

type keyScheduleEpoch struct {
	TreeHash                hexBytes `json:"tree_hash"`
	CommitSecret            hexBytes `json:"commit_secret"`
	PSKSecret               hexBytes `json:"psk_secret"`
	ConfirmedTranscriptHash hexBytes `json:"confirmed_transcript_hash"`
	GroupContext            hexBytes `json:"group_context"`
	JoinerSecret            hexBytes `json:"joiner_secret"`
	WelcomeSecret           hexBytes `json:"welcome_secret"`
	InitSecret              hexBytes `json:"init_secret"`
	SenderDataSecret        hexBytes `json:"sender_data_secret"`
	EncryptionSecret        hexBytes `json:"encryption_secret"`
	ExporterSecret          hexBytes `json:"exporter_secret"`
	EpochAuthenticator      hexBytes `json:"epoch_authenticator"`
	ExternalSecret          hexBytes `json:"external_secret"`
	ConfirmationKey         hexBytes `json:"confirmation_key"`
	MembershipKey           hexBytes `json:"membership_key"`
	ResumptionPSK           hexBytes `json:"resumption_psk"`
	ExternalPub             hexBytes `json:"external_pub"`
	Exporter                struct {
		Label   string   `json:"label"`
		Context hexBytes `json:"context"`
		Length  int      `json:"length"`
		Secret  hexBytes `json:"secret"`
	} `json:"exporter"`
}

func checkKeySchedule(v keyScheduleVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	initSecret := []byte(v.InitialInitSecret)
	for i, want := range v.Epochs {
		got := want
		if initSecret, err = got.derive(s, v.GroupID, uint64(i), initSecret); err != nil {
			return err
		}
		for j, f := range want.fields() {
			if err := expect(fmt.Sprintf("field %d of epoch %d", j, i), *got.fields()[j], *f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *keyScheduleEpoch) fields() []*hexBytes {
	return []*hexBytes{
		&e.GroupContext, &e.JoinerSecret, &e.WelcomeSecret, &e.InitSecret, &e.SenderDataSecret, &e.EncryptionSecret, &e.ExporterSecret,
		&e.EpochAuthenticator, &e.ExternalSecret, &e.ConfirmationKey, &e.MembershipKey, &e.ResumptionPSK, &e.ExternalPub, &e.Exporter.Secret,
	}
}

// derive computes the outputs of an epoch from its inputs.
func (e *keyScheduleEpoch) derive(s *suite, groupID []byte, n uint64, initSecret []byte) ([]byte, error) {
	context := GroupContext{
		Version: ProtocolVersionMLS10, CipherSuite: s.id, GroupID: groupID, Epoch: n,
		TreeHash: e.TreeHash, ConfirmedTranscriptHash: e.ConfirmedTranscriptHash,
	}
	e.GroupContext = context.Marshal()
	e.JoinerSecret = s.joinerSecret(initSecret, e.CommitSecret, e.GroupContext)
	member := s.memberSecret(e.JoinerSecret, e.PSKSecret)
	e.WelcomeSecret = s.welcomeSecret(member)
	secrets, encryption := s.deriveEpoch(s.epochSecret(member, e.GroupContext))
	e.InitSecret, e.SenderDataSecret, e.EncryptionSecret = secrets.initSecret, secrets.senderDataSecret, encryption
	e.ExporterSecret, e.EpochAuthenticator, e.ExternalSecret = secrets.exporterSecret, secrets.epochAuthenticator, secrets.externalSecret
	e.ConfirmationKey, e.MembershipKey, e.ResumptionPSK = secrets.confirmationKey, secrets.membershipKey, secrets.resumptionPSK
	e.Exporter.Secret = s.export(e.ExporterSecret, e.Exporter.Label, e.Exporter.Context, e.Exporter.Length)
	external, err := s.deriveKeyPair(e.ExternalSecret)
	if err != nil {
		return nil, err
	}
	e.ExternalPub = external.public
	return e.InitSecret, nil
}

type pskSecretVector struct {
	CipherSuite CipherSuite `json:"cipher_suite"`
	PSKs        []struct {
		ID    hexBytes `json:"psk_id"`
		PSK   hexBytes `json:"psk"`
		Nonce hexBytes `json:"psk_nonce"`
	} `json:"psks"`
	PSKSecret hexBytes `json:"psk_secret"`
}

func checkPSKSecret(v pskSecretVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	return expect("psk_secret", v.compute(s), v.PSKSecret)
}

func (v pskSecretVector) compute(s *suite) []byte {
	var ids []PreSharedKeyID
	var psks [][]byte
	for _, p := range v.PSKs {
		ids = append(ids, PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: p.ID, PSKNonce: p.Nonce})
		psks = append(psks, p.PSK)
	}
	return must(s.pskSecret(ids, inOrder(psks)))
}

type transcriptHashVector struct {
	CipherSuite          CipherSuite `json:"cipher_suite"`
	ConfirmationKey      hexBytes    `json:"confirmation_key"`
	AuthenticatedContent hexBytes    `json:"authenticated_content"`
	InterimBefore        hexBytes    `json:"interim_transcript_hash_before"`
	ConfirmedAfter       hexBytes    `json:"confirmed_transcript_hash_after"`
	InterimAfter         hexBytes    `json:"interim_transcript_hash_after"`
}

func checkTranscriptHashes(v transcriptHashVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	a, err := parseAll(v.AuthenticatedContent, readAuthenticatedContent)
	if err != nil {
		return err
	}
	if a.content.contentType != ContentTypeCommit {
		return errors.New("not a commit")
	}
	confirmed := s.confirmedTranscriptHash(v.InterimBefore, a)
	return errors.Join(
		expect("confirmed transcript hash", confirmed, v.ConfirmedAfter),
		expect("interim transcript hash", s.interimTranscriptHash(confirmed, a.auth.confirmationTag), v.InterimAfter),
		expect("confirmation tag", s.mac(v.ConfirmationKey, confirmed), a.auth.confirmationTag),
	)
}

// readAuthenticatedContent reads what nobody sends.
func readAuthenticatedContent(r *reader) *authenticatedContent {
	a := &authenticatedContent{wireFormat: WireFormat(r.uint16()), content: readFramedContent(r)}
	a.auth = readAuthData(r, a.content.contentType)
	return a
}
