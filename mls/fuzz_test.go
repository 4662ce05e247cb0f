package mls

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Each target has its seeds in testdata/fuzz. They are renewed, as the vectors are,
// by go test -run TestSeeds -update.

// fuzzDecoder checks that what parses encodes to the same bytes.
func fuzzDecoder[T any](f *testing.F, read func(*reader) T, appendTo func(T, []byte) []byte) {
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseAll(b, read)
		if err != nil {
			return
		}
		if again := appendTo(v, nil); !bytes.Equal(again, b) {
			t.Errorf("%x encodes to %x", b, again)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		if again := m.Marshal(); !bytes.Equal(again, b) {
			t.Errorf("%x encodes to %x", b, again)
		}
	})
}

func FuzzProposal(f *testing.F) {
	fuzzDecoder(f, readProposal, func(p Proposal, b []byte) []byte { return appendProposal(b, p) })
}

func FuzzCommit(f *testing.F) { fuzzDecoder(f, readCommit, (*Commit).appendTo) }

func FuzzGroupSecrets(f *testing.F) { fuzzDecoder(f, readGroupSecrets, (*groupSecrets).appendTo) }

func FuzzSenderData(f *testing.F) { fuzzDecoder(f, readSenderData, senderData.appendTo) }

// FuzzExtension parses the data of the extensions that the package knows.
func FuzzExtension(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseAll(b, readRequiredCapabilities); err == nil && !bytes.Equal(c.Extension().ExtensionData, b) {
			t.Errorf("required_capabilities %x encodes to %x", b, c.Extension().ExtensionData)
		}
		if s, err := parseAll(b, readExternalSenders); err == nil && !bytes.Equal(ExternalSendersExtension(s).ExtensionData, b) {
			t.Errorf("external_senders %x encodes to %x", b, ExternalSendersExtension(s).ExtensionData)
		}
		for typ := range ExtensionType(12) {
			for place := inKeyPackage; place <= inGroupInfo; place++ {
				_ = checkExtensions([]Extension{{typ, b}}, place)
			}
		}
	})
}

// FuzzRatchetTree parses and validates trees.
func FuzzRatchetTree(f *testing.F) {
	s, _ := classic.suite()
	client, err := NewClient(acceptAll, Config{MaxLifetime: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := parseRatchetTree(s, b)
		if err != nil {
			return
		}
		if again := tree.marshal(); !bytes.Equal(again, b) {
			t.Errorf("%x encodes to %x", b, again)
		}
		tree.treeHash()
		_, _ = client.validateTree(tree, []byte("group"), nil)
	})
}

func FuzzPrivateKeyPackage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParsePrivateKeyPackage(b)
		if err == nil && !bytes.Equal(k.Marshal(), b) {
			t.Errorf("%x encodes to %x", b, k.Marshal())
		}
	})
}

// liveGroup returns the group of two that the fuzz targets send messages to.
func liveGroup(t testing.TB) (alice, bob *person) {
	t.Helper()
	r := newRoom(t, classic, public, 3)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	return r.members[0], r.members[1]
}

// fuzzState checks that a group survives a message: no panic, and no change if it is
// refused.
func fuzzState(t *testing.T, g *Group, message []byte) {
	before := g.Marshal()
	_, err := g.Process(message)
	if err != nil && !bytes.Equal(g.Marshal(), before) {
		t.Errorf("refused message changed the group: %v", err)
	}
}

// FuzzProcess sends messages of nobody to a live group.
func FuzzProcess(f *testing.F) {
	_, bob := liveGroup(f)
	for _, message := range seedMessages(f) {
		f.Add(bob.address(message))
	}
	state := bob.group.Marshal()
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := bob.client.UnmarshalGroup(state, bob.id.Signer)
		if err != nil {
			t.Fatal(err)
		}
		fuzzState(t, g, b)
		fuzzState(t, g, bob.address(b))
	})
}

// address puts the group's identifier and epoch into a message of another group.
func (p *person) address(message []byte) []byte {
	m, err := ParseMessage(message)
	if err != nil {
		return message
	}
	c := p.group.epoch.context
	switch {
	case m.PublicMessage != nil:
		m.PublicMessage.content.groupID, m.PublicMessage.content.epoch = c.GroupID, c.Epoch
	case m.PrivateMessage != nil:
		m.PrivateMessage.groupID, m.PrivateMessage.epoch = c.GroupID, c.Epoch
	}
	return m.Marshal()
}

// FuzzProcessInsider sends contents that a member has signed, or somebody from
// outside of the group, so that they get past the first checks.
func FuzzProcessInsider(f *testing.F) {
	alice, bob := liveGroup(f)
	state := bob.group.Marshal()
	f.Fuzz(func(t *testing.T, sender, contentType byte, b []byte) {
		r := reader{rest: b}
		c := readContent(&r, ContentType(contentType%3+1))
		if r.finish() != nil {
			return
		}
		g, err := bob.client.UnmarshalGroup(state, bob.id.Signer)
		if err != nil {
			t.Fatal(err)
		}
		alice.t = t
		from := Sender{SenderType: SenderType(sender%4 + 1)}
		fuzzState(t, g, alice.forge(from, c))
		use, err := alice.group.epoch.messages.find(0, ratchetFor(c.contentType), 0)
		if err != nil {
			t.Fatal(err)
		}
		a := alice.group.newContent(c, nil)
		a.wireFormat = WireFormatPrivateMessage
		if err := a.sign(g.suite, alice.id.Signer, g.epoch.contextBytes); err != nil {
			t.Fatal(err)
		}
		fuzzState(t, g, alice.encryptContent(a, nil, [4]byte{}, use))
	})
}

// FuzzUnmarshalGroup loads damaged state.
func FuzzUnmarshalGroup(f *testing.F) {
	_, bob := liveGroup(f)
	state := bob.group.Marshal()
	f.Fuzz(func(t *testing.T, at uint16, replace byte, b []byte) {
		damaged := bytes.Clone(state)
		damaged[int(at)%len(damaged)] ^= replace
		for _, s := range [][]byte{damaged, b, append(damaged[:len(damaged)/2:len(damaged)/2], b...)} {
			g, err := bob.client.UnmarshalGroup(s, bob.id.Signer)
			if err != nil {
				continue
			}
			if _, err := g.Commit(CommitOptions{}); err == nil {
				_ = g.MergePendingCommit()
			}
		}
	})
}

// TestSeeds has the seeds of the fuzz targets written anew.
func TestSeeds(t *testing.T) {
	if !*update {
		t.Skip("nothing to check: go test runs the seeds with the targets")
	}
	seeds := make(map[string][]string)
	add := func(target string, args ...any) {
		line := ""
		for _, a := range args {
			switch a := a.(type) {
			case []byte:
				line += "[]byte(" + strconv.Quote(string(a)) + ")\n"
			case byte:
				line += fmt.Sprintf("byte('\\x%02x')\n", a)
			case uint16:
				line += fmt.Sprintf("uint16(%d)\n", a)
			}
		}
		seeds[target] = append(seeds[target], line)
	}
	for _, message := range seedMessages(t) {
		add("FuzzParseMessage", message)
		add("FuzzProcess", message)
		m, err := ParseMessage(message)
		if err != nil {
			t.Fatal(err)
		}
		if m.PublicMessage == nil {
			continue
		}
		c := m.PublicMessage.content
		body := c.content.appendTo(nil)
		add("FuzzProcessInsider", byte(c.sender.SenderType-1), byte(c.contentType-1), body)
		if c.contentType == ContentTypeCommit {
			add("FuzzCommit", body)
		} else {
			add("FuzzProposal", body)
		}
	}
	r := newRoom(t, classic, public, 5)
	add("FuzzRatchetTree", r.members[0].group.RatchetTree())
	r.commit(r.members[1], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	add("FuzzRatchetTree", r.members[0].group.RatchetTree())
	add("FuzzPrivateKeyPackage", r.members[1].kps[0].Marshal())
	add("FuzzUnmarshalGroup", uint16(100), byte(1), r.members[0].group.Marshal())
	secrets := groupSecrets{joinerSecret: make([]byte, 32), pathSecret: make([]byte, 32), psks: []PreSharedKeyID{
		externalPSK("a", 32).PSK, resumptionPSK(r.members[0].group, ResumptionPSKUsageBranch, 1, 32).PSK,
	}}
	add("FuzzGroupSecrets", secrets.appendTo(nil))
	add("FuzzSenderData", senderData{leafIndex: 1, generation: 2, reuseGuard: [4]byte{1, 2, 3, 4}}.appendTo(nil))
	add("FuzzExtension", RequiredCapabilities{ExtensionTypes: []ExtensionType{customExtension}}.Extension().ExtensionData)
	add("FuzzExtension", ExternalSendersExtension([]ExternalSender{{make([]byte, 32), BasicCredential([]byte("service"))}}).ExtensionData)
	for target, list := range seeds {
		folder := filepath.Join("testdata", "fuzz", target)
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for i, seed := range list {
			name := filepath.Join(folder, fmt.Sprintf("seed-%02d", i))
			if err := os.WriteFile(name, []byte("go test fuzz v1\n"+seed), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
