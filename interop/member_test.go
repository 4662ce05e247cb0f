package interop

import (
	"fmt"
	"testing"
)

// member is one MLS client in at most one group, on either side. A commit is staged by
// commit or joinExternal and takes effect with merge.
type member interface {
	keyPackage() ([]byte, error)
	create(groupID []byte) error
	join(welcome, tree []byte) error
	joinExternal(groupInfo, tree []byte) (commit []byte, err error)

	propose(p proposal, public bool) ([]byte, error)
	commit(ps []proposal, public, withTree bool) (commitResult, error)
	merge() error
	discard() error

	send(data, aad []byte) ([]byte, error)
	process(message []byte) (processed, error)

	view() (view, error)
	export(label string, context []byte, length int) ([]byte, error)
	groupInfo(withTree bool) (groupInfo, tree []byte, err error)
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

// commitResult holds a commit and, where it adds members, the Welcome; the tree stands
// alone where it is not inside the Welcome.
type commitResult struct {
	Commit, Welcome, Tree []byte
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

// jsMember is a client in the peer's process.
type jsMember struct {
	peer *peer
	name string
}

func newJSMember(t testing.TB, p *peer, name string, suite int) (member, error) {
	m := jsMember{p, name}
	t.Cleanup(func() {
		if err := m.call("forget", nil, nil); err != nil {
			t.Error(err)
		}
	})
	return m, m.call("client", args{"suite": suite}, nil)
}

func (m jsMember) call(op string, a args, result any) error {
	command := args{"client": m.name}
	for key, value := range a {
		if b, ok := value.([]byte); ok && b == nil {
			continue // left out, not empty
		}
		command[key] = value
	}
	return m.peer.call(op, command, result)
}

func (m jsMember) message(op string, a args) ([]byte, error) {
	var result struct{ Message []byte }
	err := m.call(op, a, &result)
	return result.Message, err
}

func (m jsMember) keyPackage() ([]byte, error) { return m.message("keyPackage", nil) }

func (m jsMember) create(groupID []byte) error {
	return m.call("create", args{"group": groupID}, nil)
}

func (m jsMember) join(welcome, tree []byte) error {
	return m.call("join", args{"welcome": welcome, "tree": tree}, nil)
}

func (m jsMember) joinExternal(groupInfo, tree []byte) ([]byte, error) {
	var result struct{ Commit []byte }
	err := m.call("joinExternal", args{"groupInfo": groupInfo, "tree": tree}, &result)
	return result.Commit, err
}

func (m jsMember) propose(p proposal, public bool) ([]byte, error) {
	return m.message("propose", args{"proposal": p, "public": public})
}

func (m jsMember) commit(ps []proposal, public, withTree bool) (commitResult, error) {
	var result commitResult
	err := m.call("commit", args{"proposals": ps, "public": public, "withTree": withTree}, &result)
	return result, err
}

func (m jsMember) merge() error   { return m.call("merge", nil, nil) }
func (m jsMember) discard() error { return m.call("discard", nil, nil) }

func (m jsMember) send(data, aad []byte) ([]byte, error) {
	return m.message("send", args{"data": data, "aad": aad})
}

func (m jsMember) process(message []byte) (processed, error) {
	var result processed
	err := m.call("process", args{"message": message}, &result)
	return result, err
}

func (m jsMember) view() (view, error) {
	var result view
	err := m.call("state", nil, &result)
	return result, err
}

func (m jsMember) export(label string, context []byte, length int) ([]byte, error) {
	var result struct{ Secret []byte }
	err := m.call("export", args{"label": label, "context": context, "length": length}, &result)
	return result.Secret, err
}

func (m jsMember) groupInfo(withTree bool) (groupInfo, tree []byte, err error) {
	groupInfo, err = m.message("groupInfo", args{"withTree": withTree})
	if err != nil || withTree {
		return groupInfo, nil, err
	}
	var result struct{ Tree []byte }
	err = m.call("tree", nil, &result)
	return groupInfo, result.Tree, err
}

func (m jsMember) setPSK(id, secret []byte) error {
	return m.call("psk", args{"pskId": id, "secret": secret}, nil)
}

// sharedExtension is an extension type that all members list in their capabilities; a
// GREASE value (RFC 9420 section 13.5).
const sharedExtension = 0x1a1a

// kinds names the two sides.
var kinds = []string{"js"}

func newMember(t testing.TB, p *peer, kind, name string, suite int) member {
	t.Helper()
	m, err := map[string]func(testing.TB, *peer, string, int) (member, error){
		"js": newJSMember,
	}[kind](t, p, name, suite)
	if err != nil {
		t.Fatal(fmt.Errorf("making %s: %w", name, err))
	}
	return m
}
