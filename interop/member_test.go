package interop

import (
	"fmt"
	"testing"
)

// member is one MLS client in at most one group, on either side. A commit is staged by
// commit or joinExternal and takes effect with merge, or is dropped when another one is
// processed.
type member interface {
	keyPackage() ([]byte, error)
	create(groupID []byte) error
	join(welcome, tree []byte) error
	joinExternal(groupInfo, tree []byte) (commit []byte, err error)

	propose(p proposal, public bool) ([]byte, error)
	commit(ps []proposal, public, withTree bool) (commitResult, error)
	merge() error

	send(data, aad []byte) ([]byte, error)
	process(message []byte) (processed, error)

	view() (view, error)
	export(label string, context []byte, length int) ([]byte, error)
	groupInfo(withTree bool) ([]byte, error)
	tree() ([]byte, error)
	setPSK(id, secret []byte) error
}

// proposal is what a member proposes; Type says which of the other fields count.
type proposal struct {
	Type       string `json:"type"` // add, remove, update, psk or extensions
	KeyPackage []byte `json:"keyPackage,omitempty"`
	Leaf       uint32 `json:"leaf"`
	PSKID      []byte `json:"pskId,omitempty"`
	Extension  uint16 `json:"extension"`
	Data       []byte `json:"data,omitempty"`
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
