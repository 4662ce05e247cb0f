package mls

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// workAttacks are messages of n things that a hostile client makes, for which we
// must not do more than n things' work.
var workAttacks = map[string]func(t *testing.T, n int){
	"candidates for one parent hash": manyCandidatesForOneParentHash,
	"unmerged leaves at each level":  unmergedLeavesAtEachLevel,
	"path of many keys":              pathOfManyKeys,
	"leaf of many types":             leafOfManyTypes,
	"welcome of many PSKs":           welcomeOfManyPSKs,
	"proposals that spoil commits":   proposalsThatSpoilCommits,
}

// attackSize is the variable that says how large an attack a counting run makes.
const attackSize = "MLS_ATTACK_SIZE"

// TestWorkOfAttacks makes each attack at two sizes, and counts how often each
// statement of this package and of package slices runs: none may run more than three
// times as often for twice the size. In proportion it is twice, with a logarithm a
// little more, and in quadratic work four times. With -short, the attacks are made
// and nothing is counted.
func TestWorkOfAttacks(t *testing.T) {
	const size = 1024
	if n, err := strconv.Atoi(os.Getenv(attackSize)); err == nil {
		for name, attack := range workAttacks {
			t.Run(name, func(t *testing.T) { attack(t, n) })
		}
		return
	}
	binary := ""
	if !testing.Short() {
		binary = filepath.Join(t.TempDir(), "mls.test")
		build := exec.Command("go", "test", "-c", "-covermode=count", "-coverpkg=sealpost/mls,slices", "-o", binary, ".")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for name, attack := range workAttacks {
		t.Run(name, func(t *testing.T) {
			if binary == "" {
				attack(t, size)
				return
			}
			once, twice := countWork(t, binary, name, size), countWork(t, binary, name, 2*size)
			if len(once) < 100 {
				t.Fatalf("only %d statements were counted", len(once))
			}
			worst, excess := "", 0
			for statement, n := range twice {
				if e := n - 3*once[statement] - 4*size; e > excess {
					worst, excess = statement, e
				}
			}
			if worst != "" {
				t.Errorf("%s runs %d times for %d, %d times for %d", worst, once[worst], size, twice[worst], 2*size)
			}
		})
	}
}

// countWork makes an attack of size n in a process of its own, and returns how often
// each statement ran.
func countWork(t *testing.T, binary, attack string, n int) map[string]int {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "counts")
	pattern := "^TestWorkOfAttacks$/^" + strings.ReplaceAll(attack, " ", "_") + "$"
	run := exec.Command(binary, "-test.run", pattern, "-test.v", "-test.coverprofile", profile)
	run.Env = append(os.Environ(), attackSize+"="+strconv.Itoa(n))
	if out, err := run.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestWorkOfAttacks/")) {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		// file:line.column,line.column statements count
		if fields := strings.Fields(line); len(fields) == 3 {
			count, err := strconv.Atoi(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			counts[fields[0]] += count
		}
	}
	return counts
}

// manyCandidatesForOneParentHash has a root that lists all leaves but one as
// unmerged, and every leaf claim to be the one that chains to it.
func manyCandidatesForOneParentHash(t *testing.T, n int) {
	s := must(classic.suite())
	nodes := make([]*treeNode, 2*n-1)
	root := &ParentNode{EncryptionKey: []byte("root")}
	for i := range n {
		nodes[2*i] = &treeNode{leaf: &LeafNode{LeafNodeSource: LeafNodeSourceCommit}, members: 1}
		if i > 0 {
			root.UnmergedLeaves = append(root.UnmergedLeaves, uint32(i))
		}
	}
	top := rootOf(heightFor(uint32(n)))
	nodes[top] = &treeNode{parent: root}
	tree := treeOf(s, nodes)
	hash := tree.parentHash(root, tree.root.right, top.right())
	for i := range n / 2 {
		nodes[2*i].leaf.ParentHash = hash
	}
	if err := treeOf(s, nodes).verifyParentHashes(); err != nil {
		t.Error(err)
	}
	nodes[0].leaf.ParentHash = nil
	if err := treeOf(s, nodes).verifyParentHashes(); err == nil {
		t.Error("a chain that begins at an unmerged leaf is accepted")
	}
}

// unmergedLeavesAtEachLevel has each ancestor of the first leaf list all other leaves
// below it as unmerged, which is valid.
func unmergedLeavesAtEachLevel(t *testing.T, n int) {
	nodes := make([]*treeNode, 2*n-1)
	for i := range n {
		nodes[2*i] = &treeNode{leaf: &LeafNode{LeafNodeSource: LeafNodeSourceCommit}, members: 1}
	}
	top := rootOf(heightFor(uint32(n)))
	for x := top; x.level() > 0; x = x.left() {
		p := &ParentNode{EncryptionKey: appendUint32(nil, uint32(x))}
		for i := uint32(1); i < 1<<x.level(); i++ {
			p.UnmergedLeaves = append(p.UnmergedLeaves, i)
		}
		nodes[x] = &treeNode{parent: p}
	}
	tree := treeOf(must(classic.suite()), nodes)
	hash := []byte{}
	for x := top; x.level() > 0; x = x.left() {
		n := tree.node(x)
		n.parent.ParentHash = hash
		hash = tree.parentHash(n.parent, n.right, x.right())
	}
	tree.leaf(0).ParentHash = hash
	if err := tree.checkUnmergedLeaves(); err != nil {
		t.Error(err)
	}
	if err := tree.verifyParentHashes(); err != nil {
		t.Error(err)
	}
}

// pathOfManyKeys has a stranger send an external commit with a path of far more
// nodes than there are.
func pathOfManyKeys(t *testing.T, n int) {
	r := newRoom(t, classic, Config{}, 3)
	bob := cloneGroup(t, r.members[1])
	f := &forgery{external: newPerson(t, "stranger", classic, Config{}), path: func(p *UpdatePath) {
		p.Nodes = nil
		for i := range n {
			p.Nodes = append(p.Nodes, UpdatePathNode{EncryptionKey: appendUint32(nil, uint32(i))})
		}
	}}
	_, err := r.members[0].group.Process(f.public(t, bob))
	checkRefusal(t, err, brokenRule{"7.6", "nodes instead of"})
}

// leafOfManyTypes has a client support and use many types.
func leafOfManyTypes(t *testing.T, n int) {
	var many []ExtensionType
	var extensions []Extension
	for i := 0; len(many) < n; i++ {
		if e := ExtensionType(i); !e.isDefault() {
			many = append(many, e)
			extensions = append(extensions, Extension{ExtensionType: e})
		}
	}
	slices.Reverse(many)
	p := newPerson(t, "p", classic, Config{})
	k := forgeKeyPackage(t, p, KeyPackageOptions{}, func(k *KeyPackage) {
		k.LeafNode.Capabilities.Extensions = many
		k.LeafNode.Extensions = extensions
		k.Extensions = extensions
	})
	r := newRoom(t, classic, Config{}, 1)
	if err := r.members[0].client.ValidateKeyPackage(k.KeyPackage); err != nil {
		t.Fatal(err)
	}
	if _, err := r.members[0].group.Commit(CommitOptions{Proposals: []Proposal{&Add{k.KeyPackage}}}); err != nil {
		t.Fatal(err)
	}
}

// welcomeOfManyPSKs has an inviter list PSKs without end.
func welcomeOfManyPSKs(t *testing.T, n int) {
	secrets := &groupSecrets{joinerSecret: make([]byte, 32)}
	for i := range n {
		secrets.psks = append(secrets.psks, PreSharedKeyID{PSKType: PSKTypeExternal, PSKID: appendUint32(nil, uint32(i)), PSKNonce: make([]byte, 32)})
	}
	secrets.psks = append(secrets.psks, secrets.psks[0])
	joiner := &joiner{suite: must(classic.suite()), secrets: secrets}
	checkRefusal(t, joiner.checkPSKs(), brokenRule{"12.2", "listed twice"})
}

// proposalsThatSpoilCommits has every other of the proposals that wait spoil each
// commit that covers it.
func proposalsThatSpoilCommits(t *testing.T, n int) {
	alice := newDemandingRoom(t, 1).members[0].group
	for i := range n {
		p := newPerson(t, fmt.Sprint(i), classic, Config{})
		k := must(p.client.NewKeyPackage(classic, p.id, KeyPackageOptions{})).KeyPackage // lacks the required capabilities
		if i%2 == 1 {
			k = p.capable()
		}
		alice.proposals = append(alice.proposals, &storedProposal{ref: appendUint32(nil, uint32(i)), proposal: &Add{k}, sender: memberSender(0)})
	}
	list, err := alice.collectProposals(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 100 || alice.canCommit(list) != nil {
		t.Errorf("%d of %d proposals are committed", len(list), n)
	}
}
