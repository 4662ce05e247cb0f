package mls

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
)

// groupSecrets is GroupSecrets (RFC 9420, Section 12.4.3.1).
type groupSecrets struct {
	joinerSecret []byte
	pathSecret   []byte // nil if the commit had no path
	psks         []PreSharedKeyID
}

func (s *groupSecrets) appendTo(b []byte) []byte {
	b = appendVector(b, s.joinerSecret)
	if s.pathSecret == nil {
		b = append(b, 0)
	} else {
		b = appendVector(append(b, 1), s.pathSecret)
	}
	return appendList(b, s.psks, func(b []byte, id PreSharedKeyID) []byte { return id.appendTo(b) })
}

func readGroupSecrets(r *reader) *groupSecrets {
	s := &groupSecrets{joinerSecret: r.vector()}
	if r.optional() {
		if s.pathSecret = r.vector(); s.pathSecret == nil {
			s.pathSecret = []byte{}
		}
	}
	s.psks = readList(r, readPreSharedKeyID)
	return s
}

// encryptedGroupSecrets is EncryptedGroupSecrets.
type encryptedGroupSecrets struct {
	newMember []byte // KeyPackageRef
	secrets   HPKECiphertext
}

// A Welcome brings new members into a group (RFC 9420, Section 12.4.3.1).
type Welcome struct {
	cipherSuite        CipherSuite
	secrets            []encryptedGroupSecrets
	encryptedGroupInfo []byte
}

// CipherSuite returns the suite of the group (RFC 9420, Section 12.4.3.1).
func (w *Welcome) CipherSuite() CipherSuite { return w.cipherSuite }

// NewMembers returns the KeyPackageRefs of the clients that it is for (RFC 9420,
// Section 12.4.3.1): by these, a delivery service knows whom to give it to, and a
// client which of its key packages to read for [Client.Join].
func (w *Welcome) NewMembers() [][]byte {
	refs := make([][]byte, len(w.secrets))
	for i, s := range w.secrets {
		refs[i] = s.newMember
	}
	return refs
}

func (w *Welcome) appendTo(b []byte) []byte {
	b = appendUint16(b, uint16(w.cipherSuite))
	b = appendList(b, w.secrets, func(b []byte, s encryptedGroupSecrets) []byte {
		return s.secrets.appendTo(appendVector(b, s.newMember))
	})
	return appendVector(b, w.encryptedGroupInfo)
}

func readWelcome(r *reader) *Welcome {
	return &Welcome{
		cipherSuite: CipherSuite(r.uint16()),
		secrets: readList(r, func(r *reader) encryptedGroupSecrets {
			return encryptedGroupSecrets{newMember: r.vector(), secrets: readHPKECiphertext(r)}
		}),
		encryptedGroupInfo: r.vector(),
	}
}

const welcomeLabel = "Welcome"

// welcome makes the Welcome for the members that a commit adds.
func (b *commitBuilder) welcome() ([]byte, error) {
	info, err := b.transition.client.newGroupInfo(b.next, !b.opts.OmitRatchetTree, false, b.opts.GroupInfoExtensions)
	if err != nil {
		return nil, err
	}
	return b.encryptWelcome(info)
}

// encryptWelcome encrypts a GroupInfo and the secrets that go with it.
func (b *commitBuilder) encryptWelcome(info *GroupInfo) ([]byte, error) {
	t, s := b.transition, b.transition.suite
	w := &Welcome{
		cipherSuite:        s.id,
		secrets:            make([]encryptedGroupSecrets, len(t.added)),
		encryptedGroupInfo: s.sealGroupInfo(b.out.welcomeSecret, info.appendTo(nil)),
	}
	err := parallel(len(t.added), func(i int) error {
		a := t.added[i]
		secrets := &groupSecrets{joinerSecret: b.out.joinerSecret, psks: t.psks}
		if b.path != nil {
			shared := commonLevel(b.leaf, a.index)
			for j, level := range b.path.levels {
				if level == shared {
					secrets.pathSecret = b.path.chain.secrets[j]
				}
			}
		}
		plaintext := secrets.appendTo(nil)
		defer clear(plaintext)
		ciphertext, err := s.encryptWithLabel(a.keyPackage.InitKey, welcomeLabel, w.encryptedGroupInfo, plaintext)
		if err != nil {
			return err
		}
		ref := s.refHash("MLS 1.0 KeyPackage Reference", a.keyPackage.appendTo(nil))
		w.secrets[i] = encryptedGroupSecrets{newMember: ref, secrets: ciphertext}
		return nil
	})
	return w.appendTo(appendMessageHeader(nil, WireFormatWelcome)), err
}

func (s *suite) welcomeKey(welcomeSecret []byte) (key, nonce []byte) {
	return s.expandWithLabel(welcomeSecret, "key", nil, s.nk), s.expandWithLabel(welcomeSecret, "nonce", nil, nonceSize)
}

func (s *suite) sealGroupInfo(welcomeSecret, groupInfo []byte) []byte {
	key, nonce := s.welcomeKey(welcomeSecret)
	return s.seal(key, nonce, groupInfo, nil)
}

func (s *suite) openGroupInfo(welcomeSecret, ciphertext []byte) (*GroupInfo, error) {
	key, nonce := s.welcomeKey(welcomeSecret)
	plaintext, err := s.open(key, nonce, ciphertext, nil)
	if err != nil {
		return nil, fmt.Errorf("decrypting GroupInfo: %w", err)
	}
	return parseAll(plaintext, readGroupInfo)
}

// JoinOptions are what [Client.Join] may need beside the Welcome (RFC 9420, Section
// 12.4.3.1).
type JoinOptions struct {
	// RatchetTree is the group's tree, if the Welcome comes without.
	RatchetTree []byte

	// Parent is the group that this one continues or branches off, which is
	// needed if it is one of these.
	Parent *Group

	// Known reports whether we are in a group of that identifier already, which
	// has to be unique. Nil if the application sees to that later.
	Known func(groupID []byte) bool
}

// Join makes us a member of a group that somebody added us to (RFC 9420,
// Section 12.4.3.1). The Welcome has to be for one of the given key packages; used
// says which. Delete it, unless it is a last resort.
//
// The whole tree is verified. Members whose key package has expired since they were
// added are members nonetheless: the LeafNode of a [Member] has its lifetime.
func (c *Client) Join(welcome []byte, keyPackages []*PrivateKeyPackage, signer crypto.Signer, opts JoinOptions) (g *Group, used *PrivateKeyPackage, err error) {
	m, err := ParseMessage(welcome)
	if err != nil {
		return nil, nil, err
	}
	if m.Welcome == nil {
		return nil, nil, malformed("message is not a Welcome")
	}
	j := &joiner{client: c, opts: opts, signer: signer, welcome: m.Welcome}
	if err := j.join(keyPackages); err != nil {
		return nil, nil, fmt.Errorf("joining: %w", err)
	}
	return j.group, j.own, nil
}

// A joiner holds what is known so far of a group that is being joined.
type joiner struct {
	client  *Client
	opts    JoinOptions
	signer  crypto.Signer
	welcome *Welcome

	suite   *suite
	own     *PrivateKeyPackage
	secrets *groupSecrets
	info    *GroupInfo
	tree    *ratchetTree
	group   *Group
}

func (j *joiner) join(keyPackages []*PrivateKeyPackage) error {
	entry, err := j.findEntry(keyPackages)
	if err != nil {
		return err
	}
	if err := j.openSecrets(entry); err != nil {
		return err
	}
	if err := j.checkPSKs(); err != nil {
		return err
	}
	pskSecret, err := j.suite.pskSecret(j.secrets.psks, j.pskValue)
	if err != nil {
		return err
	}
	defer clear(pskSecret)
	member := j.suite.memberSecret(j.secrets.joinerSecret, pskSecret)
	welcomeSecret := j.suite.welcomeSecret(member)
	clear(member)
	if j.info, err = j.suite.openGroupInfo(welcomeSecret, j.welcome.encryptedGroupInfo); err != nil {
		return err
	}
	if err := j.checkGroupInfo(); err != nil {
		return err
	}
	var index *treeIndex
	if j.tree, index, err = j.client.verifyGroupInfo(j.suite, j.info, j.opts.RatchetTree); err != nil {
		return err
	}
	if err := j.checkParent(); err != nil {
		return err
	}
	return j.enter(index, pskSecret)
}

// findEntry finds the key package that the Welcome is for.
func (j *joiner) findEntry(keyPackages []*PrivateKeyPackage) (encryptedGroupSecrets, error) {
	s, err := j.welcome.cipherSuite.suite()
	if err != nil {
		return encryptedGroupSecrets{}, err
	}
	j.suite = s
	for _, k := range keyPackages {
		ref, err := k.KeyPackage.Ref()
		if err != nil {
			continue
		}
		for _, e := range j.welcome.secrets {
			if !bytes.Equal(ref, e.newMember) {
				continue
			}
			if k.KeyPackage.CipherSuite != s.id {
				return e, invalid("12.4.3.1", "Welcome has another cipher suite than the key package")
			}
			j.own = k
			return e, nil
		}
	}
	return encryptedGroupSecrets{}, ErrNoKeyPackage
}

func (j *joiner) openSecrets(e encryptedGroupSecrets) error {
	key, err := j.suite.parseKeyPair(j.own.InitKey)
	if err != nil {
		return err
	}
	if !bytes.Equal(key.public, j.own.KeyPackage.InitKey) {
		return errors.New("mls: private init key does not belong to the key package")
	}
	plaintext, err := j.suite.decryptWithLabel(key.private, welcomeLabel, j.welcome.encryptedGroupInfo, e.secrets)
	if err != nil {
		return fmt.Errorf("decrypting group secrets: %w", err)
	}
	j.secrets, err = parseAll(plaintext, readGroupSecrets)
	return err
}

// checkPSKs applies the rules for the PSKs that the group secrets name.
func (j *joiner) checkPSKs() error {
	seen := make(map[string]bool, len(j.secrets.psks))
	creating := 0
	for _, id := range j.secrets.psks {
		if len(id.PSKNonce) != j.suite.nh {
			return invalid("8.4", "PSK nonce of a wrong length")
		}
		if seen[id.name()] {
			return invalid("12.2", "one PSK listed twice")
		}
		seen[id.name()] = true
		if id.PSKType == PSKTypeResumption && id.Usage != ResumptionPSKUsageApplication {
			if creating++; creating > 1 {
				return invalid("12.4.3.1", "two PSKs for a reinitialisation or branch")
			}
		}
	}
	return nil
}

func (j *joiner) pskValue(id PreSharedKeyID) ([]byte, error) {
	if p := j.opts.Parent; p != nil && id.PSKType == PSKTypeResumption {
		return p.pskValue(id)
	}
	return j.client.storedPSK(id)
}

// checkGroupInfo applies the rules that need no tree.
func (j *joiner) checkGroupInfo() error {
	context := &j.info.GroupContext
	if context.CipherSuite != j.suite.id {
		return invalid("12.4.3.1", "GroupInfo has another cipher suite than the key package")
	}
	if j.opts.Known != nil && j.opts.Known(context.GroupID) {
		return invalid("12.4.3.1", "we are a member of a group of that identifier")
	}
	return nil
}

// enter finds our place in the tree and runs the key schedule.
func (j *joiner) enter(index *treeIndex, pskSecret []byte) error {
	private, err := j.privateTree()
	if err != nil {
		return err
	}
	contextBytes := j.info.GroupContext.Marshal()
	epoch, welcomeSecret := j.suite.newEpoch(j.tree, j.info.GroupContext, contextBytes, j.secrets.joinerSecret, pskSecret)
	clear(welcomeSecret)
	clear(j.secrets.joinerSecret)
	confirmed := j.info.GroupContext.ConfirmedTranscriptHash
	tag := j.suite.mac(epoch.secrets.confirmationKey, confirmed)
	if !macEqual(tag, j.info.ConfirmationTag) {
		return invalid("12.4.3.1", "confirmation tag of the GroupInfo does not match")
	}
	j.group = &Group{
		client: j.client, suite: j.suite, signer: j.signer, epoch: epoch, index: index,
		private: private, interim: j.suite.interimTranscriptHash(confirmed, tag), tag: tag,
	}
	if inviter, ok := j.group.Member(j.info.Signer); ok {
		j.group.inviter = &inviter
	}
	public, err := Identity{Signer: j.signer}.publicKey(j.suite)
	if err != nil {
		return err
	}
	if !bytes.Equal(public, j.group.ownLeaf().SignatureKey) {
		return errNoSigner
	}
	return nil
}

// privateTree finds our leaf, and the keys that follow from the path secret.
func (j *joiner) privateTree() (*privateTree, error) {
	want := j.own.KeyPackage.LeafNode.Marshal()
	var private *privateTree
	key, err := j.suite.parseKeyPair(j.own.EncryptionKey)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(key.public, j.own.KeyPackage.LeafNode.EncryptionKey) {
		return nil, errors.New("mls: private encryption key does not belong to the key package")
	}
	j.tree.leaves(func(i LeafIndex, l *LeafNode) bool {
		if bytes.Equal(l.EncryptionKey, key.public) && bytes.Equal(l.Marshal(), want) {
			private = newPrivateTree(i, key)
		}
		return private == nil
	})
	if private == nil {
		return nil, invalid("12.4.3.1", "leaf of our key package is not in the tree")
	}
	if private.leaf == j.info.Signer {
		return nil, invalid("12.4.3.1", "GroupInfo claims to be signed by us")
	}
	if j.secrets.pathSecret == nil {
		return private, nil
	}
	shared := commonLevel(private.leaf, j.info.Signer)
	var levels []int
	for _, level := range j.tree.filteredPath(j.info.Signer) {
		if level >= shared {
			levels = append(levels, level)
		}
	}
	commitSecret, err := private.implant(j.tree, levels, j.secrets.pathSecret)
	clear(commitSecret)
	return private, err
}
