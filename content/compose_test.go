package content

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	firstID  = MessageID{hashSHA256, 1}
	secondID = MessageID{hashSHA256, 2}
)

type made struct {
	message *Message
	err     error
}

func result(m *Message, err error) made { return made{m, err} }

// What is made is what the other side sees.
func TestCompose(t *testing.T) {
	family := "👨🏽‍👩🏽‍👧🏽‍👦🏽"
	cases := map[string]struct {
		made                made
		replaces, inReplyTo MessageID
		want                View
	}{
		"text":        {result(NewText("hi")), MessageID{}, MessageID{}, View{Kind: KindText, Text: "hi"}},
		"longest":     {result(NewText(strings.Repeat("a", MaxText))), MessageID{}, MessageID{}, View{Kind: KindText, Text: strings.Repeat("a", MaxText)}},
		"controls":    {result(NewText("a\x00\x1b[2J\nb")), MessageID{}, MessageID{}, View{Kind: KindText, Text: "a\x00\x1b[2J\nb"}},
		"reply":       {result(Reply(firstID, "yes")), MessageID{}, firstID, View{Kind: KindReply, Text: "yes"}},
		"reaction":    {result(Reaction(firstID, family)), MessageID{}, firstID, View{Kind: KindReaction, Reactions: []string{family}}},
		"unreaction":  {result(Unreaction(firstID, secondID)), firstID, secondID, View{Kind: KindUnreaction}},
		"edit":        {result(Edit(firstID, "no")), firstID, MessageID{}, View{Kind: KindEdit, Text: "no"}},
		"reply edit":  {result(Edit(firstID, "no", WithReplyTo(secondID))), firstID, secondID, View{Kind: KindEdit, Text: "no"}},
		"delete":      {result(Delete(firstID)), firstID, MessageID{}, View{Kind: KindDelete}},
		"receipt":     {result(Receipt(StatusRead, firstID, secondID)), MessageID{}, MessageID{}, View{Kind: KindStatusReport, Report: StatusReport{{firstID, StatusRead}, {secondID, StatusRead}}}},
		"many of one": {result(Receipt(StatusDelivered, someIDs(MaxElements)...)), MessageID{}, MessageID{}, View{Kind: KindStatusReport, Report: reportOn(StatusDelivered, someIDs(MaxElements))}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.made.err != nil {
				t.Fatal(c.made.err)
			}
			m := transmit(t, c.made.message)
			if m.Replaces != c.replaces || m.InReplyTo != c.inReplyTo {
				t.Errorf("replaces %v, in reply to %v", m.Replaces, m.InReplyTo)
			}
			if diff := cmp.Diff(c.want, m.View()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func reportOn(status Status, ids []MessageID) (report StatusReport) {
	for _, id := range ids {
		report = append(report, MessageStatus{id, status})
	}
	return report
}

// transmit is the way of a message through its bytes.
func transmit(t testing.TB, m *Message) *Message {
	t.Helper()
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	received, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return received
}

func TestComposeRefuses(t *testing.T) {
	none := MessageID{}
	cases := map[string]struct {
		made made
		want error
	}{
		"empty text":              {result(NewText("")), ErrText},
		"text not UTF-8":          {result(NewText("a\xff")), ErrText},
		"surrogate":               {result(NewText("\xed\xa0\x80")), ErrText},
		"too long":                {result(NewText(strings.Repeat("a", MaxText+1))), ErrTooLarge},
		"too much beside it":      {result(NewText(strings.Repeat("a", MaxText), WithAddresses(strings.Repeat("b", 1<<10), ""))), ErrTooLarge},
		"address not UTF-8":       {result(NewText("a", WithAddresses("\xff", ""))), ErrMalformed},
		"reply to nothing":        {result(Reply(none, "a")), ErrMalformed},
		"reply to another hash":   {result(Reply(MessageID{7}, "a")), ErrMalformed},
		"empty reply":             {result(Reply(firstID, "")), ErrText},
		"reaction to nothing":     {result(Reaction(none, "❤")), ErrMalformed},
		"empty reaction":          {result(Reaction(firstID, "")), ErrText},
		"reaction with a line":    {result(Reaction(firstID, "❤\n")), ErrText},
		"reaction not UTF-8":      {result(Reaction(firstID, "\xff")), ErrText},
		"long reaction":           {result(Reaction(firstID, strings.Repeat("a", MaxReaction+1))), ErrTooLarge},
		"unreaction of nothing":   {result(Unreaction(none, firstID)), ErrMalformed},
		"unreaction to nothing":   {result(Unreaction(firstID, none)), ErrMalformed},
		"edit of nothing":         {result(Edit(none, "a")), ErrMalformed},
		"edit to nothing":         {result(Edit(firstID, "")), ErrText},
		"delete nothing":          {result(Delete(none)), ErrMalformed},
		"receipt of nothing":      {result(Receipt(StatusRead)), ErrMalformed},
		"receipt of the zero id":  {result(Receipt(StatusRead, none)), ErrMalformed},
		"no expiry":               {result(NewText("a", WithExpiry(0))), ErrMalformed},
		"negative expiry":         {result(NewText("a", WithExpiry(-time.Hour))), ErrMalformed},
		"expiry in over a year":   {result(NewText("a", WithExpiry(MaxExpiry+1))), ErrMalformed},
		"new with a broken body":  {result(New(NestedPart{})), ErrMalformed},
		"option that is no reply": {result(NewText("a", WithReplyTo(none))), ErrMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(c.made.err, c.want) || c.made.message != nil {
				t.Errorf("%v, want %v", c.made.err, c.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	options := make([]Option, 0, 8) // with room that an append would write to
	options = append(options, WithExpiry(1500*time.Millisecond), WithAddresses(aliceURI, roomURI))
	first, err := Reply(firstID, "a", options...)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(options[:cap(options)][len(options):], func(o Option) bool { return o != nil }) {
		t.Error("wrote into the caller's list")
	}
	m := transmit(t, first)
	if diff := cmp.Diff(&Expiration{Relative: true, Seconds: 2}, m.Expires); diff != "" {
		t.Error(diff)
	}
	if sender, ok := m.Extensions.Text(KeySender); !ok || sender != aliceURI {
		t.Errorf("sender %q", sender)
	}
	if room, ok := m.Extensions.Text(KeyRoom); !ok || room != roomURI {
		t.Errorf("room %q", room)
	}
}

func TestSaltsDiffer(t *testing.T) {
	seen := make(map[Salt]bool)
	for range 100 {
		m, err := NewText("a")
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Salt] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d salts in 100 messages", len(seen))
	}
}

func TestExpiration(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(when time.Time) Expiration { return Expiration{Seconds: uint32(when.Unix())} }
	cases := map[string]struct {
		expiration Expiration
		deadline   time.Time
		plausible  bool
	}{
		"at once":            {Expiration{Relative: true}, now, true},
		"an hour after":      {Expiration{Relative: true, Seconds: 3600}, now.Add(time.Hour), true},
		"a year after":       {Expiration{Relative: true, Seconds: uint32(MaxExpiry / time.Second)}, now.Add(MaxExpiry), true},
		"over a year after":  {Expiration{Relative: true, Seconds: uint32(MaxExpiry/time.Second) + 1}, now.Add(MaxExpiry + time.Second), false},
		"passed":             {at(now.Add(-time.Hour)), now.Add(-time.Hour), true},
		"passed a year ago":  {at(now.Add(-MaxExpiry)), now.Add(-MaxExpiry), true},
		"passed before that": {at(now.Add(-MaxExpiry - time.Second)), now.Add(-MaxExpiry - time.Second), false},
		"too far off":        {at(now.Add(MaxExpiry + time.Second)), now.Add(MaxExpiry + time.Second), false},
		"1970":               {Expiration{}, time.Unix(0, 0), false},
		"2106":               {Expiration{Seconds: 1<<32 - 1}, time.Unix(1<<32-1, 0), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.expiration.Deadline(now); !got.Equal(c.deadline) {
				t.Errorf("deadline %v, want %v", got, c.deadline)
			}
			if err := c.expiration.Check(now); (err == nil) != c.plausible {
				t.Errorf("check: %v", err)
			}
		})
	}
}
