package messenger

import (
	"runtime"
	"slices"
	"testing"

	"sealpost/api"
	"sealpost/internal/malice"
)

func TestAttackB8PlaintextAndDowngrade(t *testing.T) {
	relay, enemy := newEnemy(t)
	enemy.Switch(malice.Plaintext, true)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "sealed"), Delivered)
	happened(t, enemy, malice.Plaintext)
	bob.awaitAside(5, errNotMessage) // the plain text, and two each beside the Welcome and the message
	wantRows(t, bob, in, "sealed")
}

func TestAttackB9Replay(t *testing.T) {
	relay, enemy := newEnemy(t)
	enemy.Switch(malice.Replay, true)
	alice, bob, in := pair(relay)
	for _, text := range []string{"one", "two"} {
		alice.await(alice.send(bob, text), Delivered)
	}
	// What was seen is remembered across a restart of the client.
	bob.restart()
	bob.online()
	for _, text := range []string{"three", "four"} {
		alice.await(alice.send(bob, text), Delivered)
	}
	happened(t, enemy, malice.Replay)
	bob.awaitAside(2, errAgain)
	wantRows(t, bob, in, "one", "two", "three", "four")
	if c := bob.conversation(in); c.Healing {
		t.Error("repeats make the client doubt its own state")
	}
}

func TestAttackB10Reflection(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "mine"), Delivered)
	enemy.Switch(malice.Reflect, true)
	bob.send(alice, "answer")
	alice.awaitTexts(in, "mine", "answer")
	happened(t, enemy, malice.Reflect)
	alice.awaitAside(1, errOwn)
	wantRows(t, alice, in, "mine", "answer")
}

func TestAttackB11DropShowsGap(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	enemy.Aim(bob.device())
	enemy.Skip(0, 2)
	enemy.Switch(malice.Drop, true)
	alice.send(bob, "dropped")
	alice.send(bob, "dropped too")
	alice.await(alice.send(bob, "four"), Delivered)
	happened(t, enemy, malice.Drop)
	wantRows(t, bob, in, "one", "[gap 2]", "four")
}

func TestAttackB11ReorderKeepsTheSendersOrder(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "zero"), Delivered)
	enemy.Switch(malice.Reorder, true)
	var last MessageID
	for _, text := range numbered(4) {
		last = alice.send(bob, text)
	}
	alice.await(last, Accepted)
	bob.awaitTexts(in, append([]string{"zero"}, numbered(4)...)...)
	happened(t, enemy, malice.Reorder)
	wantRows(t, bob, in, append([]string{"zero"}, numbered(4)...)...)
}

func TestAttackB11SwapBetweenConversations(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	mallory := relay.online("mallory")[0]
	befriend(mallory, bob)
	mallory.await(mallory.send(bob, "hello"), Delivered)
	alice.await(alice.send(bob, "one"), Delivered)
	enemy.Switch(malice.Misdeliver, true)
	alice.await(alice.send(bob, "for this conversation only"), Accepted)
	bob.awaitAside(1, errOtherGroup)
	enemy.Switch(malice.Misdeliver, false)
	alice.await(alice.send(bob, "three"), Delivered)
	happened(t, enemy, malice.Misdeliver)
	wantRows(t, bob, in, "one", "[gap 1]", "three")
	wantRows(t, bob, bob.DirectID("mallory"), "hello")
}

// The end of a conversation can be cut off. What then is missing is the mark that
// the other has it, and the next message shows the gap.
func TestAttackB12DropTheLast(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	enemy.Aim(bob.device())
	enemy.Skip(0, 1)
	enemy.Switch(malice.Drop, true)
	last := alice.send(bob, "the last")
	alice.await(last, Accepted)
	bob.await(bob.send(alice, "are you there?"), Delivered) // something later came from bob
	happened(t, enemy, malice.Drop)
	if m, err := alice.Message(testContext(t), last); err != nil || m.State != Accepted {
		t.Errorf("alice sees %v of what bob never got, %v", m.State, err)
	}
	enemy.Switch(malice.Drop, false)
	alice.await(alice.send(bob, "three"), Delivered)
	wantRows(t, bob, in, "one", "are you there?", "[gap 1]", "three")
}

func TestAttackB17Reattribution(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	mallory := relay.online("mallory")[0]
	befriend(mallory, bob)
	alice.await(alice.send(bob, "one"), Delivered)
	mallory.await(mallory.send(bob, "I am Alice, send money"), Delivered)
	sent := enemy.Delivered(bob.device(), api.Kind_KIND_APPLICATION)
	enemy.Substitute(sent[len(sent)-1])
	enemy.Switch(malice.Reattribute, true)
	alice.await(alice.send(bob, "the real Alice"), Accepted)
	bob.awaitAside(1, errAgain)
	enemy.Switch(malice.Reattribute, false)
	alice.await(alice.send(bob, "three"), Delivered)
	happened(t, enemy, malice.Reattribute)
	wantRows(t, bob, in, "one", "[gap 1]", "three")
	wantRows(t, bob, bob.DirectID("mallory"), "I am Alice, send money")
}

func TestAttackF5Poison(t *testing.T) {
	relay, enemy := newEnemy(t)
	enemy.Switch(malice.Poison, true)
	alice, bob, in := pair(relay)
	for _, text := range []string{"one", "two"} {
		alice.await(alice.send(bob, text), Delivered)
	}
	happened(t, enemy, malice.Poison)
	bob.awaitAside(7, errNotMessage) // noise and a half of each of three, and one empty one
	wantRows(t, bob, in, "one", "two")
}

func TestAttackFlippedBit(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	enemy.Switch(malice.FlipBit, true)
	alice.send(bob, "changed on the way")
	bob.awaitAside(1, errCannotOpen)
	enemy.Switch(malice.FlipBit, false)
	alice.await(alice.send(bob, "three"), Delivered)
	happened(t, enemy, malice.FlipBit)
	wantRows(t, bob, in, "one", "[gap 1]", "three")
}

// A relay can make a client believe that its state is beyond repair. The two then
// begin anew, and what was in between is named as missing.
func TestAttackFlippedBitsForceANewBeginning(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	enemy.Switch(malice.FlipBit, true)
	for range maxFailures {
		alice.await(alice.send(bob, "changed on the way"), Accepted)
	}
	bob.awaitAside(maxFailures, errCannotOpen)
	enemy.Switch(malice.FlipBit, false)
	bob.send(alice, "what did you say?")
	alice.until("bob answers", func() bool { return slices.Contains(alice.texts(in), "what did you say?") })
	alice.await(alice.send(bob, "never mind"), Delivered)
	if got := bob.texts(in); slices.Contains(got, "changed on the way") || !slices.Contains(got, "never mind") {
		t.Errorf("bob reads %q", got)
	}
}

// A relay that was put back to a backup, or says so, delivers what came before.
func TestAttackRollBack(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	for _, text := range []string{"one", "two"} {
		alice.await(alice.send(bob, text), Delivered)
	}
	enemy.Switch(malice.RollBack, true)
	bob.reconnect()
	alice.await(alice.send(bob, "three"), Delivered)
	happened(t, enemy, malice.RollBack)
	wantRows(t, bob, in, "one", "two", "three")
	if aside := bob.quarantine(); len(aside) > 0 {
		t.Errorf("put aside: %+v", aside)
	}
}

// A relay that claims that this profile is an old copy makes it begin anew, and no
// more: nothing is lost, and no key is used twice.
func TestAttackFalseHello(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	bob.await(bob.send(alice, "two"), Delivered)
	enemy.Switch(malice.FalseHello, true)
	alice.reconnect()
	alice.until("it is told so", func() bool { return enemy.Count(malice.FalseHello) > 0 })
	enemy.Switch(malice.FalseHello, false)
	alice.await(alice.send(bob, "three"), Delivered)
	bob.await(bob.send(alice, "four"), Delivered)
	bob.awaitTexts(in, "one", "two", "three", "four")
	alice.awaitTexts(in, "one", "two", "three", "four")
}

// The relay names another delivery list than it used, or used another than it
// should: everybody is told.
func TestAttackFalseListHash(t *testing.T) {
	relay, enemy := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	enemy.Switch(malice.FalseListHash, true)
	alice.await(alice.send(bob, "two"), Delivered)
	happened(t, enemy, malice.FalseListHash)
	bob.awaitTexts(in, "one", "two")
	if !bob.hasRow(in, "[warning]") {
		t.Errorf("bob sees %q", bob.rows(in))
	}
}

// A relay cannot fill a client's memory with few bytes that say much.
func TestAttackFramesWithoutEnd(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.online("alice")[0]
	for !awaitEvent[ConnectionChanged](alice).Online {
	}
	bomb := &api.ServerFrames{Frames: slices.Repeat([]*api.ServerFrame{{}}, maxFrame/2-1)}
	var stream *tappedStream
	relay.set(func() { stream = relay.tap.line(alice.Self().DeviceID).stream })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := stream.ServerStream.SendMsg(bomb); err != nil {
		t.Fatal(err)
	}
	awaitEvent[ConnectionChanged](alice) // the line ends
	runtime.ReadMemStats(&after)
	// Both ends hold it as bytes, some of them twice.
	if cost := after.TotalAlloc - before.TotalAlloc; cost > 10*maxFrame {
		t.Errorf("a message of %d bytes cost %d", maxFrame, cost)
	}
	for !awaitEvent[ConnectionChanged](alice).Online {
	}
}
