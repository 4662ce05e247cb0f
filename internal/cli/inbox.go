package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type inboxCommand struct {
	profileFlags
	Follow bool `help:"Go on, and print messages as they come, and what changes in those shown, until Ctrl-C."`
	JSON   bool `name:"json" help:"Print each message as a line of JSON."`
}

// Help is shown by inbox --help.
func (*inboxCommand) Help() string {
	return `Prints, oldest first, what came in and was not shown before, here or in the chat, and then who wants to write to you and is no contact yet. A message counts as shown once it is written out: where that breaks off, it comes again the next time. With --follow, edits, reactions, and messages that are taken back or disappear are told as they happen; those of other times are seen in the chat.

With --json a line holds: kind ("text", "gap", "key-changed", "key-accepted", "members", "warning", "request", "changed", "disappeared"), conversation (its id), conversation_kind ("direct" or "group"), group (its name), from, received, and by kind id, text, time (as the sender says), reply_to, edited, deleted, reactions, expires_after (seconds after reading); missing (how many messages have not arrived); key; safety_number and waiting (how many messages wait) of a request. A "changed" line is a text that was shown before, as it is now; a "disappeared" one has no text. Times are RFC 3339 in UTC. More fields may come.`
}

// inboxLine is a line of inbox --json.
type inboxLine struct {
	Kind             string                   `json:"kind"`
	Conversation     messenger.ConversationID `json:"conversation"`
	ConversationKind string                   `json:"conversation_kind"`
	Group            string                   `json:"group,omitempty"`
	From             string                   `json:"from"`
	ID               *messenger.MessageID     `json:"id,omitempty"`
	Text             string                   `json:"text,omitempty"`
	Time             *time.Time               `json:"time,omitempty"`
	Received         time.Time                `json:"received"`
	ReplyTo          *messenger.MessageID     `json:"reply_to,omitempty"`
	Edited           bool                     `json:"edited,omitempty"`
	Deleted          bool                     `json:"deleted,omitempty"`
	Reactions        []inboxReaction          `json:"reactions,omitempty"`
	ExpiresAfter     int64                    `json:"expires_after,omitempty"`
	Missing          uint64                   `json:"missing,omitempty"`
	Key              string                   `json:"key,omitempty"`
	SafetyNumber     string                   `json:"safety_number,omitempty"`
	Waiting          int                      `json:"waiting,omitempty"`
}

type inboxReaction struct {
	From  string `json:"from"`
	Emoji string `json:"emoji"`
}

func newInboxLine(r row) inboxLine {
	line := inboxLine{
		Kind: r.Kind.String(), Conversation: r.in.ID, ConversationKind: r.in.Kind.String(), Group: r.in.Name,
		From: string(r.Sender), Received: r.Stored, Missing: r.Missing,
	}
	switch r.Kind {
	case messenger.KindKeyChanged, messenger.KindKeyAccepted:
		line.Key = r.Text
	case messenger.KindMembers, messenger.KindWarning:
		line.Text = r.Text
	case messenger.KindText:
		line.ID, line.Text, line.Time = &r.ID, r.Text, &r.Time
		line.Edited, line.Deleted, line.ExpiresAfter = r.Edited, r.Deleted, int64(r.Expiry/time.Second)
		if r.ReplyTo != (messenger.MessageID{}) {
			line.ReplyTo = &r.ReplyTo
		}
		for _, reaction := range r.Reactions {
			line.Reactions = append(line.Reactions, inboxReaction{From: string(reaction.Sender), Emoji: reaction.Emoji})
		}
	}
	return line
}

// Run prints what came in.
func (c *inboxCommand) Run(env *environment) (err error) {
	client, err := c.open(env, terminal.NewConsole(env.stdin, env.stderr))
	if err != nil {
		return err
	}
	seen := shownMessages{}
	if c.Follow { // before the line is up, which brings changes
		err = recent(env.ctx, client, func(m messenger.Message) error {
			if m.Read {
				seen.remember(m)
			}
			return nil
		})
	}
	if err != nil {
		return errors.Join(err, client.Close())
	}
	s := start(env.ctx, client)
	defer func() { err = errors.Join(err, s.close()) }()
	p := inboxPrinter{inboxCommand: c, session: s, out: env.stdout, stderr: env.stderr, shown: make(map[messenger.ConversationID]bool), seen: seen}
	if c.Follow {
		return p.follow()
	}
	if err := p.messages(); err != nil {
		return err
	}
	return p.fetch()
}

// An inboxPrinter prints what one run of inbox shows.
type inboxPrinter struct {
	*inboxCommand
	*session
	out     io.Writer
	stderr  io.Writer
	shown   map[messenger.ConversationID]bool // requests
	seen    shownMessages
	offline bool
}

// messages writes out what is unread.
func (p *inboxPrinter) messages() error {
	return p.cause(showUnread(p.ctx, p.Client, func(r row) error {
		p.seen.remember(r.Message)
		if p.JSON {
			return printJSON(p.out, newInboxLine(r))
		}
		return printLines(p.out, messageLines(r, time.Now()), messageIndent)
	}))
}

// requests writes out who waits for an answer, each once.
func (p *inboxPrinter) requests() error {
	pending, err := pendingRequests(p.ctx, p.Client)
	if err != nil {
		return p.cause(err)
	}
	for _, r := range pending {
		if p.shown[r.ID] {
			continue
		}
		if err := r.print(p.out, p.JSON); err != nil {
			return err
		}
		p.shown[r.ID] = true
	}
	return nil
}

func (p *inboxPrinter) everything() error {
	if err := p.messages(); err != nil {
		return err
	}
	return p.requests()
}

// recentRows is of how many messages of each conversation it is known how they
// looked before. Older ones are shown again whole when they change.
const recentRows = 100

// recent calls do for the last messages of each conversation.
func recent(ctx context.Context, client *messenger.Client, do func(messenger.Message) error) error {
	conversations, err := client.Conversations(ctx)
	if err != nil {
		return err
	}
	for _, v := range conversations {
		messages, err := client.Messages(ctx, v.ID, recentRows)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := do(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed writes out what became of a message that was shown before.
func (p *inboxPrinter) changed(event messenger.MessageChanged) error {
	change, err := p.seen.change(p.ctx, p.Client, event)
	if err != nil || change == nil {
		return p.cause(err)
	}
	if !p.JSON {
		return printLines(p.out, change.lines, messageIndent)
	}
	line := newInboxLine(change.row)
	line.Kind = "changed"
	if change.gone {
		line.Kind = "disappeared"
	}
	return printJSON(p.out, line)
}

// follow prints until somebody ends it, which is no error, whatever it was doing.
func (p *inboxPrinter) follow() error {
	err := p.everything()
	for err == nil {
		select {
		case <-p.ctx.Done():
			return ended(p.session)
		case event := <-p.events:
			err = p.react(event)
		}
	}
	if errors.Is(err, context.Canceled) {
		return ended(p.session)
	}
	return err
}

// connectionChanged says, beside the output, why nothing comes.
func (p *inboxPrinter) connectionChanged(event messenger.ConnectionChanged) error {
	if event.Online != p.offline {
		return nil
	}
	p.offline = !event.Online
	if event.Online {
		return printLines(p.stderr, "-- online again --", messageIndent)
	}
	return printLines(p.stderr, fmt.Sprintf("-- offline: %s; trying again --", terminal.Printable(fmt.Sprint(event.Err))), messageIndent)
}

func (p *inboxPrinter) react(event messenger.Event) error {
	switch event := event.(type) {
	case messenger.ConnectionChanged:
		return p.connectionChanged(event)
	case messenger.MessageReceived, messenger.KeyChanged:
		return p.messages()
	case messenger.MessageChanged:
		return p.changed(event)
	case messenger.Lagged:
		if err := p.messages(); err != nil {
			return err
		}
		return p.cause(recent(p.ctx, p.Client, func(m messenger.Message) error {
			if _, known := p.seen[m.Row]; !known {
				return nil
			}
			return p.changed(messenger.MessageChanged{Message: m})
		}))
	case messenger.CaughtUp:
		return p.requests()
	case messenger.RequestReceived, messenger.ConversationChanged:
		return p.requests()
	case nil:
		<-p.done
		return p.cause(context.Canceled)
	}
	return nil
}

// ended is nil where a person ended it.
func ended(s *session) error {
	if cause := context.Cause(s.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// fetch prints what the server holds, and lets others know.
func (p *inboxPrinter) fetch() error {
	if why := p.catchUp(); why != nil {
		if errors.Is(why, context.Canceled) {
			return ended(p.session)
		}
		printed := p.everything()
		if printed != nil && errors.Is(why, printed) {
			printed = nil // the session ended for the very reason
		}
		return errors.Join(printed, why)
	}
	if err := p.everything(); err != nil {
		return err
	}
	return p.flush(receiptTime)
}
