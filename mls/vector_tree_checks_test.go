package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

type welcomeVector struct {
	CipherSuite CipherSuite `json:"cipher_suite"`
	InitPriv    hexBytes    `json:"init_priv"`
	SignerPub   hexBytes    `json:"signer_pub"`
	KeyPackage  hexBytes    `json:"key_package"`
	Welcome     hexBytes    `json:"welcome"`
}

func checkWelcome(v welcomeVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	k, err := ParseKeyPackage(v.KeyPackage)
	if err != nil {
		return err
	}
	m, err := ParseMessage(v.Welcome)
	if err != nil {
		return err
	}
	j := &joiner{welcome: m.Welcome}
	entry, err := j.findEntry([]*PrivateKeyPackage{{KeyPackage: k, InitKey: v.InitPriv}})
	if err != nil {
		return err
	}
	if err := j.openSecrets(entry); err != nil {
		return err
	}
	member := s.memberSecret(j.secrets.joinerSecret, must(s.pskSecret(nil, nil)))
	info, err := s.openGroupInfo(s.welcomeSecret(member), m.Welcome.encryptedGroupInfo)
	if err != nil {
		return err
	}
	if err := s.verifyWithLabel(v.SignerPub, groupInfoLabel, info.tbs(), info.Signature); err != nil {
		return err
	}
	secrets, _ := s.deriveEpoch(s.epochSecret(member, info.GroupContext.Marshal()))
	return expect("confirmation tag", s.mac(secrets.confirmationKey, info.GroupContext.ConfirmedTranscriptHash), info.ConfirmationTag)
}

type treeOperationsVector struct {
	CipherSuite    CipherSuite `json:"cipher_suite"`
	TreeBefore     hexBytes    `json:"tree_before"`
	Proposal       hexBytes    `json:"proposal"`
	ProposalSender LeafIndex   `json:"proposal_sender"`
	TreeHashBefore hexBytes    `json:"tree_hash_before"`
	TreeAfter      hexBytes    `json:"tree_after"`
	TreeHashAfter  hexBytes    `json:"tree_hash_after"`
}

func checkTreeOperations(v treeOperationsVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	tree, err := parseRatchetTree(s, v.TreeBefore)
	if err != nil {
		return err
	}
	if err := expect("tree hash before", tree.treeHash(), v.TreeHashBefore); err != nil {
		return err
	}
	after, err := v.apply(tree)
	if err != nil {
		return err
	}
	return errors.Join(
		expect("tree after", after.marshal(), v.TreeAfter),
		expect("tree hash after", after.treeHash(), v.TreeHashAfter),
		expect("tree before, unchanged", tree.marshal(), v.TreeBefore),
	)
}

func (v treeOperationsVector) apply(tree *ratchetTree) (*ratchetTree, error) {
	p, err := parseAll(v.Proposal, readProposal)
	if err != nil {
		return nil, err
	}
	switch p := p.(type) {
	case *Add:
		tree, _, err = tree.add(p.KeyPackage.LeafNode)
	case *Update:
		tree = tree.update(v.ProposalSender, p.LeafNode)
	case *Remove:
		tree = tree.remove(p.Removed).truncate()
	}
	return tree, err
}

type treeValidationVector struct {
	CipherSuite CipherSuite `json:"cipher_suite"`
	Tree        hexBytes    `json:"tree"`
	GroupID     hexBytes    `json:"group_id"`
	Resolutions [][]uint32  `json:"resolutions"`
	TreeHashes  []hexBytes  `json:"tree_hashes"`
}

func checkTreeValidation(v treeValidationVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	tree, err := parseRatchetTree(s, v.Tree)
	if err != nil {
		return err
	}
	for i, want := range v.TreeHashes {
		x := nodeIndex(i)
		n := tree.node(x)
		if err := expect(fmt.Sprintf("tree hash of node %d", i), tree.nodeHash(n, x), want); err != nil {
			return err
		}
		if got := resolutionIndices(tree, x); !slices.Equal(got, v.Resolutions[i]) {
			return fmt.Errorf("resolution of node %d is %v", i, got)
		}
	}
	client, err := NewClient(acceptAll, Config{MaxLifetime: -1})
	if err != nil {
		return err
	}
	_, err = client.validateTree(tree, v.GroupID, nil)
	return err
}

func resolutionIndices(tree *ratchetTree, x nodeIndex) []uint32 {
	indices := []uint32{}
	for _, r := range tree.resolution(x, tree.node(x), nil) {
		indices = append(indices, uint32(r.index))
	}
	return indices
}

type treeKEMVector struct {
	CipherSuite             CipherSuite   `json:"cipher_suite"`
	GroupID                 hexBytes      `json:"group_id"`
	Epoch                   uint64        `json:"epoch"`
	ConfirmedTranscriptHash hexBytes      `json:"confirmed_transcript_hash"`
	RatchetTree             hexBytes      `json:"ratchet_tree"`
	LeavesPrivate           []treeKEMLeaf `json:"leaves_private"`
	UpdatePaths             []treeKEMPath `json:"update_paths"`
}

type treeKEMPath struct {
	Sender        LeafIndex  `json:"sender"`
	UpdatePath    hexBytes   `json:"update_path"`
	PathSecrets   []hexBytes `json:"path_secrets"`
	CommitSecret  hexBytes   `json:"commit_secret"`
	TreeHashAfter hexBytes   `json:"tree_hash_after"`
}

type treeKEMLeaf struct {
	Index          LeafIndex           `json:"index"`
	EncryptionPriv hexBytes            `json:"encryption_priv"`
	SignaturePriv  hexBytes            `json:"signature_priv"`
	PathSecrets    []treeKEMPathSecret `json:"path_secrets"`
}

type treeKEMPathSecret struct {
	Node       nodeIndex `json:"node"`
	PathSecret hexBytes  `json:"path_secret"`
}

func (v treeKEMVector) context(treeHash []byte) []byte {
	c := GroupContext{
		Version: ProtocolVersionMLS10, CipherSuite: v.CipherSuite, GroupID: v.GroupID, Epoch: v.Epoch,
		TreeHash: treeHash, ConfirmedTranscriptHash: v.ConfirmedTranscriptHash,
	}
	return c.Marshal()
}

func checkTreeKEM(v treeKEMVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	tree, err := parseRatchetTree(s, v.RatchetTree)
	if err != nil {
		return err
	}
	private, err := v.privateTrees(s, tree)
	if err != nil {
		return err
	}
	for i := range v.UpdatePaths {
		if err := v.checkPath(s, tree, private, i); err != nil {
			return fmt.Errorf("update path %d: %w", i, err)
		}
	}
	return nil
}

func (v treeKEMVector) privateTrees(s *suite, tree *ratchetTree) (map[LeafIndex]*privateTree, error) {
	trees := make(map[LeafIndex]*privateTree)
	for _, l := range v.LeavesPrivate {
		key, err := s.parseKeyPair(l.EncryptionPriv)
		if err != nil {
			return nil, err
		}
		p := newPrivateTree(l.Index, key)
		if err := expect("leaf key", key.public, tree.leaf(l.Index).EncryptionKey); err != nil {
			return nil, err
		}
		for _, secret := range l.PathSecrets {
			chain, err := s.derivePath(secret.PathSecret, 1)
			if err != nil {
				return nil, err
			}
			if err := expect("node key", chain.keys[0].public, tree.node(secret.Node).parent.EncryptionKey); err != nil {
				return nil, err
			}
			p.keys[secret.Node] = chain.keys[0]
		}
		trees[l.Index] = p
	}
	return trees, nil
}

func (v treeKEMVector) checkPath(s *suite, tree *ratchetTree, private map[LeafIndex]*privateTree, i int) error {
	w := v.UpdatePaths[i]
	path, err := parseAll(w.UpdatePath, readUpdatePath)
	if err != nil {
		return err
	}
	if err := path.LeafNode.verify(s, v.GroupID, w.Sender); err != nil {
		return err
	}
	after, err := tree.mergePath(w.Sender, path, nil)
	if err != nil {
		return err
	}
	if err := expect("tree hash after", after.treeHash(), w.TreeHashAfter); err != nil {
		return err
	}
	context := v.context(after.treeHash())
	for j, p := range private {
		if j == w.Sender {
			continue
		}
		secret, _, err := p.decryptPathSecret(after, w.Sender, path, context, nil)
		if err != nil {
			return err
		}
		if err := expect("path secret", secret, w.PathSecrets[j]); err != nil {
			return err
		}
		commitSecret, err := p.clone().decryptPath(after, w.Sender, path, context, nil)
		if err != nil {
			return err
		}
		if err := expect("commit secret", commitSecret, w.CommitSecret); err != nil {
			return err
		}
	}
	return v.checkNewPath(s, tree, private, w.Sender)
}

// checkNewPath makes a path of our own from the same sender.
func (v treeKEMVector) checkNewPath(s *suite, tree *ratchetTree, private map[LeafIndex]*privateTree, sender LeafIndex) error {
	client, err := NewClient(acceptAll, Config{})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(v.LeavesPrivate, func(l treeKEMLeaf) bool {
		return l.Index == sender
	})
	signer, err := s.scheme.parse(v.LeavesPrivate[at].SignaturePriv)
	if err != nil {
		return err
	}
	leaf := *tree.leaf(sender)
	made, err := client.makePath(tree, sender, &leaf, signer, v.GroupID)
	if err != nil {
		return err
	}
	context := v.context(made.tree.treeHash())
	path, err := made.encrypt(context, nil)
	if err != nil {
		return err
	}
	for j, p := range private {
		if j == sender {
			continue
		}
		after, err := tree.mergePath(sender, path, nil)
		if err != nil {
			return err
		}
		commitSecret, err := p.clone().decryptPath(after, sender, path, context, nil)
		if err != nil {
			return err
		}
		if err := expect("new commit secret", commitSecret, made.chain.commitSecret); err != nil {
			return err
		}
	}
	return nil
}

// checkMessages parses each structure and encodes it again.
func checkMessages(v map[string]hexBytes) error {
	for name, want := range v {
		r := reader{rest: want}
		var got []byte
		switch name {
		case "ratchet_tree":
			list := readList(&r, func(r *reader) *treeNode {
				if !r.optional() {
					return nil
				}
				if r.uint8() == nodeTypeLeaf {
					return &treeNode{leaf: readLeafNode(r)}
				}
				return &treeNode{parent: readParentNode(r)}
			})
			got = appendList(nil, list, func(b []byte, n *treeNode) []byte {
				switch {
				case n == nil:
					return append(b, 0)
				case n.leaf != nil:
					return n.leaf.appendTo(append(b, 1, nodeTypeLeaf))
				}
				return n.parent.appendTo(append(b, 1, nodeTypeParent))
			})
		case "group_secrets":
			got = readGroupSecrets(&r).appendTo(nil)
		case "add_proposal":
			got = (&Add{readKeyPackage(&r)}).appendBody(nil)
		case "update_proposal":
			got = (&Update{readLeafNode(&r)}).appendBody(nil)
		case "remove_proposal":
			got = (&Remove{LeafIndex(r.uint32())}).appendBody(nil)
		case "pre_shared_key_proposal":
			got = (&PreSharedKey{readPreSharedKeyID(&r)}).appendBody(nil)
		case "re_init_proposal":
			got = readReInit(&r).appendBody(nil)
		case "external_init_proposal":
			got = (&ExternalInit{r.vector()}).appendBody(nil)
		case "group_context_extensions_proposal":
			got = (&GroupContextExtensions{readExtensions(&r)}).appendBody(nil)
		case "commit":
			got = readCommit(&r).appendTo(nil)
		default:
			m, err := ParseMessage(want)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			got, r.rest = m.Marshal(), nil
		}
		if err := r.finish(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := expect(name, got, want); err != nil {
			return err
		}
	}
	return nil
}

type passiveClientVector struct {
	CipherSuite  CipherSuite `json:"cipher_suite"`
	ExternalPSKs []struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	} `json:"external_psks"`
	KeyPackage                hexBytes `json:"key_package"`
	SignaturePriv             hexBytes `json:"signature_priv"`
	EncryptionPriv            hexBytes `json:"encryption_priv"`
	InitPriv                  hexBytes `json:"init_priv"`
	Welcome                   hexBytes `json:"welcome"`
	RatchetTree               hexBytes `json:"ratchet_tree"`
	InitialEpochAuthenticator hexBytes `json:"initial_epoch_authenticator"`
	Epochs                    []struct {
		Proposals          []hexBytes `json:"proposals"`
		Commit             hexBytes   `json:"commit"`
		EpochAuthenticator hexBytes   `json:"epoch_authenticator"`
	} `json:"epochs"`
}

// ExternalPSK looks among the vector's keys, which makes it a PSKStore.
func (v passiveClientVector) ExternalPSK(id []byte) ([]byte, error) {
	for _, p := range v.ExternalPSKs {
		if bytes.Equal(p.ID, id) {
			return p.PSK, nil
		}
	}
	return nil, errors.New("not in the vector")
}

// ResumptionPSK has none: the group knows its own.
func (passiveClientVector) ResumptionPSK([]byte, uint64) ([]byte, error) {
	return nil, errors.New("not in the vector")
}

// padScalar restores the leading zeros that the vectors lack in some scalars of
// P-521.
func padScalar(s *suite, secret []byte) []byte {
	const size = 66
	if s.scheme != ecdsaP521 || len(secret) >= size {
		return secret
	}
	return append(make([]byte, size-len(secret)), secret...)
}

func checkPassiveClient(v passiveClientVector) error {
	s, err := vectorSuite(v.CipherSuite)
	if err != nil {
		return err
	}
	// The lifetimes in the vectors are of the day that they were made, or begin at
	// zero, where the others in the tree are of that day.
	var now time.Time
	client, err := NewClient(acceptAll, Config{PSKs: v, MaxLifetime: -1, Time: func() time.Time { return now }})
	if err != nil {
		return err
	}
	k, err := ParseKeyPackage(v.KeyPackage)
	if err != nil {
		return err
	}
	if now = time.Unix(int64(k.LeafNode.Lifetime.NotBefore)+3600, 0); k.LeafNode.Lifetime.NotBefore == 0 {
		now = time.Date(2024, time.March, 15, 0, 0, 0, 0, time.UTC)
	}
	if err := client.ValidateKeyPackage(k); err != nil {
		return err
	}
	signer, err := s.scheme.parse(v.SignaturePriv)
	if err != nil {
		return err
	}
	own := &PrivateKeyPackage{KeyPackage: k, InitKey: padScalar(s, v.InitPriv), EncryptionKey: padScalar(s, v.EncryptionPriv)}
	g, _, err := client.Join(v.Welcome, []*PrivateKeyPackage{own}, signer, JoinOptions{RatchetTree: v.RatchetTree})
	if err != nil {
		return err
	}
	if err := expect("initial epoch authenticator", g.EpochAuthenticator(), v.InitialEpochAuthenticator); err != nil {
		return err
	}
	for i, e := range v.Epochs {
		for _, p := range e.Proposals {
			if _, err := g.Process(p); err != nil {
				return fmt.Errorf("proposal of epoch %d: %w", i, err)
			}
		}
		p, err := g.Process(e.Commit)
		if err != nil {
			return fmt.Errorf("commit of epoch %d: %w", i, err)
		}
		if err := g.Merge(p.(*StagedCommit)); err != nil {
			return err
		}
		if err := expect("epoch authenticator", g.EpochAuthenticator(), e.EpochAuthenticator); err != nil {
			return fmt.Errorf("epoch %d: %w", i, err)
		}
	}
	return nil
}
