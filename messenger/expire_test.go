package messenger

import (
	"sync/atomic"
	"testing"
	"time"

	"sealpost/content"
	"sealpost/identity"
)

// burning puts a message of bob's into alice's store that disappears a time after she
// read it, and has her read it.
func (p *person) burning(in ConversationID, ttl time.Duration, text string) MessageID {
	p.t.Helper()
	m := must(content.NewText(text, content.WithExpiry(ttl)))
	p.shows(in, "bob", m)
	all, err := p.Unread(testContext(p.t))
	if err != nil || len(all) == 0 {
		p.t.Fatalf("unread: %v, %v", all, err)
	}
	row := all[len(all)-1]
	if err := p.MarkRead(testContext(p.t), row.Row); err != nil {
		p.t.Fatal(err)
	}
	return row.ID
}

// shows takes a message in as if it had been opened.
func (p *person) shows(in ConversationID, from identity.Username, m *content.Message) {
	p.t.Helper()
	body := must(m.Marshal())
	if err := p.commit(testContext(p.t), func(u *unit) error {
		v, err := p.findConversation(u, u, in)
		if err != nil {
			return err
		}
		return p.show(u, v, said{sender: memberDevice{username: from}, body: body, sentAt: u.now.UnixMilli()})
	}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) count(query string, args ...any) (n int) {
	p.t.Helper()
	if err := p.store.reader.QueryRow(query, args...).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// timedShelf is a shelf whose clock, in milliseconds since 1970, the test sets.
func timedShelf(t *testing.T) (*person, *atomic.Int64) {
	t.Helper()
	now := new(atomic.Int64)
	now.Store(1_800_000_000_000)
	alice := shelf(t)
	alice.options.Clock = func() time.Time { return time.UnixMilli(now.Load()) }
	alice.restart()
	return alice, now
}

// A message disappears when its time is over, whether or not the server can be reached.
func TestMessagesExpireWithoutTheServer(t *testing.T) {
	alice := shelf(t)
	alice.options.Clock = nil
	alice.restart()
	in := alice.meets("bob")
	alice.online() // nobody is there
	alice.burning(in, time.Second, "burn after reading")
	for e := awaitEvent[MessageChanged](alice); !e.Gone; e = awaitEvent[MessageChanged](alice) {
	}
	wantRows(t, alice, in)
}

// What is over is not even shown once more when a profile is opened after it.
func TestMessagesExpireWhileClosed(t *testing.T) {
	alice, now := timedShelf(t)
	in := alice.meets("bob")
	alice.burning(in, time.Minute, "burn after reading")
	alice.burning(in, time.Hour, "smoulder")
	now.Add(time.Minute.Milliseconds() - 1)
	alice.restart()
	wantRows(t, alice, in, "burn after reading", "smoulder")
	now.Add(1)
	alice.restart()
	wantRows(t, alice, in, "smoulder")
	if found, err := alice.Search(testContext(t), "burn", nil, 10); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

// What comes for a message that has disappeared leaves nothing of it on the disk.
func TestNothingComesBackOfWhatExpired(t *testing.T) {
	alice, now := timedShelf(t)
	in := alice.meets("bob")
	id := alice.burning(in, time.Minute, "burn after reading")
	now.Add(time.Hour.Milliseconds())
	alice.restart()
	alice.shows(in, "bob", must(content.Edit(content.MessageID(id), "burn after reading, I said")))
	alice.shows(in, "bob", must(content.Reaction(content.MessageID(id), "👍")))
	alice.shows(in, "bob", must(content.Delete(content.MessageID(id))))
	wantRows(t, alice, in)
	if n := alice.count("SELECT count(*) FROM early") + alice.count("SELECT count(*) FROM reactions"); n != 0 {
		t.Errorf("%d rows are kept for it", n)
	}
	// Of one that has not come yet it is kept.
	m := must(content.NewText("late"))
	late := must(m.ID(senderURI("bob"), in.room()))
	alice.shows(in, "bob", must(content.Edit(late, "late, edited")))
	alice.shows(in, "bob", must(content.Reaction(late, "👍")))
	alice.shows(in, "bob", m)
	wantRows(t, alice, in, "late, edited")
	if n := alice.count("SELECT count(*) FROM reactions"); n != 1 {
		t.Errorf("%d reactions are kept for what came", n)
	}
}

// Who takes a message back that failed leaves nothing of it to try again.
func TestUnsendForgetsWhatFailed(t *testing.T) {
	alice := shelf(t)
	in := alice.meets("bob")
	id := alice.say(in, "a slip")
	if err := alice.commit(testContext(t), func(u *unit) error {
		e, err := scanEntry(u.QueryRow(selectEntries+"outbox o WHERE o.message_id = ?", id[:]).Scan)
		if err != nil {
			return err
		}
		return settle(u, &e, "the server does not want it")
	}); err != nil {
		t.Fatal(err)
	}
	if n := alice.count("SELECT count(*) FROM unsent"); n != 1 {
		t.Fatalf("%d messages can be tried again", n)
	}
	if err := alice.Unsend(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	if n := alice.count("SELECT count(*) FROM unsent"); n != 0 {
		t.Errorf("it is on the disk still")
	}
}
