package content

import (
	"mime"
	"strings"
)

// Kind says what a message is.
type Kind uint8

// Kinds of messages, and the fields of View and Message that hold for each.
const (
	// KindUnknown: nothing that this package understands. It is no error: show that
	// there was something.
	KindUnknown Kind = iota
	// KindText: Text.
	KindText
	// KindReply: Text or Attachments, in answer to InReplyTo.
	KindReply
	// KindReaction: Reactions, each one of its own, to InReplyTo; instead of the
	// reaction in Replaces, if that is set.
	KindReaction
	// KindEdit: Text or Attachments, in the place of Replaces.
	KindEdit
	// KindDelete: Replaces is taken back.
	KindDelete
	// KindUnreaction: Replaces, a reaction, is taken back.
	KindUnreaction
	// KindStatusReport: Report.
	KindStatusReport
	// KindAttachment: Attachments, and maybe Text with them.
	KindAttachment
)

var kindNames = [...]string{"unknown", "text", "reply", "reaction", "edit", "delete", "unreaction", "status report",
	"attachment"}

// String names the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindUnknown]
}

// View is a message as a client sees it that reads plain text.
type View struct {
	Kind Kind
	// Text is UTF-8, plain or Markdown. Texts that belong together are joined by an
	// empty line. It can hold control characters.
	Text string
	// Reactions are of 1 to MaxReaction bytes each, without control characters.
	Reactions []string
	// Attachments are parts with a SinglePart or an ExternalPart.
	Attachments []NestedPart
	// Report is not empty.
	Report StatusReport
	// Omitted is the number of parts that should be shown too, but are of a kind that
	// is not understood.
	Omitted int
}

// Kind says what the message is. It is that of its View.
func (m *Message) Kind() Kind { return m.View().Kind }

// View finds out what a message is. Where its parts leave a choice, the first that is
// understood is taken. It does not look at Expires.
func (m *Message) View() View {
	switch {
	case m.Body.Content == NullPart{}:
		return View{Kind: m.takenBack()}
	case m.Body.Disposition == DispositionReaction:
		return m.reactions()
	}
	if report, ok := m.Body.report(); ok && m.Replaces.IsZero() {
		return View{Kind: KindStatusReport, Report: report}
	}
	view, ok := m.Body.view()
	if !ok {
		return View{}
	}
	switch {
	case !m.Replaces.IsZero():
		view.Kind = KindEdit
	case !m.InReplyTo.IsZero():
		view.Kind = KindReply
	case len(view.Attachments) > 0:
		view.Kind = KindAttachment
	default:
		view.Kind = KindText
	}
	return view
}

// takenBack is for a body without content.
func (m *Message) takenBack() Kind {
	switch {
	case m.Replaces.IsZero():
		return KindUnknown
	case m.Body.Disposition == DispositionReaction:
		return KindUnreaction
	default:
		return KindDelete
	}
}

// reactions takes one reaction, or several side by side (draft, section "Reaction"). If
// one of them is not understood, none is.
func (m *Message) reactions() View {
	parts := []NestedPart{m.Body}
	if multi, ok := m.Body.Content.(MultiPart); ok && multi.Semantics == ProcessAll {
		parts = multi.Parts
	}
	view := View{Kind: KindReaction}
	for _, part := range parts {
		emoji, ok := part.text()
		if !ok || part.Disposition != DispositionReaction || !validReaction(emoji) {
			return View{}
		}
		view.Reactions = append(view.Reactions, emoji)
	}
	if len(view.Reactions) == 0 || m.InReplyTo.IsZero() { // none, or to nothing
		return View{}
	}
	return view
}

func (p NestedPart) report() (StatusReport, bool) {
	single, ok := p.Content.(SinglePart)
	if !ok {
		return nil, false
	}
	if mediaType, _, err := mime.ParseMediaType(single.ContentType); err != nil || mediaType != StatusContentType {
		return nil, false
	}
	report, err := ParseStatusReport(single.Content)
	return report, err == nil && len(report) > 0
}

// view collects what a part has to show; not ok if there is nothing.
func (p NestedPart) view() (View, bool) {
	switch c := p.Content.(type) {
	case SinglePart:
		return p.viewSingle(c)
	case ExternalPart:
		if !p.Disposition.shown() && p.Disposition != DispositionAttachment {
			return View{}, false
		}
		return View{Attachments: []NestedPart{p}}, true
	case MultiPart:
		if c.Semantics == ChooseOne {
			return viewFirst(c.Parts)
		}
		view, ok := viewAll(c.Parts)
		return view, ok && (c.Semantics == ProcessAll || view.Omitted == 0)
	default:
		return View{}, false
	}
}

func (p NestedPart) viewSingle(single SinglePart) (View, bool) {
	inline := p.Disposition == DispositionInline && !textType(single.ContentType)
	if inline || p.Disposition == DispositionAttachment {
		return View{Attachments: []NestedPart{p}}, true
	}
	text, ok := p.text()
	return View{Text: text}, ok && p.Disposition.shown()
}

func viewFirst(parts []NestedPart) (View, bool) {
	for _, part := range parts {
		if view, ok := part.view(); ok {
			return view, true
		}
	}
	return View{}, false
}

// viewAll joins parts. A preview can be left out without a loss.
func viewAll(parts []NestedPart) (View, bool) {
	var all View
	var texts []string
	for _, part := range parts {
		view, ok := part.view()
		if !ok {
			if part.Disposition != DispositionPreview {
				all.Omitted++
			}
			continue
		}
		if view.Text != "" {
			texts = append(texts, view.Text)
		}
		all.Attachments = append(all.Attachments, view.Attachments...)
		all.Omitted += view.Omitted
	}
	all.Text = strings.Join(texts, "\n\n")
	return all, all.Text != "" || len(all.Attachments) > 0
}

// text gives what a part says, if it is a text in plain or Markdown, in UTF-8, and not
// empty (draft, section "MIMI Required and Recommended media types").
func (p NestedPart) text() (string, bool) {
	single, ok := p.Content.(SinglePart)
	if !ok || !textType(single.ContentType) {
		return "", false
	}
	text := string(single.Content)
	return text, text != "" && validText(text)
}

func textType(contentType string) bool {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "text/plain" && mediaType != "text/markdown" {
		return false
	}
	switch strings.ToLower(parameters["charset"]) {
	case "", "utf-8", "us-ascii":
		return true
	default:
		return false
	}
}
