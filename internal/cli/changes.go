package cli

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

// An appearance is how a message looked when it was shown, to tell what changed.
type appearance struct {
	messenger.Message        // without its text
	text              uint64 // a hash
}

// shownMessages are the messages that were shown, and how they looked.
type shownMessages map[messenger.RowID]appearance

var appearanceSeed = maphash.MakeSeed()

// maxShown bounds the messages of which it is known how they looked. Older ones are
// shown again whole when they change.
const maxShown = 10000

func (s shownMessages) remember(m messenger.Message) {
	if len(s) >= maxShown {
		clear(s)
	}
	look := appearance{Message: m, text: maphash.String(appearanceSeed, m.Text)}
	look.Text = ""
	s[m.Row] = look
}

// A change is what became of a message that was shown before.
type change struct {
	row
	gone  bool   // it disappeared: row is what it was, without its text
	lines string // what a person is told
}

// change says what an event changed, and remembers it. It is nil where nothing was
// shown that is different now: what is still to be shown is shown as it is then.
func (s shownMessages) change(ctx context.Context, client *messenger.Client, event messenger.MessageChanged) (*change, error) {
	before, known := s[event.Message.Row]
	if !known && (event.Gone || !event.Message.Read) {
		return nil, nil //nolint:nilnil // no change is no error
	}
	m := event.Message
	if event.Gone {
		m = before.Message
		delete(s, m.Row)
	} else {
		s.remember(m)
	}
	rows, err := rowsOf(ctx, client, []messenger.Message{m})
	if err != nil {
		return nil, err
	}
	changed := &change{row: rows[0], gone: event.Gone}
	if changed.lines = changed.say(before, known); changed.lines == "" {
		return nil, nil //nolint:nilnil // see above
	}
	return changed, nil
}

func (c *change) say(before appearance, known bool) string {
	where := ""
	if c.in.Kind == messenger.Group {
		where = " in " + title(c.in)
	}
	switch {
	case c.gone && where == "":
		return fmt.Sprintf("-- a message with %s has disappeared --", title(c.in))
	case c.gone:
		return fmt.Sprintf("-- a message%s has disappeared --", where)
	case !known:
		return messageLines(c.row, time.Now())
	case c.Deleted && !before.Deleted:
		return fmt.Sprintf("-- %s took a message%s back --", c.who(), where)
	case maphash.String(appearanceSeed, c.Text) != before.text:
		return messageLines(c.row, time.Now())
	}
	return strings.Join(append(
		c.sayReactions(c.Reactions, before.Reactions, "reacts with", where),
		c.sayReactions(before.Reactions, c.Reactions, "takes back", where)...), "\n")
}

// sayReactions says which reactions are here and not there.
func (c *change) sayReactions(here, there []messenger.Reaction, verb, where string) []string {
	var lines []string
	for _, reaction := range here {
		if slices.Contains(there, reaction) {
			continue
		}
		who, does := row{Message: messenger.Message{Sender: reaction.Sender}, self: c.self}.who(), verb
		if who == "you" {
			does = map[string]string{"reacts with": "react with", "takes back": "take back"}[verb]
		}
		lines = append(lines, fmt.Sprintf("-- %s %s %s%s --\n      %s", who, does, terminal.Printable(reaction.Emoji), where, quote(c.row)))
	}
	return lines
}
