package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

const (
	// messageIndent is what the second and further lines of a message begin with:
	// nothing in it can look like the first line of another one, or like a remark.
	messageIndent = 6
	// remark is what a line of ours below a message begins with.
	remark = "\n  "
	// quoteColumns is how much is shown of a message that another line is about.
	quoteColumns = 40
)

// A row is a message with what it takes to show it.
type row struct {
	messenger.Message
	in       messenger.Conversation
	answered *messenger.Message // what ReplyTo names, if it is here
	self     identity.Username
}

// rowsOf adds to messages what it takes to show them.
func rowsOf(ctx context.Context, client *messenger.Client, messages []messenger.Message) ([]row, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	all, err := client.Conversations(ctx)
	if err != nil {
		return nil, err
	}
	in := make(map[messenger.ConversationID]messenger.Conversation, len(all))
	for _, v := range all {
		in[v.ID] = v
	}
	rows := make([]row, len(messages))
	for i, m := range messages {
		rows[i] = row{Message: m, in: in[m.Conversation], self: client.Self().Username}
		if m.ReplyTo == (messenger.MessageID{}) {
			continue
		}
		answered, err := client.Message(ctx, m.ReplyTo)
		switch {
		case err == nil && answered.Conversation == m.Conversation:
			rows[i].answered = &answered
		case err != nil && !errors.Is(err, messenger.ErrUnknownMessage):
			return nil, err
		}
	}
	return rows, nil
}

// messageLines shows a row of a conversation to a person.
func messageLines(r row, now time.Time) string {
	who, where := r.who(), ""
	if r.in.Kind == messenger.Group {
		where = " in " + title(r.in)
	}
	there := where // for notices, which say with whom as well
	if r.in.Kind == messenger.Direct {
		there = " with " + title(r.in)
	}
	switch r.Kind {
	case messenger.KindGap:
		return fmt.Sprintf("-- %d earlier %s of %s%s not here yet --", r.Missing, plural(r.Missing, "message", "messages"), who, where)
	case messenger.KindKeyChanged:
		if r.in.Kind == messenger.Group {
			return fmt.Sprintf("!! THE KEY OF %s CHANGED: nothing is sent to %s until you accept the new one.", who, title(r.in))
		}
		return fmt.Sprintf("!! THE KEY OF %s CHANGED. They set up anew, or somebody stands in between: "+
			"compare the safety number before you accept it. Nothing is sent to them until then.", who)
	case messenger.KindKeyAccepted:
		return fmt.Sprintf("-- the new key of %s%s was accepted --", who, where)
	case messenger.KindMembers:
		return fmt.Sprintf("-- %s%s: %s %s --", clock(r.Stored, now), there, who, terminal.Printable(r.Text))
	case messenger.KindWarning:
		return fmt.Sprintf("!! %s%s: %s", clock(r.Stored, now), there, terminal.Printable(r.Text))
	}
	if r.Outgoing {
		who, where = "→ "+title(r.in), ""
		if r.State != 0 { // of one just written, the prompt shows the mark
			who += " " + mark(r.State)
		}
	}
	text := strings.ReplaceAll(terminal.PrintableText(r.Text), "\n", "\n"+strings.Repeat(" ", messageIndent))
	if r.Deleted {
		text = "(taken back)"
	}
	return fmt.Sprintf("%s %s%s: %s%s", clock(r.Time, now), who, where, text, r.remarks(now))
}

// who names whom a row is of.
func (r row) who() string {
	if r.Sender == r.self {
		return "you"
	}
	return terminal.Printable(string(r.Sender))
}

// remarks are what is to be said of a message besides its text.
func (r row) remarks(now time.Time) string {
	var b strings.Builder
	if r.answered != nil && !r.Deleted {
		fmt.Fprintf(&b, "%s↪ answers %s", remark, quote(row{Message: *r.answered, self: r.self}))
	}
	if r.Edited && !r.Deleted {
		b.WriteString(remark + "✎ edited")
	}
	for _, reaction := range r.Reactions {
		fmt.Fprintf(&b, "%s♥ %s %s", remark, terminal.Printable(reaction.Emoji), (row{Message: messenger.Message{Sender: reaction.Sender}, self: r.self}).who())
	}
	switch {
	case r.Deleted:
	case !r.Expires.IsZero():
		fmt.Fprintf(&b, "%s⏳ disappears at %s", remark, clock(r.Expires, now))
	case r.Expiry > 0:
		fmt.Fprintf(&b, "%s⏳ disappears %s after it is read", remark, duration(r.Expiry))
	}
	return b.String()
}

// quote names a message in a line about it.
func quote(r row) string {
	text := terminal.Truncate(terminal.Printable(strings.ReplaceAll(r.Text, "\n", " ")), quoteColumns)
	if r.Deleted {
		return r.who() + " (taken back)"
	}
	return r.who() + ": " + text
}

// mark is how far a message of ours has come, in one sign.
func mark(state messenger.State) string {
	switch state {
	case messenger.Accepted:
		return "✓"
	case messenger.Delivered:
		return "✓✓"
	case messenger.Read:
		return "✓✓ read"
	case messenger.Failed:
		return "✗"
	}
	return "…"
}

// clock shows a time of today by the clock, and others with their date.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// duration shows a span without zeros, and whole days as such.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
