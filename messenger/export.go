package messenger

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"sealpost/identity"
)

// An ExportFormat says how [Client.Export] writes a conversation.
type ExportFormat int

// The formats of an export.
const (
	// ExportJSON is one JSON object a line: an [ExportHeader], then an [ExportRow] for
	// every row. Characters that a terminal would act on are escaped.
	ExportJSON ExportFormat = iota + 1
	// ExportMarkdown is CommonMark to read. What people wrote stands in it as text:
	// it can neither be markup nor hide or reorder anything.
	ExportMarkdown
)

// exportVersion is that of the format of ExportJSON. A field may be added in the
// same version.
const exportVersion = 1

// An ExportHeader is the first line of [ExportJSON].
type ExportHeader struct {
	Version      int               `json:"sealpost_export"`
	Account      identity.Username `json:"account"` // whose profile it is from
	Conversation ConversationID    `json:"conversation"`
	Kind         string            `json:"kind"`           // "direct" or "group"
	With         identity.Username `json:"with,omitempty"` // direct
	Name         string            `json:"name,omitempty"` // group
	Exported     time.Time         `json:"exported"`
}

// An ExportRow is a line of [ExportJSON] after the first. What is absent is false,
// zero or does not apply. Kind, state and the text of notices are as in [Message].
type ExportRow struct {
	Kind      string            `json:"kind"`
	ID        *MessageID        `json:"id,omitempty"`
	Sender    identity.Username `json:"sender,omitempty"`
	Outgoing  bool              `json:"outgoing,omitempty"`
	Time      time.Time         `json:"time"`
	Stored    time.Time         `json:"stored"`
	Text      string            `json:"text,omitempty"`
	ReplyTo   *MessageID        `json:"reply_to,omitempty"`
	Edited    bool              `json:"edited,omitempty"`
	Deleted   bool              `json:"deleted,omitempty"`          // its sender took it back
	Expiry    int64             `json:"disappears_after,omitempty"` // seconds; then there is no text
	Reactions []ExportReaction  `json:"reactions,omitempty"`
	State     string            `json:"state,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Missing   uint64            `json:"missing,omitempty"`
}

// An ExportReaction is a reaction in an [ExportRow].
type ExportReaction struct {
	Sender identity.Username `json:"sender"`
	Emoji  string            `json:"emoji"`
}

// exportPage is how many rows are in memory at a time.
const exportPage = 256

// Export writes a conversation to w, oldest row first. It takes the same memory
// however long the conversation is, and holds nothing up while w takes its time; a row
// that comes or changes meanwhile is in it as before or as after. The texts of messages
// that disappear are left out, for a file would outlive them.
//
// Its errors are [ErrUnknownConversation], [ErrNotAccepted], [ErrStore] and those of w.
func (c *Client) Export(ctx context.Context, id ConversationID, format ExportFormat, w io.Writer) error {
	v, err := c.Conversation(ctx, id)
	if err != nil {
		return err
	}
	if v.State == Request {
		return ErrNotAccepted
	}
	out := bufio.NewWriter(w)
	var e exporter = &jsonExporter{out: out}
	if format == ExportMarkdown {
		e = &markdownExporter{out: out, client: c}
	}
	header := ExportHeader{
		Version: exportVersion, Account: c.self.username(), Conversation: v.ID, Kind: v.Kind.String(),
		With: v.With, Name: v.Name, Exported: c.clock().UTC().Truncate(time.Second),
	}
	if err := e.begin(header); err != nil {
		return fmt.Errorf("writing an export: %w", err)
	}
	for after := (place{}); ; {
		page, last, err := c.messagesAfter(ctx, id, after)
		if err != nil {
			return err
		}
		for _, m := range page {
			if m.Expiry > 0 {
				m.Text = ""
			}
			if err := e.row(ctx, m); err != nil {
				return fmt.Errorf("writing an export: %w", err)
			}
		}
		if len(page) < exportPage {
			break
		}
		after = last
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing an export: %w", err)
	}
	return nil
}

// place is where a row stands in its conversation.
type place struct{ position, counter, row int64 }

// messagesAfter returns the next rows of a conversation, and the place of the last: not
// its id, for the row may be gone when the export goes on.
func (c *Client) messagesAfter(ctx context.Context, in ConversationID, after place) (page []Message, last place, err error) {
	err = c.read(ctx, "SELECT "+messageColumns+", m.position, m.counter"+messageTables+`
		WHERE m.conversation = (SELECT id FROM conversations WHERE public_id = ?) AND (m.position, m.counter, m.id) > (?, ?, ?)
		ORDER BY m.position, m.counter, m.id LIMIT ?`,
		[]any{in[:], after.position, after.counter, after.row, exportPage}, func(scan func(...any) error) error {
			m, err := scanMessage(scan, &last.position, &last.counter)
			last.row = int64(m.Row)
			page = append(page, m)
			return err
		})
	return page, last, err
}

// exporter writes one format.
type exporter interface {
	begin(h ExportHeader) error
	row(ctx context.Context, m Message) error
}

type jsonExporter struct{ out *bufio.Writer }

func (e *jsonExporter) begin(h ExportHeader) error { return e.line(h) }

func (e *jsonExporter) row(_ context.Context, m Message) error {
	r := ExportRow{
		Kind: m.Kind.String(), Sender: m.Sender, Outgoing: m.Outgoing, Time: m.Time, Stored: m.Stored, Text: m.Text,
		Edited: m.Edited, Deleted: m.Deleted, Expiry: int64(m.Expiry / time.Second), Reason: m.Reason, Missing: m.Missing,
	}
	if m.ID != (MessageID{}) {
		r.ID = &m.ID
	}
	if m.ReplyTo != (MessageID{}) {
		r.ReplyTo = &m.ReplyTo
	}
	if m.Outgoing {
		r.State = m.State.String()
	}
	for _, reaction := range m.Reactions {
		r.Reactions = append(r.Reactions, ExportReaction(reaction))
	}
	return e.line(r)
}

func (e *jsonExporter) line(v any) error {
	encoded, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// Outside of strings JSON is ASCII, so that an escape may stand for any other
	// character.
	for _, r := range string(encoded) {
		if isInert(r) {
			_, err = e.out.WriteRune(r)
		} else {
			err = e.escape(r)
		}
		if err != nil {
			return err
		}
	}
	return e.out.WriteByte('\n')
}

func (e *jsonExporter) escape(r rune) error {
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		_, err := fmt.Fprintf(e.out, `\u%04x\u%04x`, high, low)
		return err
	}
	_, err := fmt.Fprintf(e.out, `\u%04x`, r)
	return err
}

// isInert tells the characters that show themselves and do nothing else. Two that have
// no width stay: scripts and emoji need them inside of words.
func isInert(r rune) bool {
	const joiner, nonJoiner = '\u200d', '\u200c'
	return unicode.IsGraphic(r) || r == joiner || r == nonJoiner
}

type markdownExporter struct {
	out    *bufio.Writer
	client *Client
	day    string
}

func (e *markdownExporter) begin(h ExportHeader) error {
	title := "Conversation with " + string(h.With)
	if h.With == "" {
		title = "Group " + h.Name
	}
	_, err := fmt.Fprintf(e.out, "# %s\n\nExported from the profile of %s on %s.\n",
		escapeMarkdown(oneLine(title)), escapeMarkdown(string(h.Account)), h.Exported.Format("2006-01-02 15:04 MST"))
	return err
}

func (e *markdownExporter) row(ctx context.Context, m Message) error {
	if day := m.Time.Format("2006-01-02"); day != e.day {
		e.day = day
		if _, err := fmt.Fprintf(e.out, "\n## %s\n", day); err != nil {
			return err
		}
	}
	if m.Kind != KindText {
		_, err := fmt.Fprintf(e.out, "\n*%s %s*\n", m.Time.Format("15:04"), escapeMarkdown(oneLine(noticeText(m))))
		return err
	}
	quoted, err := e.quote(ctx, m.ReplyTo)
	if err != nil {
		return err
	}
	text := "*" + withoutText(m) + "*"
	if m.Text != "" {
		text = escapeMarkdown(m.Text)
	}
	if _, err := fmt.Fprintf(e.out, "\n**%s** %s\n\n%s%s\n", escapeMarkdown(string(m.Sender)), describeMessage(m), quoted, text); err != nil {
		return err
	}
	for _, r := range m.Reactions {
		if _, err := fmt.Fprintf(e.out, "\n- %s %s\n", escapeMarkdown(string(r.Sender)), escapeMarkdown(r.Emoji)); err != nil {
			return err
		}
	}
	return nil
}

// quoteLen is how much is repeated of a message that is answered, in characters.
const quoteLen = 80

func (e *markdownExporter) quote(ctx context.Context, id MessageID) (string, error) {
	if id == (MessageID{}) {
		return "", nil
	}
	answered, err := e.client.Message(ctx, id)
	if errors.Is(err, ErrUnknownMessage) {
		return "> *a message that is not here*\n\n", nil
	}
	if err != nil {
		return "", err
	}
	if answered.Text == "" || answered.Expiry > 0 {
		return fmt.Sprintf("> %s: *%s*\n\n", escapeMarkdown(string(answered.Sender)), withoutText(answered)), nil
	}
	text := []rune(oneLine(answered.Text))
	if len(text) > quoteLen {
		text = append(text[:quoteLen], '…')
	}
	return fmt.Sprintf("> %s: %s\n\n", escapeMarkdown(string(answered.Sender)), escapeMarkdown(string(text))), nil
}

func withoutText(m Message) string {
	if m.Deleted {
		return "took this message back"
	}
	return "a message that disappears"
}

// describeMessage says when a message was written and what became of it.
func describeMessage(m Message) string {
	said := []string{m.Time.Format("15:04")}
	if m.Edited && !m.Deleted {
		said = append(said, "edited")
	}
	if m.Outgoing && m.State != 0 {
		said = append(said, m.State.String())
	}
	if m.Reason != "" {
		said = append(said, escapeMarkdown(oneLine(m.Reason)))
	}
	return strings.Join(said, ", ")
}

func noticeText(m Message) string {
	switch m.Kind {
	case KindGap:
		return fmt.Sprintf("messages of %s that are missing here: %d", m.Sender, m.Missing)
	case KindKeyChanged:
		return fmt.Sprintf("%s has another key: %s", m.Sender, m.Text)
	case KindKeyAccepted:
		return fmt.Sprintf("the new key of %s was accepted: %s", m.Sender, m.Text)
	}
	return strings.TrimSpace(string(m.Sender) + " " + m.Text)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// escapeMarkdown makes text of CommonMark of any text: nothing in it is markup, a line
// stays a line, and what would not show is named.
func escapeMarkdown(s string) string {
	var b strings.Builder
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		// Blanks at the beginning would make code of it, at the end a break.
		line = strings.TrimSpace(line)
		escapeLine(&b, line)
		if i+1 < len(lines) && line != "" && strings.TrimSpace(lines[i+1]) != "" {
			b.WriteString(`\`) // the line ends here
		}
	}
	return b.String()
}

func escapeLine(b *strings.Builder, line string) {
	digits := true // so far
	for i, r := range line {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case !isInert(r):
			fmt.Fprintf(b, `\[U+%04X\]`, r)
		case strings.ContainsRune("\\`*_{}[]<>&#|~$", r),
			i == 0 && strings.ContainsRune("+-=", r),
			i > 0 && digits && (r == '.' || r == ')'):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		digits = digits && r >= '0' && r <= '9'
	}
}
