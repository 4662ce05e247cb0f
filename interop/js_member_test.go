package interop

import "testing"

// jsMember is a client in the peer's process.
type jsMember struct {
	t    testing.TB
	peer *peer
	name string
}

func newJSMember(t testing.TB, p *peer, name string, suite int) (member, error) {
	m := jsMember{t, p, name}
	m.forgetLater()
	return m, m.call("client", args{"suite": suite}, nil)
}

func (m jsMember) forgetLater() {
	m.t.Cleanup(func() {
		if err := m.call("forget", nil, nil); err != nil {
			m.t.Error(err)
		}
	})
}

func (m jsMember) successor(suite int) (member, error) {
	next := jsMember{m.t, m.peer, m.name + "'"}
	next.forgetLater()
	return next, next.call("successor", args{"of": m.name, "suite": suite}, nil)
}

func (m jsMember) open(groupID []byte, keyPackages [][]byte) ([]byte, error) {
	return m.message("openGroup", args{"group": groupID, "keyPackages": keyPackages})
}

func (m jsMember) signatureKey() ([]byte, error) {
	var result struct{ Key []byte }
	err := m.call("signatureKey", nil, &result)
	return result.Key, err
}

func (m jsMember) proposeJoin(groupInfo []byte) ([]byte, error) {
	return m.message("proposeJoin", args{"groupInfo": groupInfo})
}

// proposeFromOutside lets the peer find its place among the senders.
func (m jsMember) proposeFromOutside(groupInfo []byte, _ uint32, p proposal) ([]byte, error) {
	return m.message("proposeFromOutside", args{"groupInfo": groupInfo, "proposal": p})
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

// joinExternal lets the peer find the leaf to replace by its signature key.
func (m jsMember) joinExternal(groupInfo, tree []byte, replace *uint32) ([]byte, error) {
	var result struct{ Commit []byte }
	err := m.call("joinExternal", args{"groupInfo": groupInfo, "tree": tree, "resync": replace != nil}, &result)
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

func (m jsMember) merge() error { return m.call("merge", nil, nil) }

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

func (m jsMember) groupInfo(withTree bool) ([]byte, error) {
	return m.message("groupInfo", args{"withTree": withTree})
}

func (m jsMember) tree() ([]byte, error) {
	var result struct{ Tree []byte }
	err := m.call("tree", nil, &result)
	return result.Tree, err
}

func (m jsMember) setPSK(id, secret []byte) error {
	return m.call("psk", args{"pskId": id, "secret": secret}, nil)
}
