package messenger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/identity"
)

// A ConversationID names a conversation, the same for everybody in it: 16 bytes.
// Its text form is "conversation:" and 32 hexadecimal digits.
type ConversationID [16]byte

const conversationIDPrefix = "conversation:"

// directContext is hashed with both names, in alphabetical order.
const directContext = "sealpost direct conversation v1"

func newConversationID() ConversationID {
	var id ConversationID
	rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// directIDOf is the same for both people, so that two who begin to write at once
// meet in one conversation.
func directIDOf(a, b identity.Username) ConversationID {
	first, second := min(a, b), max(a, b)
	sum := sha256.Sum256([]byte(directContext + "\x00" + string(first) + "\x00" + string(second)))
	return ConversationID(sum[:len(ConversationID{})])
}

// ParseConversationID reads the text form.
func ParseConversationID(s string) (ConversationID, error) {
	digits, ok := strings.CutPrefix(s, conversationIDPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != len(ConversationID{}) || strings.ToLower(digits) != digits {
		return ConversationID{}, errors.New(`a conversation id is "conversation:" and 32 hexadecimal digits`)
	}
	return ConversationID(b), nil
}

// String returns the text form.
func (id ConversationID) String() string { return conversationIDPrefix + hex.EncodeToString(id[:]) }

// MarshalText returns the text form, for JSON.
func (id ConversationID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form, for JSON.
func (id *ConversationID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseConversationID(string(b))
	return err
}

// room is the URI that the ids of a conversation's messages are computed with.
func (id ConversationID) room() string {
	return "sealpost:conversation/" + hex.EncodeToString(id[:])
}

func senderURI(username identity.Username) string { return "sealpost:account/" + string(username) }

// A ConversationKind says how many people a conversation is for.
type ConversationKind int

// The kinds of conversations.
const (
	// Direct: two people. There is one for each pair.
	Direct ConversationKind = iota + 1
	// Group: any number of people, some of them administrators.
	Group
)

// String returns the name in lower case.
func (k ConversationKind) String() string {
	switch k {
	case Direct:
		return "direct"
	case Group:
		return "group"
	}
	return fmt.Sprintf("ConversationKind(%d)", int(k))
}

// A ConversationState says what can be done in a conversation.
type ConversationState int

// The states of a conversation.
const (
	// Active: messages come and go.
	Active ConversationState = iota + 1
	// Request: somebody who is no contact wrote first. Until [Client.Accept],
	// nothing of it is shown and nothing goes back.
	Request
	// Closed: we left, were removed, or declined.
	Closed
)

// String returns the name in lower case.
func (s ConversationState) String() string {
	switch s {
	case Active:
		return "active"
	case Request:
		return "request"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("ConversationState(%d)", int(s))
}

// A Conversation is what people see of one.
type Conversation struct {
	ID      ConversationID
	Kind    ConversationKind
	State   ConversationState
	With    identity.Username // Direct: the other person
	Name    string            // Group: not escaped
	Inviter identity.Username // who brought us in; empty if we made it
	Expiry  time.Duration     // messages written from now on disappear so long after they were read; 0 for never
	Unread  int               // rows that came in and were not marked as read; of a Request, those that wait
	Waiting int               // messages of ours that the relay does not have yet
	Created time.Time         // in this profile (UTC, milliseconds)
	Active  time.Time         // when the last row came (UTC, milliseconds)
	// Healing says that this device cannot follow the conversation just now and
	// asked the others to take it in again. What is sent meanwhile waits.
	Healing bool
}

// A Member is an account in a conversation.
type Member struct {
	Username identity.Username
	Admin    bool // may change the group; in a direct conversation nobody is
	Self     bool
	Devices  int
	Verified bool
}

const selectConversations = `
	SELECT v.public_id, v.kind, v.state, coalesce(k.username, ''), v.name, v.inviter, v.expiry,
		(SELECT count(*) FROM messages m WHERE m.conversation = v.id AND m.unread),
		(SELECT count(*) FROM outbox o WHERE o.queue = v.id * 4 AND o.message IS NOT NULL),
		v.created_at, v.active_at,
		EXISTS (SELECT 1 FROM groups g WHERE g.conversation = v.id AND g.state = 3)
			AND NOT EXISTS (SELECT 1 FROM groups g WHERE g.conversation = v.id AND g.state = 2)
	FROM conversations v LEFT JOIN contacts k ON k.id = v.contact `

func scanConversation(scan func(...any) error) (Conversation, error) {
	var (
		v               Conversation
		id              []byte
		expiry          int64
		created, active int64
	)
	if err := scan(&id, &v.Kind, &v.State, &v.With, &v.Name, &v.Inviter, &expiry, &v.Unread, &v.Waiting, &created, &active, &v.Healing); err != nil {
		return v, err
	}
	if len(id) != len(v.ID) {
		return v, fmt.Errorf("reading a conversation: %w", ErrDamaged)
	}
	v.ID, v.Expiry, v.Created, v.Active = ConversationID(id), time.Duration(expiry)*time.Second, fromMilli(created), fromMilli(active)
	return v, nil
}

// Conversations returns all of them, requests and closed ones too, the one with
// the latest row first.
func (c *Client) Conversations(ctx context.Context) ([]Conversation, error) {
	return c.readConversations(ctx, "ORDER BY v.active_at DESC, v.id DESC")
}

func (c *Client) readConversations(ctx context.Context, where string, args ...any) ([]Conversation, error) {
	var all []Conversation
	err := c.read(ctx, selectConversations+where, args, func(scan func(...any) error) error {
		v, err := scanConversation(scan)
		all = append(all, v)
		return err
	})
	return all, err
}

// Conversation returns one. The error is [ErrUnknownConversation].
func (c *Client) Conversation(ctx context.Context, id ConversationID) (Conversation, error) {
	all, err := c.readConversations(ctx, "WHERE v.public_id = ?", id[:])
	if err == nil && len(all) == 0 {
		err = ErrUnknownConversation
	}
	if err != nil {
		return Conversation{}, err
	}
	return all[0], nil
}

// DirectID returns the id of the conversation with an account, whether it exists
// yet or not.
func (c *Client) DirectID(username identity.Username) ConversationID {
	return directIDOf(c.self.username(), username)
}

// Members returns who is in a conversation, in the order of their names: while this
// device cannot follow it, who was when it last could. The error is
// [ErrUnknownConversation].
func (c *Client) Members(ctx context.Context, id ConversationID) ([]Member, error) {
	v, err := c.findConversation(ctx, c.store.reader, id)
	if err != nil {
		return nil, c.readFailure(ctx, err)
	}
	g, err := lastGroup(ctx, c.store.reader, v.id)
	if err != nil {
		return nil, c.readFailure(ctx, err)
	}
	var all []Member
	if g == nil {
		// A group that we begin; one that somebody else begins has members when it is known.
		all = append(all, Member{Username: c.self.username(), Self: true, Devices: 1, Admin: v.kind == Group})
		if v.with != "" {
			all = append(all, Member{Username: v.with})
		}
		slices.SortFunc(all, func(a, b Member) int { return strings.Compare(string(a.Username), string(b.Username)) })
		return all, nil
	}
	d, err := descriptorOf(ctx, c.store.reader, g.id)
	if err != nil {
		return nil, c.readFailure(ctx, err)
	}
	names := make(map[identity.Username]bool)
	err = c.read(ctx, `
		SELECT m.username, count(*), coalesce(k.verified, 0) FROM members m LEFT JOIN contacts k ON k.username = m.username
		WHERE m.grp = ? GROUP BY m.username ORDER BY m.username`, []any{g.id}, func(scan func(...any) error) error {
		var m Member
		if err := scan(&m.Username, &m.Devices, &m.Verified); err != nil {
			return err
		}
		m.Self = m.Username == c.self.username()
		names[m.Username] = true
		all = append(all, m)
		return nil
	})
	if v.kind == Group {
		for i := range all {
			all[i].Admin = d.isAdmin(all[i].Username, func(name identity.Username) bool { return names[name] })
		}
	}
	return all, err
}

// conversation is a row of the conversations.
type conversation struct {
	id       int64
	publicID ConversationID
	kind     ConversationKind
	state    ConversationState
	with     identity.Username
	inviter  identity.Username
	name     string
	expiry   int64
}

// findConversation gives [ErrUnknownConversation] where there is none.
func (c *Client) findConversation(ctx context.Context, q querier, id ConversationID) (*conversation, error) {
	return scanOne(q.QueryRowContext(ctx, selectConversation+"WHERE v.public_id = ?", id[:]))
}

const selectConversation = `
	SELECT v.id, v.public_id, v.kind, v.state, coalesce(k.username, ''), v.inviter, v.name, v.expiry
	FROM conversations v LEFT JOIN contacts k ON k.id = v.contact `

func scanOne(row *sql.Row) (*conversation, error) {
	var (
		v  conversation
		id []byte
	)
	err := row.Scan(&v.id, &id, &v.kind, &v.state, &v.with, &v.inviter, &v.name, &v.expiry)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUnknownConversation
	}
	if err != nil {
		return nil, fmt.Errorf("reading a conversation: %w", err)
	}
	if len(id) != len(v.publicID) {
		return nil, fmt.Errorf("reading a conversation: %w", ErrDamaged)
	}
	v.publicID = ConversationID(id)
	return &v, nil
}

func conversationByRow(ctx context.Context, q querier, id int64) (*conversation, error) {
	return scanOne(q.QueryRowContext(ctx, selectConversation+"WHERE v.id = ?", id))
}

// addConversation makes a row and tells of it.
func (c *Client) addConversation(u *unit, v *conversation) error {
	var contact any
	if v.kind == Direct {
		known, err := findContact(u, u, v.with)
		if err != nil {
			return err
		}
		if known == nil {
			return fmt.Errorf("beginning a conversation: %w", ErrUnknownContact)
		}
		contact = known.id
	}
	result, err := u.ExecContext(u, `
		INSERT INTO conversations (public_id, kind, state, contact, inviter, name, expiry, created_at, active_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.publicID[:], int(v.kind), int(v.state), contact, string(v.inviter), v.name, v.expiry, u.now.UnixMilli(), u.now.UnixMilli())
	if err != nil {
		return fmt.Errorf("beginning a conversation: %w", err)
	}
	if v.id, err = result.LastInsertId(); err != nil {
		return fmt.Errorf("beginning a conversation: %w", err)
	}
	return tellConversation(u, v.id)
}

// tellConversation says that a conversation, or who is in it, changed.
func tellConversation(u *unit, id int64) error {
	v, err := scanConversation(u.QueryRowContext(u, selectConversations+"WHERE v.id = ?", id).Scan)
	if err != nil {
		return fmt.Errorf("reading a conversation: %w", err)
	}
	u.tell(ConversationChanged{Conversation: v})
	return nil
}

func setConversationState(u *unit, v *conversation, state ConversationState) error {
	if _, err := u.ExecContext(u, "UPDATE conversations SET state = ? WHERE id = ?", int(state), v.id); err != nil {
		return fmt.Errorf("changing a conversation: %w", err)
	}
	v.state = state
	return tellConversation(u, v.id)
}

// readFailure turns an error of reading into what a caller gets: what this package
// knows stays, anything else is the store's.
func (c *Client) readFailure(ctx context.Context, err error) error {
	if errors.Is(err, ErrUnknownConversation) || errors.Is(err, ErrUnknownMessage) || errors.Is(err, ErrClosed) {
		return err
	}
	return c.storeFailure(ctx, err)
}
