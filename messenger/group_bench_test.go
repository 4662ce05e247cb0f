package messenger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sealpost/identity"
	"sealpost/mls"
)

// strangers returns key packages of new accounts, each with a device.
func strangers(b *testing.B, from, n int) []mls.Proposal {
	b.Helper()
	var adds []mls.Proposal
	for i := from; i < from+n; i++ {
		s, _, err := newSelf(NewProfile{Username: identity.Username(fmt.Sprint("member", i))}, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		gs, err := newGroups(&s, time.Now, mls.DefaultCipherSuite)
		if err != nil {
			b.Fatal(err)
		}
		private, err := gs.client.NewKeyPackage(mls.DefaultCipherSuite, s.identity(), mls.KeyPackageOptions{Leaf: leafOptions(), Lifetime: keyPackageLife})
		if err != nil {
			b.Fatal(err)
		}
		adds = append(adds, &mls.Add{KeyPackage: private.KeyPackage})
	}
	return adds
}

// A crowd is a group with so many members, as its only administrator has it.
type crowd struct {
	*session
	b    *testing.B
	v    *conversation
	g    *group
	size int
}

func newCrowd(b *testing.B, members int) *crowd {
	b.Helper()
	p := shelf(b)
	c := &crowd{session: &session{Client: p.Client}, b: b, size: 1}
	c.v = &conversation{publicID: newConversationID(), kind: Group, state: Active, name: "crowd"}
	d := &descriptor{Kind: Group, Conversation: c.v.publicID[:], Incarnation: 1, Name: "crowd", Admins: []string{"alice"}}
	extensions, err := d.extensions()
	if err != nil {
		b.Fatal(err)
	}
	mg, err := c.groups.client.CreateGroup(mls.DefaultCipherSuite, c.self.identity(), mls.GroupOptions{Extensions: extensions, Leaf: leafOptions()})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.commit(b.Context(), func(u *unit) error {
		if err := c.addConversation(u, c.v); err != nil {
			return err
		}
		c.g = &group{conversation: c.v.id, groupID: mg.ID(), incarnation: 1, state: groupNew}
		if err := c.addGroup(u, c.g, d); err != nil {
			return err
		}
		return keepMembers(u, c.g.id, []memberDevice{c.self.memberDevice(mg.OwnIndex())})
	}); err != nil {
		b.Fatal(err)
	}
	c.groups.open[c.g.id] = mg
	for c.size < members {
		n := min(maxAddedAtOnce, members-c.size)
		c.change(action{Op: opAdd}, mls.CommitOptions{Proposals: strangers(b, c.size, n), OmitPath: true})
		c.size += n
	}
	return c
}

// change makes a commit as Run does, and has the relay accept it. It returns the
// bytes that go to the relay.
func (c *crowd) change(a action, options mls.CommitOptions) int {
	c.b.Helper()
	ctx := c.b.Context()
	if err := c.commit(ctx, func(u *unit) error { return enqueueAction(u, c.v.id, laneMain, a) }); err != nil {
		c.b.Fatal(err)
	}
	heads, err := c.heads(ctx)
	if err != nil || len(heads) != 1 {
		c.b.Fatalf("%d entries, %v", len(heads), err)
	}
	e := heads[0]
	if c.g, err = groupByRow(ctx, c.store.reader, c.g.id); err != nil {
		c.b.Fatal(err)
	}
	mg, err := c.groups.load(ctx, c.store.reader, c.g.id)
	if err != nil {
		c.b.Fatal(err)
	}
	if err := c.commit(ctx, func(u *unit) error { return c.stage(u, &e, c.g, mg, options) }); err != nil {
		c.b.Fatal(err)
	}
	if err := c.accepted(ctx, flight{submitID: e.submitID, group: c.g.id}); err != nil {
		c.b.Fatal(err)
	}
	return len(e.sealed) + len(e.welcome)
}

// BenchmarkCrowd tells what the administrator of a group of 500 devices pays: every
// signature, sealing, and byte on disk.
func BenchmarkCrowd(b *testing.B) {
	c := newCrowd(b, 500)
	run := func(name string, a action, options func(b *testing.B) mls.CommitOptions) {
		b.Run(name, func(b *testing.B) {
			var (
				took  []time.Duration
				bytes int
			)
			for b.Loop() {
				b.StopTimer()
				o := options(b)
				b.StartTimer()
				begin := time.Now()
				bytes = c.change(a, o)
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(bytes), "bytes")
		})
	}
	run("add", action{Op: opAdd}, func(b *testing.B) mls.CommitOptions {
		c.size++
		return mls.CommitOptions{Proposals: strangers(b, c.size, 1), OmitPath: true}
	})
	run("update", action{Op: opUpdate}, func(*testing.B) mls.CommitOptions { return mls.CommitOptions{} })
	run("load", action{Op: opAdd}, func(b *testing.B) mls.CommitOptions {
		c.groups.forget(c.g.id)
		c.size++
		return mls.CommitOptions{Proposals: strangers(b, c.size, 1), OmitPath: true}
	})
}
