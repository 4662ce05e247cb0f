package messenger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sealpost/identity"
)

func TestGroupLife(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob", "carol", "dave")
	alice, bob, carol, dave := people[0], people[1], people[2], people[3]
	for _, other := range people[1:] {
		befriend(alice, other)
		other.direct(alice)
	}
	befriend(bob, carol)
	v, err := alice.CreateGroup(testContext(t), "walks", []identity.Username{"bob", "carol"})
	if err != nil {
		t.Fatal(err)
	}
	in := v.ID
	alice.until("the group exists", func() bool { return slices.Contains(alice.rows(in), "[alice added bob, carol]") })
	alice.say(in, "who comes?")
	bob.awaitTexts(in, "who comes?")
	bob.say(in, "me")
	carol.awaitTexts(in, "who comes?", "me")
	alice.awaitTexts(in, "who comes?", "me")
	if got := carol.members(in); got != "alice* bob carol" {
		t.Errorf("members: %s", got)
	}
	if err := bob.AddMembers(testContext(t), in, []identity.Username{"dave"}); !errors.Is(err, ErrNotAdmin) {
		t.Errorf("bob adds: %v", err)
	}
	if err := alice.AddMembers(testContext(t), in, []identity.Username{"dave"}); err != nil {
		t.Fatal(err)
	}
	dave.until("he is in the group", func() bool { return slices.Contains(dave.rows(in), "[alice added you]") })
	dave.say(in, "late")
	for _, p := range []*person{alice, bob, carol} {
		p.awaitTexts(in, "who comes?", "me", "late")
	}
	wantRows(t, dave, in, "[alice added you]", "late")
	if err := alice.RemoveMembers(testContext(t), in, []identity.Username{"carol"}); err != nil {
		t.Fatal(err)
	}
	carol.until("she is out", func() bool { return carol.conversation(in).State == Closed })
	alice.until("she sees it", func() bool { return slices.Contains(alice.rows(in), "[alice removed carol]") }) // maybe after carol
	alice.say(in, "without carol")
	bob.awaitTexts(in, "who comes?", "me", "late", "without carol")
	if got := carol.texts(in); slices.Contains(got, "without carol") {
		t.Errorf("carol reads %q", got)
	}
	if _, err := carol.Send(testContext(t), in, "hello?"); !errors.Is(err, ErrConversationClosed) {
		t.Errorf("carol sends: %v", err)
	}
	if err := bob.Leave(testContext(t), in); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{alice, dave} {
		p.until("bob is gone", func() bool { return p.members(in) == "alice* dave" })
	}
	if err := alice.Rename(testContext(t), in, "long walks"); err != nil {
		t.Fatal(err)
	}
	if err := alice.SetAdmin(testContext(t), in, "dave", true); err != nil {
		t.Fatal(err)
	}
	dave.until("he may", func() bool { return dave.members(in) == "alice* dave*" && dave.conversation(in).Name == "long walks" })
	want := []string{
		"[alice added bob, carol]", "who comes?", "me", "[alice added dave]", "late", "[alice removed carol]", "without carol",
		"[bob left the group]", "[alice named the group long walks]", "[alice made dave an administrator]",
	}
	alice.until("she sees it all", func() bool { return slices.Equal(alice.rows(in), want) })
}

func TestBeginnerIsAdministrator(t *testing.T) {
	_, alice, _, _ := couple(t)
	alice.offline()
	v, err := alice.CreateGroup(testContext(t), "walks", []identity.Username{"bob"})
	if err != nil {
		t.Fatal(err)
	}
	if got := alice.members(v.ID); got != "alice*" {
		t.Errorf("members of a group that the server does not know yet: %s", got)
	}
}

func TestBothBeginAtOnce(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	alice.send(bob, "from alice")
	bob.send(alice, "from bob")
	alice.online()
	bob.online()
	alice.until("bob wrote", func() bool { return len(alice.texts(alice.DirectID("bob"))) == 2 })
	bob.until("alice wrote", func() bool { return len(bob.texts(bob.DirectID("alice"))) == 2 })
	alice.await(alice.send(bob, "again"), Delivered)
	bob.await(bob.send(alice, "and again"), Delivered)
	for _, p := range []*person{alice, bob} {
		all, err := p.Conversations(testContext(t))
		if err != nil || len(all) != 1 {
			t.Errorf("%s has %d conversations, %v", p.name(), len(all), err)
		}
	}
	var ours, theirs []byte
	query := "SELECT group_id FROM groups WHERE state = 2 ORDER BY incarnation DESC, group_id LIMIT 1"
	if err := errors.Join(alice.store.reader.QueryRow(query).Scan(&ours), bob.store.reader.QueryRow(query).Scan(&theirs)); err != nil || string(ours) != string(theirs) {
		t.Errorf("they write to different groups (%v)", err)
	}
}

func TestRequest(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	first := alice.send(bob, "hello stranger")
	request := awaitEvent[RequestReceived](bob)
	if request.From != "alice" || request.Conversation.State != Request {
		t.Errorf("got %+v", request)
	}
	in := request.Conversation.ID
	bob.until("the message waits", func() bool { return bob.conversation(in).Unread == 1 })
	if got := bob.rows(in); len(got) != 0 {
		t.Errorf("bob reads %q before he accepted", got)
	}
	if unread, err := bob.Unread(testContext(t)); err != nil || len(unread) != 0 {
		t.Errorf("unread: %v, %v", unread, err)
	}
	if _, err := bob.Send(testContext(t), in, "hi"); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("bob sends: %v", err)
	}
	if err := bob.Accept(testContext(t), in); err != nil {
		t.Fatal(err)
	}
	alice.await(first, Delivered)
	bob.awaitTexts(in, "hello stranger")

	if err := bob.Block(testContext(t), "alice"); err != nil {
		t.Fatal(err)
	}
	alice.await(alice.send(bob, "are you there?"), Accepted)
	if err := bob.Unblock(testContext(t), "alice"); err != nil {
		t.Fatal(err)
	}
	alice.await(alice.send(bob, "and now?"), Accepted)
	bob.until("it came", func() bool { return slices.Contains(bob.texts(in), "and now?") })
	wantRows(t, bob, in, "hello stranger", "and now?")
	// She is a contact again, and learns what he reads.
	alice.await(alice.send(bob, "welcome back"), Delivered)
}

// Nobody is made a contact by a block that is taken back.
func TestUnblockAcceptsNobody(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	alice.send(bob, "hello stranger")
	in := awaitEvent[RequestReceived](bob).Conversation.ID
	for _, answer := range []func() error{
		func() error { return bob.Block(testContext(t), "alice") },
		func() error { return bob.Unblock(testContext(t), "alice") },
	} {
		if err := answer(); err != nil {
			t.Fatal(err)
		}
	}
	alice.send(bob, "and now?")
	bob.until("it is a request", func() bool { v := bob.conversation(in); return v.State == Request && v.Unread == 1 })
	if all, err := bob.Contacts(testContext(t)); err != nil || len(all) != 1 || all[0].Accepted {
		t.Errorf("contacts: %+v, %v", all, err)
	}
}

// Who is added again after having been removed, or having left, reads that.
func TestAddedAgainIsTold(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob")
	alice, bob := people[0], people[1]
	for _, out := range []func() error{
		func() error { return alice.RemoveMembers(testContext(t), in, []identity.Username{"bob"}) },
		func() error { return bob.Leave(testContext(t), in) },
	} {
		if err := out(); err != nil {
			t.Fatal(err)
		}
		alice.until("bob is out", func() bool { return alice.members(in) == "alice*" })
		bob.until("he is out", func() bool { return bob.conversation(in).State == Closed })
		if err := alice.AddMembers(testContext(t), in, []identity.Username{"bob"}); err != nil {
			t.Fatal(err)
		}
		bob.until("he is back", func() bool { return bob.conversation(in).State == Active })
		if rows := bob.rows(in); rows[len(rows)-1] != "[alice added you]" {
			t.Errorf("bob reads %q", rows)
		}
	}
}

func TestDecline(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	alice.send(bob, "buy this")
	in := awaitEvent[RequestReceived](bob).Conversation.ID
	bob.until("the message waits", func() bool { return bob.conversation(in).Unread == 1 })
	if err := bob.Decline(testContext(t), in); err != nil {
		t.Fatal(err)
	}
	if v := bob.conversation(in); v.State != Closed || v.Unread != 0 {
		t.Errorf("got %+v", v)
	}
	alice.send(bob, "please")
	bob.until("it is a request again", func() bool { v := bob.conversation(in); return v.State == Request && v.Unread == 1 })
}

func TestEditReactUnsend(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	in := alice.direct(bob)
	id := alice.send(bob, "helo")
	bob.awaitTexts(in, "helo")
	if err := alice.Edit(testContext(t), id, "hello"); err != nil {
		t.Fatal(err)
	}
	bob.awaitTexts(in, "hello")
	if err := bob.Edit(testContext(t), id, "mine"); !errors.Is(err, ErrNotYours) {
		t.Errorf("bob edits: %v", err)
	}
	if err := bob.React(testContext(t), id, "👍"); err != nil {
		t.Fatal(err)
	}
	reacted := func(n int) func() bool {
		return func() bool {
			m, err := alice.Message(testContext(t), id)
			return err == nil && len(m.Reactions) == n
		}
	}
	alice.until("bob reacted", reacted(1))
	if err := bob.React(testContext(t), id, ""); err != nil {
		t.Fatal(err)
	}
	alice.until("bob took it back", reacted(0))
	reply := bob.say(in, "hi", ReplyTo(id))
	alice.awaitTexts(in, "hello", "hi")
	if m, err := alice.Message(testContext(t), reply); err != nil || m.ReplyTo != id {
		t.Errorf("got %+v, %v", m, err)
	}
	if err := alice.Unsend(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	bob.until("it is gone", func() bool { m, err := bob.Message(testContext(t), id); return err == nil && m.Deleted && m.Text == "" })
	found, err := bob.Search(testContext(t), "hello", nil, 10)
	if err != nil || len(found) != 0 {
		t.Errorf("search finds %v, %v", found, err)
	}
	found, err = alice.Search(testContext(t), "H", &in, 10)
	if err != nil || len(found) != 1 || found[0].ID != reply {
		t.Errorf("search finds %v, %v", found, err)
	}
}

func TestRead(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	in := alice.direct(bob)
	id := alice.send(bob, "news")
	alice.await(id, Delivered)
	unread, err := bob.Unread(testContext(t))
	if err != nil || len(unread) != 1 {
		t.Fatalf("unread: %v, %v", unread, err)
	}
	if err := bob.MarkRead(testContext(t), unread[0].Row); err != nil {
		t.Fatal(err)
	}
	alice.await(id, Read)
	if receipts, err := alice.Receipts(testContext(t), id); err != nil || len(receipts) != 1 || receipts[0] != (Receipt{"bob", Read}) {
		t.Errorf("receipts: %v, %v", receipts, err)
	}
	if err := bob.SetReceiptPolicy(testContext(t), 0); err != nil {
		t.Fatal(err)
	}
	silent := alice.send(bob, "more news")
	bob.awaitTexts(in, "news", "more news")
	bob.await(bob.send(alice, "answer"), Delivered)
	if m, err := alice.Message(testContext(t), silent); err != nil || m.State != Accepted {
		t.Errorf("got %+v, %v", m, err)
	}
}

// TestRemovedAdministratorComesBackWithoutRights: who was an administrator, and is added
// again, is none.
func TestRemovedAdministratorComesBackWithoutRights(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob")
	alice, bob := people[0], people[1]
	if err := alice.SetAdmin(testContext(t), in, "bob", true); err != nil {
		t.Fatal(err)
	}
	if err := alice.RemoveMembers(testContext(t), in, []identity.Username{"bob"}); err != nil {
		t.Fatal(err)
	}
	if err := alice.AddMembers(testContext(t), in, []identity.Username{"bob"}); err != nil {
		t.Fatal(err)
	}
	bob.until("he is back", func() bool { return bob.members(in) == "alice* bob" })
	if alice.hasRow(in, "[alice made bob an ordinary member]") {
		t.Errorf("alice reads %q", alice.rows(in))
	}
}

// A conversation that moves to another MLS group while one side blocks the other goes on
// in it once the block is taken back.
func TestBlockOutlastsANewGroup(t *testing.T) {
	_, alice, bob, in := couple(t)
	if err := bob.Block(testContext(t), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := alice.commit(testContext(t), func(u *unit) error {
		v, err := alice.findConversation(u, u, in)
		if err != nil {
			return err
		}
		g, err := currentGroup(u, u, v.id)
		if err != nil {
			return err
		}
		return enqueueOnce(u, v.id, action{Op: opCreate, Users: []identity.Username{"bob"}, Over: g.incarnation}, time.Time{})
	}); err != nil {
		t.Fatal(err)
	}
	alice.await(alice.send(bob, "are you there?"), Accepted)
	if n := alice.count("SELECT count(*) FROM groups"); n != 2 {
		t.Fatalf("alice knows %d groups", n)
	}
	bob.restart()
	bob.online()
	awaitEvent[CaughtUp](bob) // with the message, whichever group it came in
	if n := bob.count("SELECT count(*) FROM groups") + bob.count("SELECT count(*) FROM unknown_groups"); n != 2 {
		t.Fatalf("bob knows of %d groups", n)
	}
	wantRows(t, bob, in, "hello")
	if err := bob.Unblock(testContext(t), "alice"); err != nil {
		t.Fatal(err)
	}
	alice.await(alice.send(bob, "and now?"), Delivered)
	if rows := bob.rows(in); rows[len(rows)-1] != "and now?" || slices.Contains(rows, "are you there?") {
		t.Errorf("bob reads %q", rows)
	}
}
