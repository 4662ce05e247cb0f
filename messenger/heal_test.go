package messenger

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/identity"
)

// copyProfile copies the files of a profile that is closed.
func copyProfile(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "copy"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(to, "copy")
	if err := os.Chmod(filepath.Join(dir, keyFileName), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func hasWarning(p *person, in ConversationID, part string) func() bool {
	return func() bool {
		all, err := p.Messages(testContext(p.t), in, 0)
		return err == nil && slices.ContainsFunc(all, func(m Message) bool { return m.Kind == KindWarning && strings.Contains(m.Text, part) })
	}
}

func TestRestoredBackupRejoins(t *testing.T) {
	relay := newRealRelay(t)
	people := friends(relay, "alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	v, err := alice.CreateGroup(testContext(t), "three", []identity.Username{"bob", "carol"})
	if err != nil {
		t.Fatal(err)
	}
	direct := bob.direct(alice)
	alice.say(v.ID, "one")
	bob.awaitTexts(v.ID, "one")
	bob.await(bob.send(alice, "direct one"), Delivered)
	bob.stop()
	backup := copyProfile(t, bob.options.Dir)
	bob.restart()
	bob.online()
	bob.await(bob.say(v.ID, "two"), Accepted)
	bob.await(bob.send(alice, "direct two"), Delivered)
	bob.stop()

	// The backup knows nothing of "two". Nothing may be sealed with its keys.
	bob.options.Dir = backup
	bob.restart()
	bob.online()
	three := bob.say(v.ID, "three")
	bob.await(three, Accepted)
	for _, p := range []*person{alice, carol} {
		p.awaitTexts(v.ID, "one", "two", "three")
	}
	bob.await(bob.send(alice, "direct three"), Delivered)
	alice.awaitTexts(direct, "direct one", "direct two", "direct three")
	bob.until("he is told what he may have missed", hasWarning(bob, v.ID, "may be missing"))
	alice.await(alice.say(v.ID, "four"), Delivered)
	bob.awaitTexts(v.ID, "one", "three", "four")
	if got := alice.members(v.ID); got != "alice* bob carol" {
		t.Errorf("members: %s", got)
	}
}

// TestRestoredOutbox: what waits in a backup went out from the original. Sealed again
// with the keys of the backup, it would be another message under the same key.
func TestRestoredOutbox(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob")
	alice, bob := people[0], people[1]
	bob.await(bob.say(in, "one"), Delivered)
	bob.offline()
	alice.offline() // nothing comes back that bob would acknowledge
	waits := bob.say(in, "two")
	bob.stop()
	backup := copyProfile(t, bob.options.Dir)
	bob.restart()
	bob.online()
	bob.await(waits, Accepted)
	bob.stop()

	bob.options.Dir = backup
	bob.restart()
	bob.online()
	bob.say(in, "three")
	alice.online()
	bob.until("he is told what he may have missed", hasWarning(bob, in, "may be missing"))
	bob.await(bob.say(in, "four"), Delivered)
	alice.awaitTexts(in, "one", "two", "three", "four")
	if all := alice.quarantine(); len(all) > 0 {
		t.Errorf("alice cannot open %v", all)
	}
}

// TestRejoinWhileAsking: the Welcome comes while another request waits for the relay's
// answer.
func TestRejoinWhileAsking(t *testing.T) {
	relay := newRealRelay(t)
	people, in := circle(relay, "alice", "bob")
	alice, bob := people[0], people[1]
	alice.await(alice.say(in, "one"), Delivered)
	alice.offline()
	bob.stop()
	bob.restart()
	if _, err := bob.store.writer.Exec("UPDATE records SET value = x''"); err != nil {
		t.Fatal(err)
	}
	bob.online()
	bob.say(in, "from a damaged state")
	bob.until("he asks, and the relay has it", func() bool {
		return bob.counts("groups WHERE state = 3 AND asked > 0") == 1 && bob.counts("outbox WHERE kind = 4") == 0
	})
	bob.stop()
	before := alice.epochOf(in)
	alice.online()
	alice.until("she takes him in again", func() bool { return alice.epochOf(in) == before+1 })
	bob.restart()
	if _, err := bob.store.writer.Exec(`
		INSERT INTO outbox (conversation, queue, kind, submit_id, body, sent_at, due_at, grp, epoch, sealed, members)
		SELECT conversation, conversation * 4 + 3, 4, randomblob(16), x'', 0, ?, id, epoch, x'00', x'' FROM groups WHERE state = 3`,
		time.Now().Add(time.Hour).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	bob.online()
	alice.until("he is back", func() bool { return slices.Contains(alice.texts(in), "from a damaged state") })
}

func TestDamagedGroupStateHeals(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	v, err := alice.CreateGroup(testContext(t), "two", []identity.Username{"bob"})
	if err != nil {
		t.Fatal(err)
	}
	alice.await(alice.say(v.ID, "one"), Delivered)
	bob.stop()
	bob.restart()
	if _, err := bob.store.writer.Exec("DELETE FROM records WHERE rowid IN (SELECT rowid FROM records LIMIT 1)"); err != nil {
		if _, err := bob.store.writer.Exec("DELETE FROM records WHERE key = (SELECT key FROM records LIMIT 1)"); err != nil {
			t.Fatal(err)
		}
	}
	bob.online()
	id := bob.say(v.ID, "from a damaged state")
	bob.await(id, Accepted)
	alice.awaitTexts(v.ID, "one", "from a damaged state")
	alice.await(alice.say(v.ID, "two"), Delivered)
}

func TestPostCompromiseUpdate(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	alice.await(alice.send(bob, "one"), Delivered)
	epoch := func() (epoch int) {
		if err := alice.store.reader.QueryRow("SELECT max(epoch) FROM groups").Scan(&epoch); err != nil {
			t.Fatal(err)
		}
		return epoch
	}
	before := epoch()
	alice.stop()
	alice.restart()
	if _, err := alice.store.writer.Exec("UPDATE groups SET renewed_at = renewed_at - ?", (updateInterval + time.Minute).Milliseconds()); err != nil {
		t.Fatal(err)
	}
	alice.online()
	alice.until("her keys are renewed", func() bool { return epoch() == before+1 })
	alice.await(alice.send(bob, "two"), Delivered)
}

func TestAskRoundTrip(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	now := time.Now()
	b := marshalAsk(&alice.self, []byte("a group of sixteen"), 7, now)
	a, err := parseAsk(b)
	if err != nil || string(a.group) != "a group of sixteen" || a.epoch != 7 || a.certificate.Username != "alice" || a.at.UnixMilli() != now.UnixMilli() {
		t.Errorf("got %+v, %v", a, err)
	}
	for i := range b {
		changed := slices.Clone(b)
		changed[i] ^= 1
		if _, err := parseAsk(changed); err == nil {
			t.Errorf("a request with byte %d changed is taken", i)
		}
		if _, err := parseAsk(b[:i]); err == nil {
			t.Errorf("a request of %d bytes is taken", i)
		}
	}
}
