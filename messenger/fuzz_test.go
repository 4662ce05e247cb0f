package messenger

import (
	"bytes"
	"testing"
	"time"

	"sealpost/identity"
)

func FuzzParseStamp(f *testing.F) {
	f.Add(stamp(1, 1_800_000_000_000, []byte("body")))
	f.Add(stamp(maxCounter, maxMilli, nil))
	f.Add([]byte{stampVersion})
	f.Add(bytes.Repeat([]byte{0xff}, stampSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		counter, sentAt, body, err := parseStamp(b)
		if err != nil {
			return
		}
		if counter > maxCounter || sentAt < 0 || sentAt > maxMilli {
			t.Errorf("out of range: %d, %d", counter, sentAt)
		}
		if !bytes.Equal(stamp(counter, sentAt, body), b) {
			t.Errorf("%x has another form", b)
		}
	})
}

func FuzzParseAsk(f *testing.F) {
	s, _, err := newSelf(NewProfile{Username: "alice"}, time.UnixMilli(1_800_000_000_000))
	if err != nil {
		f.Fatal(err)
	}
	good := marshalAsk(&s, bytes.Repeat([]byte{7}, groupIDSize), 9, time.UnixMilli(1_800_000_000_000))
	f.Add(good)
	f.Add(marshalAsk(&s, nil, 0, time.UnixMilli(0)))
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAsk(b)
		if err != nil {
			return
		}
		signed, signature := b[:len(b)-signatureLn], b[len(b)-signatureLn:]
		if err := a.certificate.DeviceKey.Verify(identity.ContextRejoin, signed, signature); err != nil {
			t.Errorf("taken without a signature: %v", err)
		}
		if len(a.group) > 255 || a.at.UnixMilli() < 0 || len(b) > askMaxSize {
			t.Errorf("out of range: %+v", a)
		}
	})
}

func FuzzParseDescriptor(f *testing.F) {
	conversation := bytes.Repeat([]byte{1}, len(ConversationID{}))
	for _, d := range []descriptor{
		{Kind: Direct, Conversation: conversation, Incarnation: 1},
		{Kind: Group, Conversation: conversation, Incarnation: 1 << 31, Name: "walks", Admins: []string{"alice", "bob"}, Expiry: 3600},
	} {
		extensions, err := d.extensions()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(extensions[0].ExtensionData)
	}
	f.Add([]byte{0xbf, 0xff})
	f.Add([]byte{0xa1, 0x05, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDescriptor(b)
		if err != nil {
			return
		}
		again, err := d.extensions()
		if err != nil || !bytes.Equal(again[0].ExtensionData, b) {
			t.Errorf("%x has another form: %v", b, err)
		}
	})
}

func FuzzParseIDs(f *testing.F) {
	f.Add(MessageID{1, 2, 3}.String())
	f.Add(ConversationID{1, 2, 3}.String())
	f.Add("conversation:" + string(bytes.Repeat([]byte("A"), 32)))
	f.Add("message:")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseMessageID(s); err == nil && id.String() != s {
			t.Errorf("%q became %v", s, id)
		}
		if id, err := ParseConversationID(s); err == nil && id.String() != s {
			t.Errorf("%q became %v", s, id)
		}
	})
}

// Whatever a person types is a query that FTS5 takes, and a search in one conversation
// finds nothing that is not in it.
func FuzzSearchQuery(f *testing.F) {
	p := shelf(f)
	bob, carol := p.meets("bob"), p.meets("carol")
	p.say(bob, "the quick brown fox, said 2 times")
	p.say(carol, "the lazy dog")
	for _, seed := range []string{
		"quick", `"`, `""`, `"*`, "*", "-a", "(a", "a)", "NEAR(a b)", "words:a", "^a", "a AND", "OR", "NOT a", "a+b", "{a}:b", "\x00", "\xff",
		"two-and", "!!!", "\ue0001", "é", "'", ";--", "a\x00b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if _, err := p.Search(t.Context(), query, nil, 10); err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		found, err := p.Search(t.Context(), query, &carol, 10)
		if err != nil {
			t.Fatalf("%q here: %v", query, err)
		}
		for _, m := range found {
			if m.Conversation != carol {
				t.Fatalf("%q finds %+v elsewhere", query, m)
			}
		}
	})
}
