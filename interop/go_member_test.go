package interop

import (
	"errors"
	"fmt"

	"sealpost/mls"
)

// habits are what a member of our side does all its life, so that a group has some of
// each.
type habits struct {
	public   bool // sends its handshakes as PublicMessage
	restarts bool // saves and loads its group after each message
	omitPath bool // leaves the path out of a commit where it may
	rotates  bool // changes its signature key with each path
}

// goMember is a client of sealpost/mls.
type goMember struct {
	habits
	suite  mls.CipherSuite
	client *mls.Client
	id     mls.Identity
	psks   pskStore
	joinAs *mls.PrivateKeyPackage // the last key package made
	parent *mls.Group             // that the next one continues or branches off
	group  *mls.Group
	staged *mls.Group // as an external commit leaves it
	nextID mls.Identity
}

// pskStore holds external PSKs by their id.
type pskStore map[string][]byte

func (s pskStore) ExternalPSK(id []byte) ([]byte, error) {
	if psk, ok := s[string(id)]; ok {
		return psk, nil
	}
	return nil, errors.New("no such PSK")
}

func (s pskStore) ResumptionPSK([]byte, uint64) ([]byte, error) {
	return nil, errors.New("no resumption PSK outside of the group")
}

func newGoMember(name string, suite int, h habits) (member, error) {
	m := &goMember{habits: h, suite: mls.CipherSuite(suite), psks: pskStore{}}
	var err error
	m.client, err = mls.NewClient(
		mls.AuthenticationFunc(func(mls.CredentialCheck) error { return nil }), // any name goes
		mls.Config{PSKs: m.psks, PublicHandshakes: h.public},
	)
	if err != nil {
		return nil, err
	}
	m.id, err = m.newIdentity(mls.BasicCredential([]byte(name)))
	return m, err
}

func (m *goMember) newIdentity(credential mls.Credential) (mls.Identity, error) {
	signer, err := m.suite.GenerateSignatureKey()
	return mls.Identity{Credential: credential, Signer: signer}, err
}

func (m *goMember) successor(suite int) (member, error) {
	next := &goMember{habits: m.habits, suite: mls.CipherSuite(suite), client: m.client, id: m.id, psks: m.psks, parent: m.group}
	if next.suite == m.suite {
		return next, nil
	}
	var err error
	next.id, err = next.newIdentity(m.id.Credential)
	return next, err
}

func (m *goMember) open(groupID []byte, keyPackages [][]byte) (welcome []byte, err error) {
	var others []*mls.KeyPackage
	for _, message := range keyPackages {
		kp, err := mls.ParseKeyPackage(message)
		if err != nil {
			return nil, err
		}
		others = append(others, kp)
	}
	if m.parent.ReInit() != nil {
		m.group, welcome, err = m.parent.Reinitialize(m.id, others, leafOptions)
	} else {
		m.group, welcome, err = m.parent.Branch(m.id, others, mls.GroupOptions{GroupID: groupID, Leaf: leafOptions})
	}
	return welcome, err
}

func (m *goMember) signatureKey() ([]byte, error) {
	return m.suite.SignaturePublicKey(m.id.Signer)
}

// addressOf reads where a GroupInfo comes from.
func addressOf(groupInfo []byte) (mls.GroupAddress, error) {
	message, err := mls.ParseMessage(groupInfo)
	if err != nil {
		return mls.GroupAddress{}, err
	}
	if message.GroupInfo == nil {
		return mls.GroupAddress{}, errors.New("not a GroupInfo")
	}
	context := message.GroupInfo.GroupContext
	return mls.GroupAddress{CipherSuite: context.CipherSuite, GroupID: context.GroupID, Epoch: context.Epoch}, nil
}

func (m *goMember) proposeJoin(groupInfo []byte) ([]byte, error) {
	address, err := addressOf(groupInfo)
	if err != nil {
		return nil, err
	}
	if _, err := m.keyPackage(); err != nil {
		return nil, err
	}
	return m.client.ProposeJoin(address, m.joinAs.KeyPackage, m.id.Signer)
}

func (m *goMember) proposeFromOutside(groupInfo []byte, sender uint32, p proposal) ([]byte, error) {
	address, err := addressOf(groupInfo)
	if err != nil {
		return nil, err
	}
	proposal, err := m.proposal(p)
	if err != nil {
		return nil, err
	}
	return m.client.ProposeExternally(address, sender, m.id.Signer, proposal)
}

// leafOptions lists what every member supports.
var leafOptions = mls.LeafOptions{SupportedExtensions: []mls.ExtensionType{sharedExtension}}

func (m *goMember) keyPackage() ([]byte, error) {
	var err error
	if m.joinAs, err = m.client.NewKeyPackage(m.suite, m.id, mls.KeyPackageOptions{Leaf: leafOptions}); err != nil {
		return nil, err
	}
	return m.joinAs.KeyPackage.Message(), nil
}

func (m *goMember) create(groupID []byte) (err error) {
	m.group, err = m.client.CreateGroup(m.suite, m.id, mls.GroupOptions{GroupID: groupID, Leaf: leafOptions})
	return err
}

func (m *goMember) join(welcome, tree []byte) (err error) {
	m.group, _, err = m.client.Join(welcome, []*mls.PrivateKeyPackage{m.joinAs}, m.id.Signer, mls.JoinOptions{RatchetTree: tree, Parent: m.parent})
	return err
}

func (m *goMember) joinExternal(groupInfo, tree []byte, replace *uint32) (commit []byte, err error) {
	m.staged, commit, err = m.client.JoinExternal(groupInfo, m.id, mls.ExternalJoinOptions{
		RatchetTree: tree, Leaf: leafOptions, Replace: (*mls.LeafIndex)(replace),
	})
	return commit, err
}

func (m *goMember) proposal(p proposal) (mls.Proposal, error) {
	switch p.Type {
	case "add":
		kp, err := mls.ParseKeyPackage(p.KeyPackage)
		return &mls.Add{KeyPackage: kp}, err
	case "remove":
		return &mls.Remove{Removed: mls.LeafIndex(p.Leaf)}, nil
	case "psk":
		return &mls.PreSharedKey{PSK: mls.PreSharedKeyID{PSKType: mls.PSKTypeExternal, PSKID: p.PSKID}}, nil
	case "extensions":
		extension := mls.Extension{ExtensionType: mls.ExtensionType(p.Extension), ExtensionData: p.Data}
		return &mls.GroupContextExtensions{Extensions: []mls.Extension{extension}}, nil
	case "reinit":
		return &mls.ReInit{GroupID: p.Data, Version: mls.ProtocolVersionMLS10, CipherSuite: mls.CipherSuite(p.Suite)}, nil
	}
	return nil, fmt.Errorf("no proposal type %q", p.Type)
}

func (m *goMember) propose(p proposal, _ bool) ([]byte, error) {
	if p.Type == "update" {
		return m.group.ProposeUpdate(mls.UpdateOptions{})
	}
	proposal, err := m.proposal(p)
	if err != nil {
		return nil, err
	}
	return m.group.Propose(proposal, nil)
}

func (m *goMember) commit(ps []proposal, _, withTree bool) (commitResult, error) {
	opts := mls.CommitOptions{OmitRatchetTree: !withTree, OmitPath: m.omitPath}
	m.nextID = m.id
	if m.rotates {
		var err error
		if m.nextID, err = m.newIdentity(m.id.Credential); err != nil {
			return commitResult{}, err
		}
		opts.Identity = &m.nextID
	}
	for _, p := range ps {
		proposal, err := m.proposal(p)
		if err != nil {
			return commitResult{}, err
		}
		opts.Proposals = append(opts.Proposals, proposal)
	}
	// A commit that was made before and lost is still pending.
	m.group.DiscardPendingCommit()
	pending, err := m.group.Commit(opts)
	if err != nil {
		return commitResult{}, err
	}
	return commitResult{Commit: pending.Commit, Welcome: pending.Welcome}, m.restart()
}

func (m *goMember) merge() error {
	if m.staged != nil {
		m.group, m.staged = m.staged, nil
		return m.restart()
	}
	if err := m.group.MergePendingCommit(); err != nil {
		return err
	}
	m.id = m.nextID
	return m.restart()
}

func (m *goMember) send(data, aad []byte) ([]byte, error) {
	message, err := m.group.Encrypt(data, aad)
	if err != nil {
		return nil, err
	}
	return message, m.restart()
}

func (m *goMember) process(message []byte) (processed, error) {
	result, err := m.group.Process(message)
	if err != nil {
		return processed{}, err
	}
	got := processed{Kind: "proposal"}
	switch result := result.(type) {
	case *mls.ApplicationMessage:
		got = processed{Kind: "application", Data: result.Data}
	case *mls.StagedCommit:
		got = processed{Kind: "commit"}
		if result.RemovesUs {
			got.Kind = "removed"
		}
		if err := m.group.Merge(result); err != nil {
			return processed{}, fmt.Errorf("merging: %w", err)
		}
	}
	return got, m.restart()
}

func (m *goMember) restart() error {
	if !m.restarts {
		return nil
	}
	group, err := m.client.UnmarshalGroup(m.group.Marshal(), m.id.Signer, m.nextID.Signer)
	if err != nil {
		return fmt.Errorf("restarting: %w", err)
	}
	m.group = group
	return nil
}

func (m *goMember) view() (view, error) {
	context := m.group.Context()
	v := view{
		Leaf:                    uint32(m.group.OwnIndex()),
		Epoch:                   m.group.Epoch(),
		EpochAuthenticator:      m.group.EpochAuthenticator(),
		TreeHash:                context.TreeHash,
		ConfirmedTranscriptHash: context.ConfirmedTranscriptHash,
	}
	for _, member := range m.group.Members() {
		v.Members = append(v.Members, viewMember{uint32(member.Index), member.Credential.Identity})
	}
	return v, nil
}

func (m *goMember) export(label string, context []byte, length int) ([]byte, error) {
	return m.group.Export(label, context, length)
}

func (m *goMember) groupInfo(withTree bool) ([]byte, error) { return m.group.GroupInfo(withTree) }

func (m *goMember) tree() ([]byte, error) { return m.group.RatchetTree(), nil }

func (m *goMember) setPSK(id, secret []byte) error {
	m.psks[string(id)] = secret
	return nil
}
