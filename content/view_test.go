package content

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestView(t *testing.T) {
	plain := func(text string) NestedPart { return render("", TextContentType, text) }
	html := render("", htmlType, "<p>")
	image := single(DispositionInline, "", "image/png", "png")
	file := NestedPart{DispositionAttachment, "", ExternalPart{ContentType: "video/mp4", URL: "https://a"}}
	preview := single(DispositionPreview, "", "image/png", "png")
	heart := single(DispositionReaction, "", TextContentType, "❤")
	all := func(parts ...NestedPart) NestedPart { return multi(DispositionRender, ProcessAll, parts...) }
	one := func(parts ...NestedPart) NestedPart { return multi(DispositionRender, ChooseOne, parts...) }
	unit := func(parts ...NestedPart) NestedPart { return multi(DispositionRender, SingleUnit, parts...) }
	text := func(text string) View { return View{Kind: KindText, Text: text} }
	attached := func(text string, parts ...NestedPart) View {
		return View{Kind: KindAttachment, Text: text, Attachments: parts}
	}
	typed := func(contentType string) NestedPart { return render("", contentType, "hi") }
	disposed := func(d Disposition) NestedPart { return single(d, "", TextContentType, "hi") }
	external := func(d Disposition) NestedPart { return NestedPart{d, "", ExternalPart{URL: "https://a"}} }

	cases := map[string]struct {
		body NestedPart
		want View
	}{
		"plain":                     {typed("text/plain"), text("hi")},
		"charset in capitals":       {typed("Text/Plain; Charset=UTF-8"), text("hi")},
		"ASCII":                     {typed("text/plain;charset=us-ascii"), text("hi")},
		"quoted charset":            {typed(`text/plain;charset="utf-8"`), text("hi")},
		"other charset":             {typed("text/plain;charset=utf-16"), View{}},
		"markdown":                  {typed("text/markdown;variant=CommonMark"), text("hi")},
		"HTML":                      {html, View{}},
		"no type":                   {typed(""), View{}},
		"broken type":               {typed("text/plain;;=;"), View{}},
		"empty text":                {plain(""), View{}},
		"text not UTF-8":            {plain("\xff"), View{}},
		"unspecified":               {disposed(DispositionUnspecified), text("hi")},
		"inline":                    {disposed(DispositionInline), text("hi")},
		"unknown disposition":       {disposed(200), text("hi")},
		"text as attachment":        {disposed(DispositionAttachment), attached("", disposed(DispositionAttachment))},
		"text as profile":           {disposed(DispositionProfile), View{}},
		"text as session":           {disposed(DispositionSession), View{}},
		"text as preview":           {disposed(DispositionPreview), View{}},
		"inline image":              {image, attached("", image)},
		"image to render":           {render("", "image/png", "png"), View{}},
		"external":                  {file, attached("", file)},
		"external inline":           {external(DispositionInline), attached("", external(DispositionInline))},
		"external session":          {external(DispositionSession), View{}},
		"external icon":             {external(DispositionIcon), View{}},
		"no part":                   {NestedPart{Content: NullPart{}}, View{}},
		"two texts":                 {all(plain("a"), plain("b")), text("a\n\nb")},
		"text and image":            {all(plain("a"), image), attached("a", image)},
		"text and HTML":             {all(plain("a"), html), View{Kind: KindText, Text: "a", Omitted: 1}},
		"text and preview":          {all(plain("a"), preview), text("a")},
		"nothing of two":            {all(html, html), View{}},
		"hidden external":           {all(plain("a"), external(DispositionIcon)), View{Kind: KindText, Text: "a", Omitted: 1}},
		"first of two":              {one(plain("a"), plain("b")), text("a")},
		"second of two":             {one(html, plain("b")), text("b")},
		"none of two":               {one(html, html), View{}},
		"unit":                      {unit(plain("a"), image), attached("a", image)},
		"unit, not whole":           {unit(plain("a"), html), View{}},
		"unit, not whole within":    {unit(plain("a"), all(plain("b"), html)), View{}},
		"choice of units":           {one(unit(plain("a"), html), plain("b")), text("b")},
		"omitted within":            {all(plain("a"), all(plain("b"), html)), View{Kind: KindText, Text: "a\n\nb", Omitted: 1}},
		"reaction to nothing":       {heart, View{}},
		"reaction within":           {all(plain("a"), heart), View{Kind: KindText, Text: "a", Omitted: 1}},
		"empty report":              {render("", StatusContentType, "\x80"), View{}},
		"broken report":             {render("", StatusContentType, "\x81"), View{}},
		"report of the other draft": {render("", StatusContentType, "\x82\x00\x80"), View{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := &Message{Salt: Salt{1}, Body: c.body}
			checkView(t, m, c.want)
			if c.want.Kind == KindText || c.want.Kind == KindAttachment {
				c.want.Kind = KindReply
				checkView(t, &Message{Salt: Salt{1}, InReplyTo: firstID, Body: c.body}, c.want)
				c.want.Kind = KindEdit
				checkView(t, &Message{Salt: Salt{1}, InReplyTo: firstID, Replaces: secondID, Body: c.body}, c.want)
			}
		})
	}
}

func checkView(t *testing.T, m *Message, want View) {
	t.Helper()
	m = transmit(t, m)
	if diff := cmp.Diff(want, m.View(), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if m.Kind() != want.Kind {
		t.Errorf("kind %v, want %v", m.Kind(), want.Kind)
	}
}

func TestViewReactions(t *testing.T) {
	react := func(emoji string) NestedPart { return single(DispositionReaction, "", TextContentType, emoji) }
	reactions := func(list ...string) View { return View{Kind: KindReaction, Reactions: list} }
	several := func(semantics PartSemantics, parts ...NestedPart) NestedPart {
		return multi(DispositionReaction, semantics, parts...)
	}
	for name, c := range map[string]struct {
		body NestedPart
		want View
	}{
		"one":                 {react("❤"), reactions("❤")},
		"several":             {several(ProcessAll, react("❤"), react("🥳")), reactions("❤", "🥳")},
		"one of two":          {several(ChooseOne, react("❤"), react("🥳")), View{}},
		"with a text":         {several(ProcessAll, react("❤"), render("", TextContentType, "a")), View{}},
		"nested":              {several(ProcessAll, react("❤"), several(ProcessAll, react("❤"), react("❤"))), View{}},
		"empty":               {react(""), View{}},
		"too long":            {react(strings.Repeat("a", MaxReaction+1)), View{}},
		"longest":             {react(strings.Repeat("a", MaxReaction)), reactions(strings.Repeat("a", MaxReaction))},
		"with a line":         {react("a\nb"), View{}},
		"with an escape":      {react("\x1b[2J"), View{}},
		"with a C1 control":   {react("\u009b2J"), View{}},
		"image":               {single(DispositionReaction, "", "image/gif", "gif"), View{}},
		"external":            {NestedPart{DispositionReaction, "", ExternalPart{URL: "https://a"}}, View{}},
		"taken back, of none": {NestedPart{DispositionReaction, "", NullPart{}}, View{}},
	} {
		t.Run(name, func(t *testing.T) {
			checkView(t, &Message{Salt: Salt{1}, InReplyTo: firstID, Body: c.body}, c.want)
			if c.want.Kind == KindReaction { // in the place of another
				checkView(t, &Message{Salt: Salt{1}, InReplyTo: firstID, Replaces: secondID, Body: c.body}, c.want)
			}
		})
	}
}

// A report is a message of its own, not an edit.
func TestViewReport(t *testing.T) {
	m, err := Receipt(StatusRead, firstID)
	if err != nil {
		t.Fatal(err)
	}
	m.Replaces = secondID
	checkView(t, m, View{})
}

// A message that was not parsed can have any form.
func TestViewOfNothing(t *testing.T) {
	for name, m := range map[string]*Message{
		"zero": {},
		"parts without content": {
			Body: NestedPart{Content: MultiPart{Semantics: ProcessAll, Parts: make([]NestedPart, 3)}},
		},
		"unknown semantics": {Body: NestedPart{Content: MultiPart{Semantics: 9}}},
		"no reactions": {
			InReplyTo: firstID,
			Body:      NestedPart{Disposition: DispositionReaction, Content: MultiPart{Semantics: ProcessAll}},
		},
		"reaction": {Body: NestedPart{Disposition: DispositionReaction}, InReplyTo: firstID},
	} {
		if kind := m.Kind(); kind != KindUnknown {
			t.Errorf("%s: %v", name, kind)
		}
	}
}

func TestNames(t *testing.T) {
	for want, name := range map[string]fmt.Stringer{
		"unspecified": DispositionUnspecified, "preview": DispositionPreview, "9": Disposition(9),
		"unread": StatusUnread, "error": StatusError, "7": Status(7),
		"text": KindText, "attachment": KindAttachment,
	} {
		if name.String() != want {
			t.Errorf("%v, want %s", name, want)
		}
	}
	if Kind(200).String() != KindUnknown.String() {
		t.Error("a kind that is none")
	}
}

// No verb and no logger gives away what is said.
func TestRedacted(t *testing.T) {
	m, err := NewText("SECRET")
	if err != nil {
		t.Fatal(err)
	}
	external := ExternalPart{Key: []byte("SECRET"), Filename: "SECRET"}
	list := MultiPart{Parts: []NestedPart{m.Body, {Content: external}}}
	for _, v := range []any{m, *m, m.Body, m.Body.Content, external, list, m.View(), []*Message{m}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		for _, secret := range []string{"SECRET", fmt.Sprintf("%x", "SECRET"), "83 69 67"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%T prints %s", v, secret)
			}
		}
	}
	for _, v := range []any{m, *m, m.Body, m.Body.Content, external, m.View()} {
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		secret, err := json.Marshal([]byte("SECRET"))
		if err != nil {
			t.Fatal(err)
		}
		if s := out.String(); strings.Contains(s, "SECRET") || strings.Contains(s, strings.Trim(string(secret), `"`)) {
			t.Errorf("%T is logged in JSON", v)
		}
	}
}
