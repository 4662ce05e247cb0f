package mls

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "renew the vectors and seeds in testdata")

// ownVectorFiles are the kinds of vectors that depend on the cipher suite. The one of
// passive clients has what the three official ones have: a Welcome and commits.
var ownVectorFiles = []string{
	"crypto-basics", "key-schedule", "message-protection", "passive-client-handling-commit", "psk_secret",
	"secret-tree", "transcript-hashes", "tree-operations", "tree-validation", "treekem", "welcome",
}

// writeOwnVectors makes a case of each kind for each suite of the draft.
func writeOwnVectors(t *testing.T) {
	files := make(map[string][]any)
	for _, cs := range CipherSuites() {
		if cs < 0xF000 {
			continue
		}
		w := &vectorWriter{t: t, cs: cs}
		w.suite, _ = cs.suite()
		for name, v := range w.all() {
			files[name] = append(files[name], v)
		}
	}
	if err := os.MkdirAll("testdata/vectors", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, list := range files {
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if _, err := z.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata/vectors", name+".json.gz"), packed.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// vectorWriter makes the vectors of one suite.
type vectorWriter struct {
	t     *testing.T
	cs    CipherSuite
	suite *suite
	room  *room
}

func (w *vectorWriter) all() map[string]any {
	w.room = newRoom(w.t, w.cs, public, 3)
	for _, p := range w.room.members {
		w.room.commit(p, CommitOptions{})
	}
	vectors := map[string]any{
		"crypto-basics":      w.cryptoBasics(),
		"key-schedule":       w.keySchedule(),
		"message-protection": w.messageProtection(),
		"psk_secret":         w.pskSecret(),
		"secret-tree":        w.secretTree(),
		"transcript-hashes":  w.transcriptHashes(),
		"tree-operations":    w.treeOperations(),
		"tree-validation":    w.treeValidation(),
		"treekem":            w.treeKEM(),
		"welcome":            w.welcome(),
	}
	vectors["passive-client-handling-commit"] = w.passiveClient() // changes the group
	return vectors
}

// bytes returns a fixed byte string that differs by name.
func (w *vectorWriter) bytes(name string, n int) hexBytes {
	return w.suite.expandWithLabel(bytes.Repeat([]byte{1}, w.suite.nh), name, nil, n)
}

func (w *vectorWriter) secret(name string) hexBytes { return w.bytes(name, w.suite.nh) }

func (w *vectorWriter) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// signaturePriv encodes a private signature key as the vectors do.
func (w *vectorWriter) signaturePriv(p *person) hexBytes {
	switch key := p.id.Signer.(type) {
	case ed25519.PrivateKey:
		return hexBytes(key.Seed())
	case *ecdsa.PrivateKey:
		b, err := key.Bytes()
		w.must(err)
		return b
	}
	w.t.Fatal("signature key of an unknown kind")
	return nil
}

func (w *vectorWriter) cryptoBasics() (v cryptoBasicsVector) {
	s, p := w.suite, w.room.members[0]
	v.CipherSuite = w.cs
	v.RefHash.Label, v.RefHash.Value = "RefHash", w.secret("value")
	v.RefHash.Out = s.refHash(v.RefHash.Label, v.RefHash.Value)
	x := &v.ExpandWithLabel
	x.Secret, x.Label, x.Context, x.Length = w.secret("secret"), "ExpandWithLabel", w.secret("context"), 16
	x.Out = s.expandWithLabel(x.Secret, x.Label, x.Context, x.Length)
	d := &v.DeriveSecret
	d.Secret, d.Label = w.secret("secret"), "DeriveSecret"
	d.Out = s.deriveSecret(d.Secret, d.Label)
	t := &v.DeriveTreeSecret
	t.Secret, t.Label, t.Generation, t.Length = w.secret("secret"), "DeriveTreeSecret", 2694881440, 16
	t.Out = s.newExpander(t.Secret).deriveTreeSecret(t.Label, t.Generation, t.Length)
	n := &v.SignWithLabel
	n.Priv, n.Pub, n.Content, n.Label = w.signaturePriv(p), p.group.ownLeaf().SignatureKey, w.secret("content"), "SignWithLabel"
	var err error
	n.Signature, err = s.signWithLabel(p.id.Signer, n.Label, n.Content)
	w.must(err)
	e := &v.EncryptWithLabel
	key, err := s.deriveKeyPair(w.secret("key"))
	w.must(err)
	e.Priv, e.Pub, e.Label, e.Context, e.Plaintext = key.secret, key.public, "EncryptWithLabel", w.secret("context"), w.secret("plaintext")
	c, err := s.encryptWithLabel(e.Pub, e.Label, e.Context, e.Plaintext)
	w.must(err)
	e.KEMOutput, e.Ciphertext = c.KEMOutput, c.Ciphertext
	return v
}

func (w *vectorWriter) keySchedule() keyScheduleVector {
	v := keyScheduleVector{CipherSuite: w.cs, GroupID: w.secret("group"), InitialInitSecret: w.secret("init")}
	initSecret := []byte(v.InitialInitSecret)
	for i := range uint64(2) {
		e := keyScheduleEpoch{
			TreeHash: w.secret("tree"), CommitSecret: w.secret("commit"), PSKSecret: w.secret("psk"), ConfirmedTranscriptHash: w.secret("confirmed"),
		}
		e.Exporter.Label, e.Exporter.Context, e.Exporter.Length = "exporter", w.secret("context"), 32
		var err error
		initSecret, err = e.derive(w.suite, v.GroupID, i, initSecret)
		w.must(err)
		v.Epochs = append(v.Epochs, e)
	}
	return v
}

func (w *vectorWriter) messageProtection() messageProtectionVector {
	p := w.room.members[0]
	v := messageProtectionVector{
		CipherSuite: w.cs, GroupID: w.secret("group"), Epoch: 7, TreeHash: w.secret("tree"), ConfirmedTranscriptHash: w.secret("confirmed"),
		SignaturePriv: w.signaturePriv(p), SignaturePub: p.group.ownLeaf().SignatureKey, EncryptionSecret: w.secret("encryption"),
		SenderDataSecret: w.secret("sender data"), MembershipKey: w.secret("membership"), Application: w.secret("application"),
	}
	proposal := content{contentType: ContentTypeProposal, proposal: &Remove{2}}
	commit := content{contentType: ContentTypeCommit, commit: &Commit{}}
	application := content{contentType: ContentTypeApplication, applicationData: v.Application}
	v.Proposal, v.Commit = proposal.appendTo(nil), commit.appendTo(nil)
	protect := func(c content, public, private *hexBytes) {
		a, b, err := v.protect(w.suite, c)
		w.must(err)
		*public, *private = a, b
	}
	var none hexBytes
	protect(proposal, &v.ProposalPub, &v.ProposalPriv)
	protect(commit, &v.CommitPub, &v.CommitPriv)
	protect(application, &none, &v.ApplicationPriv)
	return v
}

func (w *vectorWriter) passiveClient() (v passiveClientVector) {
	config := Config{PSKs: psks{"psk": w.secret("psk")}}
	p := newPerson(w.t, "passive", w.cs, config)
	k := p.keyPackage()
	v.CipherSuite, v.KeyPackage, v.SignaturePriv = w.cs, k.Message(), w.signaturePriv(p)
	v.InitPriv, v.EncryptionPriv = p.kps[0].InitKey, p.kps[0].EncryptionKey
	v.ExternalPSKs = append(v.ExternalPSKs, struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	}{hexBytes("psk"), w.secret("psk")})
	r := &room{t: w.t, members: w.room.members}
	for _, m := range r.members {
		m.client, _ = NewClient(acceptAll, Config{PSKs: config.PSKs, PublicHandshakes: true})
		m.group.client = m.client
	}
	pending, err := r.members[0].group.Commit(CommitOptions{Proposals: []Proposal{&Add{k}, externalPSK("psk", 0)}})
	w.must(err)
	v.Welcome = pending.Welcome
	r.deliver(r.members[0], pending, p)
	v.InitialEpochAuthenticator = p.group.EpochAuthenticator()
	for i, opts := range []CommitOptions{{}, {Proposals: []Proposal{&Remove{2}}}} {
		by := r.members[i%2]
		var epoch struct {
			Proposals          []hexBytes `json:"proposals"`
			Commit             hexBytes   `json:"commit"`
			EpochAuthenticator hexBytes   `json:"epoch_authenticator"`
		}
		if i == 0 {
			update, err := r.members[1].group.ProposeUpdate(UpdateOptions{})
			w.must(err)
			for _, m := range r.members {
				if m != r.members[1] {
					w.must(call(m.group.Process(update)))
				}
			}
			epoch.Proposals = []hexBytes{update}
		}
		pending, err := by.group.Commit(opts)
		w.must(err)
		r.deliver(by, pending)
		epoch.Commit, epoch.EpochAuthenticator = pending.Commit, p.group.EpochAuthenticator()
		v.Epochs = append(v.Epochs, epoch)
	}
	return v
}

func (w *vectorWriter) pskSecret() pskSecretVector {
	v := pskSecretVector{CipherSuite: w.cs}
	for _, name := range []string{"a", "b", "c"} {
		v.PSKs = append(v.PSKs, struct {
			ID    hexBytes `json:"psk_id"`
			PSK   hexBytes `json:"psk"`
			Nonce hexBytes `json:"psk_nonce"`
		}{hexBytes(name), w.secret("psk " + name), w.secret("nonce " + name)})
	}
	v.PSKSecret = v.compute(w.suite)
	return v
}

func (w *vectorWriter) secretTree() (v secretTreeVector) {
	v.CipherSuite, v.EncryptionSecret = w.cs, w.secret("encryption")
	v.SenderData.Secret, v.SenderData.Ciphertext = w.secret("sender data"), w.bytes("ciphertext", 77)
	v.SenderData.Key, v.SenderData.Nonce = senderDataPair(w.suite.senderDataKey(w.suite.newExpander(v.SenderData.Secret), v.SenderData.Ciphertext))
	tree := newSecretTree(w.suite, 2, bytes.Clone(v.EncryptionSecret))
	for i := range LeafIndex(4) {
		var list []secretTreeVectorRatchet
		for _, g := range []uint32{0, 3, 15} {
			h, err := tree.find(i, handshakeRatchet, g)
			w.must(err)
			tree.consume(h)
			a, err := tree.find(i, applicationRatchet, g)
			w.must(err)
			tree.consume(a)
			list = append(list, secretTreeVectorRatchet{g, h.key, h.nonce, a.key, a.nonce})
		}
		v.Leaves = append(v.Leaves, list)
	}
	return v
}

func senderDataPair(key, nonce []byte) (hexBytes, hexBytes) { return key, nonce }

func (w *vectorWriter) transcriptHashes() transcriptHashVector {
	p := w.room.members[0]
	v := transcriptHashVector{CipherSuite: w.cs, ConfirmationKey: w.secret("confirmation"), InterimBefore: w.secret("interim")}
	a := p.group.newContent(content{contentType: ContentTypeCommit, commit: &Commit{}}, nil)
	w.must(a.sign(w.suite, p.id.Signer, p.group.epoch.contextBytes))
	confirmed := w.suite.confirmedTranscriptHash(v.InterimBefore, a)
	a.auth.confirmationTag = w.suite.mac(v.ConfirmationKey, confirmed)
	v.AuthenticatedContent = a.appendTo(nil)
	v.ConfirmedAfter, v.InterimAfter = confirmed, w.suite.interimTranscriptHash(confirmed, a.auth.confirmationTag)
	return v
}

func (w *vectorWriter) treeOperations() treeOperationsVector {
	tree := w.room.members[0].group.epoch.tree
	v := treeOperationsVector{
		CipherSuite: w.cs, TreeBefore: tree.marshal(), TreeHashBefore: tree.treeHash(),
		Proposal: appendProposal(nil, &Remove{2}),
	}
	after, err := v.apply(tree)
	w.must(err)
	v.TreeAfter, v.TreeHashAfter = after.marshal(), after.treeHash()
	return v
}

func (w *vectorWriter) treeValidation() treeValidationVector {
	g := w.room.members[0].group
	tree := g.epoch.tree
	v := treeValidationVector{CipherSuite: w.cs, Tree: tree.marshal(), GroupID: g.ID()}
	for x := range nodeIndex(2*tree.leafCount() - 1) {
		v.TreeHashes = append(v.TreeHashes, tree.nodeHash(tree.node(x), x))
		v.Resolutions = append(v.Resolutions, resolutionIndices(tree, x))
	}
	return v
}

func (w *vectorWriter) treeKEM() treeKEMVector {
	g := w.room.members[0].group
	v := treeKEMVector{CipherSuite: w.cs, GroupID: g.ID(), Epoch: g.Epoch(), ConfirmedTranscriptHash: g.epoch.context.ConfirmedTranscriptHash}
	// Path secrets are not kept, so that the vector's tree has blank parents and its
	// leaves know their own key alone.
	tree := g.epoch.tree
	for _, p := range w.room.members {
		leaf := *tree.leaf(p.group.private.leaf)
		leaf.LeafNodeSource, leaf.ParentHash = LeafNodeSourceUpdate, nil
		w.must(leaf.sign(w.suite, p.id.Signer, v.GroupID, p.group.private.leaf))
		tree = tree.update(p.group.private.leaf, &leaf)
		v.LeavesPrivate = append(v.LeavesPrivate, treeKEMLeaf{
			Index: p.group.private.leaf, EncryptionPriv: p.group.private.keys[p.group.private.leaf.node()].secret, SignaturePriv: w.signaturePriv(p),
		})
	}
	v.RatchetTree = tree.marshal()
	for _, p := range w.room.members[:1] {
		i := p.group.private.leaf
		leaf := *tree.leaf(i)
		made, err := p.client.makePath(tree, i, &leaf, p.id.Signer, v.GroupID)
		w.must(err)
		path, err := made.encrypt(v.context(made.tree.treeHash()), nil)
		w.must(err)
		u := v.newPath(made, path)
		for j := range LeafIndex(tree.leafCount()) {
			var secret hexBytes
			for k, level := range made.levels {
				if j != i && tree.leaf(j) != nil && level == commonLevel(i, j) {
					secret = made.chain.secrets[k]
				}
			}
			u.PathSecrets = append(u.PathSecrets, secret)
		}
		v.UpdatePaths = append(v.UpdatePaths, u)
	}
	return v
}

func (treeKEMVector) newPath(made *newPath, path *UpdatePath) treeKEMPath {
	return treeKEMPath{
		Sender: made.keys.leaf, UpdatePath: path.appendTo(nil),
		CommitSecret: made.chain.commitSecret, TreeHashAfter: made.tree.treeHash(),
	}
}

func (w *vectorWriter) welcome() welcomeVector {
	alice, p := w.room.members[0], newPerson(w.t, "new", w.cs, Config{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{p.keyPackage()}}})
	w.must(err)
	defer alice.group.DiscardPendingCommit()
	return welcomeVector{
		CipherSuite: w.cs, InitPriv: p.kps[0].InitKey, SignerPub: alice.group.ownLeaf().SignatureKey,
		KeyPackage: p.kps[0].KeyPackage.Message(), Welcome: pending.Welcome,
	}
}
