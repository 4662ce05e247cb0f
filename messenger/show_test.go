package messenger

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for seconds, want := range map[uint32]string{
		1: "1 second", 90: "90 seconds", 60: "1 minute", 5400: "90 minutes", 3600: "1 hour", 604800: "7 days", 86400: "1 day", 366 * 86400: "366 days",
	} {
		if got := span(seconds); got != want {
			t.Errorf("%d seconds are %q, want %q", seconds, got, want)
		}
	}
}

// In a direct conversation, too, both are told who made messages disappear.
func TestDisappearingIsTold(t *testing.T) {
	_, alice, bob, in := couple(t)
	people := []*person{alice, bob}
	if err := alice.SetExpiry(testContext(t), in, 7*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		p.until("the notice is there", func() bool {
			return slices.Contains(p.rows(in), "[alice made messages disappear 7 days after they were read]")
		})
	}
	if err := bob.SetExpiry(testContext(t), in, 0); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		p.until("the notice is there", func() bool { return slices.Contains(p.rows(in), "[bob made messages stay]") })
	}
}

// A message that is written after messages were made to disappear does, though the
// change waits for the server; and so does none after they were made to stay.
func TestDisappearingWaits(t *testing.T) {
	_, alice, bob, in := couple(t)
	people := []*person{alice, bob}
	alice.offline()
	sent := make(map[MessageID]time.Duration)
	for _, after := range []time.Duration{time.Hour, 0, 2 * time.Hour, 0, 0} {
		if err := alice.SetExpiry(testContext(t), in, after); err != nil {
			t.Fatal(err)
		}
		sent[alice.say(in, fmt.Sprintf("%d: after %v", len(sent), after))] = after
	}
	alice.online()
	for id, want := range sent {
		alice.await(id, Delivered)
		for _, p := range people {
			if m, err := p.Message(testContext(t), id); err != nil || m.Expiry != want {
				t.Errorf("%s: a message disappears after %v, %v; want %v", p.Self().Username, m.Expiry, err, want)
			}
		}
	}
}
