package content

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// TextContentType is the media type of the texts and reactions that this package
// writes.
const TextContentType = "text/plain;charset=utf-8"

// Option adds something to a message that is being made.
type Option func(*Message) error

// WithExpiry asks the receivers to delete the message when d has passed after they read
// it, rounded up to seconds; at most MaxExpiry.
func WithExpiry(d time.Duration) Option {
	return func(m *Message) (err error) {
		m.Expires, err = expiry(d)
		return err
	}
}

// WithReplyTo names the message that this one answers. An edit of a reply names it
// again, since an edit must change nothing but the body (draft, section "Rendering and
// authorization of edits and deletes").
func WithReplyTo(to MessageID) Option {
	return func(m *Message) error {
		m.InReplyTo = to
		return named(to)
	}
}

// WithAddresses names the sender and the room by their URIs, in the extensions
// KeySender and KeyRoom.
func WithAddresses(sender, room string) Option {
	return func(m *Message) error {
		if m.Extensions == nil {
			m.Extensions = make(Extensions, 2)
		}
		m.Extensions[KeySender] = TextValue(sender)
		m.Extensions[KeyRoom] = TextValue(room)
		return nil
	}
}

// New makes a message with a fresh salt. It is one that can be marshaled, or else the
// error is that of Marshal.
func New(body NestedPart, options ...Option) (*Message, error) {
	m := &Message{Body: body}
	_, _ = rand.Read(m.Salt[:]) // never fails
	for _, option := range options {
		if err := option(m); err != nil {
			return nil, err
		}
	}
	if _, err := m.Marshal(); err != nil {
		return nil, err
	}
	return m, nil
}

// NewText makes a text of 1 to MaxText bytes of UTF-8.
func NewText(text string, options ...Option) (*Message, error) {
	body, err := textPart(DispositionRender, text, MaxText)
	if err != nil {
		return nil, err
	}
	return New(body, options...)
}

// Reply makes a text that answers another message (draft, section "Reply").
func Reply(to MessageID, text string, options ...Option) (*Message, error) {
	return NewText(text, and(options, WithReplyTo(to))...)
}

// Reaction makes a reaction to another message, such as an emoji (draft, section
// "Reaction"): 1 to MaxReaction bytes of UTF-8 without control characters. Whether they
// are one emoji is not checked.
func Reaction(to MessageID, emoji string, options ...Option) (*Message, error) {
	body, err := textPart(DispositionReaction, emoji, MaxReaction)
	if err != nil {
		return nil, err
	}
	if !validReaction(emoji) {
		return nil, ErrText
	}
	return New(body, and(options, WithReplyTo(to))...)
}

// Unreaction takes a reaction to a message back (draft, section "Unlike").
func Unreaction(reaction, to MessageID, options ...Option) (*Message, error) {
	body := NestedPart{Disposition: DispositionReaction, Content: NullPart{}}
	return New(body, and(options, withReplaces(reaction), WithReplyTo(to))...)
}

// Edit makes a text that replaces another one, named by the id of its first instance
// (draft, section "Edit"). For an edit of a reply see WithReplyTo.
func Edit(of MessageID, text string, options ...Option) (*Message, error) {
	return NewText(text, and(options, withReplaces(of))...)
}

// Delete takes a message back, named by the id of its first instance (draft, section
// "Delete").
func Delete(of MessageID, options ...Option) (*Message, error) {
	body := NestedPart{Disposition: DispositionRender, Content: NullPart{}}
	return New(body, and(options, withReplaces(of))...)
}

// Receipt reports one status of 1 to MaxElements messages.
func Receipt(status Status, ids ...MessageID) (*Message, error) {
	report := make(StatusReport, len(ids))
	for i, id := range ids {
		report[i] = MessageStatus{ID: id, Status: status}
	}
	return NewReport(report)
}

// NewReport makes a message that carries a status report, which must not be empty. The
// drafts give it no disposition; it has DispositionUnspecified.
func NewReport(report StatusReport) (*Message, error) {
	if len(report) == 0 {
		return nil, malformed("status report is empty")
	}
	data, err := report.Marshal()
	if err != nil {
		return nil, err
	}
	return New(NestedPart{Content: SinglePart{ContentType: StatusContentType, Content: data}})
}

func withReplaces(of MessageID) Option {
	return func(m *Message) error {
		m.Replaces = of
		return named(of)
	}
}

// named refuses the zero id, which would make a message of another kind.
func named(id MessageID) error {
	if id.IsZero() {
		return malformed("no message id")
	}
	return nil
}

// and leaves the caller's list alone.
func and(options []Option, more ...Option) []Option { return slices.Concat(options, more) }

func textPart(disposition Disposition, text string, limit int) (NestedPart, error) {
	if len(text) > limit {
		return NestedPart{}, fmt.Errorf("%w: text of %d bytes", ErrTooLarge, len(text))
	}
	if text == "" || !validText(text) {
		return NestedPart{}, ErrText
	}
	return NestedPart{
		Disposition: disposition,
		Content:     SinglePart{ContentType: TextContentType, Content: []byte(text)},
	}, nil
}

// validReaction is stricter than a text: a reaction stands in a line with others.
func validReaction(emoji string) bool {
	return emoji != "" && len(emoji) <= MaxReaction && validText(emoji) &&
		!strings.ContainsFunc(emoji, unicode.IsControl)
}
