package mls

import (
	"crypto/ed25519"
	"fmt"
	"runtime"
	"testing"
)

// The suites that are measured.
var benchSuites = map[string]CipherSuite{
	"suite1": classic,
	"hybrid": DefaultCipherSuite,
}

// benchGroup returns a group of n members of whom two have a view of their own.
// In a fresh tree all were added at once by the first. In a filled one every
// parent node is set, as after each member committed.
func benchGroup(b *testing.B, cs CipherSuite, n int, filled bool) (first, second *person) {
	b.Helper()
	first = newPerson(b, "first", cs, Config{})
	first.create(GroupOptions{})
	second = newPerson(b, "second", cs, Config{})
	proposals := []Proposal{&Add{second.keyPackage()}}
	others := make([]*person, 0, n)
	for i := range n - 2 {
		p := newPerson(b, fmt.Sprint("other ", i), cs, Config{})
		others = append(others, p)
		proposals = append(proposals, &Add{p.keyPackage()})
	}
	pending, err := first.group.Commit(CommitOptions{Proposals: proposals})
	if err != nil {
		b.Fatal(err)
	}
	if err := first.group.MergePendingCommit(); err != nil {
		b.Fatal(err)
	}
	if filled {
		fillTree(b, first, append([]*person{first, second}, others...))
		g, _, err := first.client.Join(first.welcomeFor(b, second), second.kps, second.id.Signer, JoinOptions{})
		if err != nil {
			b.Fatal(err)
		}
		second.group = g
		return first, second
	}
	second.join(pending.Welcome, JoinOptions{})
	return first, second
}

// fillTree sets the path of every other leaf, so that no parent node is blank, and
// gives the first member a state that fits.
func fillTree(b *testing.B, first *person, members []*person) {
	b.Helper()
	g := first.group
	t := g.epoch.tree
	for i := len(members) - 1; i >= 0; i -= 2 {
		leaf := *t.leaf(LeafIndex(i))
		at := i
		if at == 1 {
			at = 0
			leaf = *t.leaf(0)
		}
		path, err := g.client.makePath(t, LeafIndex(at), &leaf, members[at].id.Signer, g.epoch.context.GroupID)
		if err != nil {
			b.Fatal(err)
		}
		t = path.tree
		if at == 0 {
			g.private = path.keys
		}
	}
	if g.private.prune(t); g.private.keys[0] == nil {
		b.Fatal("first member has no key")
	}
	g.epoch.tree = t
	g.epoch.context.TreeHash = t.treeHash()
	g.epoch.contextBytes = g.epoch.context.Marshal()
	g.index = newTreeIndex(t)
}

// welcomeFor makes the Welcome that brings a member of the tree in, as if it had
// just been added.
func (p *person) welcomeFor(b *testing.B, member *person) []byte {
	b.Helper()
	g := p.group
	joiner := make([]byte, g.suite.nh)
	epoch, welcome := g.suite.newEpoch(g.epoch.tree, g.epoch.context, g.epoch.contextBytes, joiner, make([]byte, g.suite.nh))
	g.epoch = epoch
	g.tag = g.suite.mac(epoch.secrets.confirmationKey, epoch.context.ConfirmedTranscriptHash)
	g.interim = g.suite.interimTranscriptHash(epoch.context.ConfirmedTranscriptHash, g.tag)
	info, err := g.client.newGroupInfo(g.state(), true, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	builder := &commitBuilder{
		transition: &transition{suite: g.suite, added: []addedMember{{1, member.kps[0].KeyPackage}}},
		out:        epochOutput{joinerSecret: joiner, welcomeSecret: welcome},
	}
	w, err := builder.encryptWelcome(info)
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func forSuites(b *testing.B, f func(b *testing.B, cs CipherSuite)) {
	for _, name := range []string{"suite1", "hybrid"} {
		b.Run(name, func(b *testing.B) { f(b, benchSuites[name]) })
	}
}

// forSizes runs a benchmark on fresh and filled groups of several sizes. Building
// the largest takes a minute, so that -short leaves it out.
func forSizes(b *testing.B, f func(b *testing.B, cs CipherSuite, n int, filled bool)) {
	forSuites(b, func(b *testing.B, cs CipherSuite) {
		for _, filled := range []bool{false, true} {
			for _, n := range []int{2, 10, 100, 1000, 10000} {
				if n > 1000 && testing.Short() {
					continue
				}
				b.Run(fmt.Sprintf("%s/%d", map[bool]string{false: "fresh", true: "filled"}[filled], n), func(b *testing.B) {
					f(b, cs, n, filled)
				})
			}
		}
	})
}

// BenchmarkEd25519 is the measure for sealing and opening 200 bytes, which cannot
// cost less than the signature in it and its verification: over just the bytes
// that are signed for such a message.
func BenchmarkEd25519(b *testing.B) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	first, _ := benchGroup(b, DefaultCipherSuite, 2, false)
	a := first.group.newContent(content{contentType: ContentTypeApplication, applicationData: make([]byte, 200)}, nil)
	message := labelled(framedContentLabel, a.tbs(first.group.epoch.contextBytes))
	sig := ed25519.Sign(key, message)
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			ed25519.Sign(key, message)
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			ed25519.Verify(public, message, sig)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	forSuites(b, func(b *testing.B, cs CipherSuite) {
		for _, size := range []int{200, 64 << 10} {
			b.Run(fmt.Sprint(size), func(b *testing.B) {
				first, _ := benchGroup(b, cs, 2, false)
				data := make([]byte, size)
				b.ReportAllocs()
				wire := 0
				for b.Loop() {
					m, err := first.group.Encrypt(data, nil)
					if err != nil {
						b.Fatal(err)
					}
					wire = len(m)
				}
				b.ReportMetric(float64(wire), "wire-B")
			})
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	forSuites(b, func(b *testing.B, cs CipherSuite) {
		for _, size := range []int{200, 64 << 10} {
			b.Run(fmt.Sprint(size), func(b *testing.B) {
				first, second := benchGroup(b, cs, 2, false)
				data := make([]byte, size)
				b.ReportAllocs()
				var messages [][]byte
				for b.Loop() {
					if len(messages) == 0 {
						b.StopTimer()
						for range 100 {
							m, err := first.group.Encrypt(data, nil)
							if err != nil {
								b.Fatal(err)
							}
							messages = append(messages, m)
						}
						b.StartTimer()
					}
					if _, err := second.group.Process(messages[0]); err != nil {
						b.Fatal(err)
					}
					messages = messages[1:]
				}
			})
		}
	})
}

func BenchmarkKeyPackage(b *testing.B) {
	forSuites(b, func(b *testing.B, cs CipherSuite) {
		p := newPerson(b, "p", cs, Config{})
		b.ReportAllocs()
		for b.Loop() {
			p.kps = nil
			p.keyPackage()
		}
		b.ReportMetric(float64(len(p.kps[0].KeyPackage.Message())), "wire-B")
	})
}

// BenchmarkAdd makes the commit and the Welcome that add a client.
func BenchmarkAdd(b *testing.B) {
	forSizes(b, func(b *testing.B, cs CipherSuite, n int, filled bool) {
		first, _ := benchGroup(b, cs, n, filled)
		k := newPerson(b, "new", cs, Config{}).keyPackage()
		b.ReportAllocs()
		var pending *PendingCommit
		for b.Loop() {
			var err error
			pending, err = first.group.Commit(CommitOptions{Proposals: []Proposal{&Add{k}}})
			if err != nil {
				b.Fatal(err)
			}
			first.group.DiscardPendingCommit()
		}
		b.ReportMetric(float64(len(pending.Commit)), "commit-B")
		b.ReportMetric(float64(len(pending.Welcome)), "welcome-B")
	})
}

// BenchmarkUpdate makes a commit without proposals and applies it.
func BenchmarkUpdate(b *testing.B) {
	forSizes(b, func(b *testing.B, cs CipherSuite, n int, filled bool) {
		first, _ := benchGroup(b, cs, n, filled)
		b.ReportAllocs()
		wire := 0
		for b.Loop() {
			pending, err := first.group.Commit(CommitOptions{})
			if err != nil {
				b.Fatal(err)
			}
			wire = len(pending.Commit)
			if err := first.group.MergePendingCommit(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(wire), "commit-B")
	})
}

// BenchmarkProcess processes and applies a commit without proposals.
func BenchmarkProcess(b *testing.B) {
	forSizes(b, func(b *testing.B, cs CipherSuite, n int, filled bool) {
		first, second := benchGroup(b, cs, n, filled)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			pending, err := first.group.Commit(CommitOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if err := first.group.MergePendingCommit(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			p, err := second.group.Process(pending.Commit)
			if err != nil {
				b.Fatal(err)
			}
			if err := second.group.Merge(p.(*StagedCommit)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkJoin(b *testing.B) {
	forSizes(b, func(b *testing.B, cs CipherSuite, n int, filled bool) {
		first, second := benchGroup(b, cs, n, filled)
		welcome := first.welcomeFor(b, second)
		runtime.GC()
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := first.client.Join(welcome, second.kps, second.id.Signer, JoinOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(welcome)), "wire-B")
	})
}

// BenchmarkSave saves what changed by a message and by a commit.
func BenchmarkSave(b *testing.B) {
	forSizes(b, func(b *testing.B, cs CipherSuite, n int, filled bool) {
		first, _ := benchGroup(b, cs, n, filled)
		size := 0
		store := func(records []Record) error {
			size = 0
			for _, r := range records {
				size += len(r.Key) + len(r.Value)
			}
			return nil
		}
		if err := first.group.Save(store); err != nil {
			b.Fatal(err)
		}
		whole := size
		for _, kind := range []string{"message", "commit"} {
			b.Run(kind, func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					if kind == "message" {
						if _, err := first.group.Encrypt(nil, nil); err != nil {
							b.Fatal(err)
						}
					} else {
						if _, err := first.group.Commit(CommitOptions{}); err != nil {
							b.Fatal(err)
						}
						if err := first.group.MergePendingCommit(); err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
					if err := first.group.Save(store); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(size), "saved-B")
				b.ReportMetric(float64(whole), "state-B")
			})
		}
	})
}
