package interop

import (
	"fmt"
	"testing"
)

// member is one MLS client in at most one group, on either side.
type member interface {
	newcomer
	speaker
	witness
	outsider
	successor(suite int) (member, error)
}

// newcomer is a client on its way into a group.
type newcomer interface {
	keyPackage() ([]byte, error)
	create(groupID []byte) error
	join(welcome, tree []byte) error
	// joinExternal stages a commit; with replace, the one leaf that the client has in
	// the group already goes.
	joinExternal(groupInfo, tree []byte, replace *uint32) (commit []byte, err error)
	// open begins a group that continues or branches off the one that the client is a
	// successor for.
	open(groupID []byte, keyPackages [][]byte) (welcome []byte, err error)
	setPSK(id, secret []byte) error
}

// speaker sends to the group and hears from it. A commit is staged, and takes effect with
// merge, or is dropped when another one is processed.
type speaker interface {
	propose(p proposal, public bool) ([]byte, error)
	commit(ps []proposal, public, withTree bool) (commitResult, error)
	merge() error
	send(data, aad []byte) ([]byte, error)
	process(message []byte) (processed, error)
}

// witness says what a member believes.
type witness interface {
	view() (view, error)
	export(label string, context []byte, length int) ([]byte, error)
	groupInfo(withTree bool) ([]byte, error)
	tree() ([]byte, error)
}

// outsider proposes to a group that it is not in.
type outsider interface {
	signatureKey() ([]byte, error)
	proposeJoin(groupInfo []byte) ([]byte, error)
	proposeFromOutside(groupInfo []byte, sender uint32, p proposal) ([]byte, error)
}

// proposal is what a member proposes; Type says which of the other fields count.
type proposal struct {
	Type       string `json:"type"` // add, remove, update, psk, extensions or reinit
	KeyPackage []byte `json:"keyPackage,omitempty"`
	Leaf       uint32 `json:"leaf"`
	PSKID      []byte `json:"pskId,omitempty"`
	Extension  uint16 `json:"extension"`
	Data       []byte `json:"data,omitempty"` // of the extension, or the next group's id
	Suite      int    `json:"suite"`
}

// commitResult holds a commit and, where it adds members, the Welcome.
type commitResult struct {
	Commit, Welcome []byte
}

type processed struct {
	Kind string // application, proposal, commit or removed
	Data []byte // of an application message
}

// view is what a member believes about its group; all but Leaf has to be the same
// for all members.
type view struct {
	Leaf                    uint32
	Epoch                   uint64
	EpochAuthenticator      []byte
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Members                 []viewMember
}

type viewMember struct {
	Leaf     uint32
	Identity []byte
}

// sharedExtension is an extension type, for private use, that all members list in their
// capabilities.
const sharedExtension = 0xF0F0

// kinds names the two sides.
var kinds = []string{"go", "js"}

func newMember(t testing.TB, p *peer, kind, name string, suite int, habit habits) member {
	t.Helper()
	var m member
	var err error
	switch kind {
	case "go":
		m, err = newGoMember(name, suite, habit)
	case "js":
		m, err = newJSMember(t, p, name, suite)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("making %s: %w", name, err))
	}
	return m
}
