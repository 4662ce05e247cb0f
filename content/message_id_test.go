package content

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Each input of the hash counts, and none can be moved into its neighbour.
func TestIDDependsOnEverything(t *testing.T) {
	base := func() *Message { return &Message{Salt: Salt{1}, Body: NestedPart{Content: NullPart{}}} }
	build := func(change func(*Message)) *Message {
		m := base()
		change(m)
		return m
	}
	ids := make(map[MessageID]string)
	for name, c := range map[string]struct {
		message      *Message
		sender, room string
	}{
		"base":           {base(), "ab", "cd"},
		"salt":           {build(func(m *Message) { m.Salt[15] = 1 }), "ab", "cd"},
		"topic":          {build(func(m *Message) { m.TopicID = []byte{1} }), "ab", "cd"},
		"body":           {build(func(m *Message) { m.Body.Disposition = 1 }), "ab", "cd"},
		"sender":         {base(), "aB", "cd"},
		"room":           {base(), "ab", "cD"},
		"moved":          {base(), "abc", "d"},
		"no sender":      {base(), "", "abcd"},
		"both exchanged": {base(), "cd", "ab"},
	} {
		id, err := c.message.ID(c.sender, c.room)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := ids[id]; ok {
			t.Errorf("%s and %s have one id", name, other)
		}
		ids[id] = name
	}
}

func TestIDAddresses(t *testing.T) {
	named, err := NewText("a", WithAddresses(aliceURI, roomURI))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 1<<16)
	unnamed, err := NewText("a")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		message      *Message
		sender, room string
		want         error
	}{
		"right":         {named, aliceURI, roomURI, nil},
		"other sender":  {named, bobURI, roomURI, ErrAddress},
		"other room":    {named, aliceURI, roomURI + "x", ErrAddress},
		"none named":    {unnamed, bobURI, roomURI, nil},
		"longest":       {unnamed, long[1:], long[1:], nil},
		"long sender":   {unnamed, long, roomURI, ErrTooLarge},
		"long room":     {unnamed, aliceURI, long, ErrTooLarge},
		"not a message": {&Message{}, aliceURI, roomURI, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.message.ID(c.sender, c.room); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestParseMessageID(t *testing.T) {
	id, err := ParseMessageID(someID)
	if err != nil || id.String() != someID || id.IsZero() {
		t.Errorf("%v, %v", id, err)
	}
	if text := fmt.Sprint(MessageID{}); text != strings.Repeat("0", 64) || !(MessageID{}).IsZero() {
		t.Errorf("zero id prints %s", text)
	}
	for name, text := range map[string]string{
		"empty": "", "short": someID[2:], "long": someID + "00", "odd": someID[1:], "other hash": "02" + someID[2:],
		"capitals": strings.ToUpper(someID), "not hexadecimal": "0x" + someID[2:], "zero": strings.Repeat("0", 64),
	} {
		if _, err := ParseMessageID(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}
