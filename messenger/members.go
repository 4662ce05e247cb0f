package messenger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"sealpost/content"
	"sealpost/identity"
)

// maxAddedAtOnce bounds the members that one commit adds: its Welcome has to fit
// into one submission beside the ratchet tree.
const maxAddedAtOnce = 50

// An operation says what an action does to a group.
type operation string

const (
	opCreate operation = "create" // a group with us in it, and Users
	opAdd    operation = "add"    // Users
	opRemove operation = "remove" // Users
	opAdmin  operation = "admin"  // Users, or not if Off
	opRename operation = "rename" // Name
	opExpire operation = "expire" // Seconds
	opLeave  operation = "leave"
	opUpdate operation = "update" // our own keys
	opRenew  operation = "renew"  // Device, which cannot follow
	opCover  operation = "cover"  // proposals that wait
)

// An action is a change of a group that is still to be made. It says what is
// wanted, not how: where somebody else's commit was first, it is tried again on
// what that left, until nothing is left to do.
type action struct {
	Op      operation           `cbor:"1,keyasint"`
	Users   []identity.Username `cbor:"2,keyasint,omitempty"`
	Name    string              `cbor:"3,keyasint,omitempty"`
	Off     bool                `cbor:"4,keyasint,omitempty"`
	Seconds uint32              `cbor:"5,keyasint,omitempty"`
	Device  []byte              `cbor:"6,keyasint,omitempty"`
	Since   int64               `cbor:"7,keyasint,omitempty"` // of the leaf that Device had as it asked, in milliseconds
	Over    uint32              `cbor:"8,keyasint,omitempty"` // create in spite of a group of this incarnation
}

func enqueueAction(u *unit, conversation int64, in lane, a action) error {
	body, err := descriptorEncoding.Marshal(a)
	if err != nil {
		return fmt.Errorf("queueing a change: %w", err)
	}
	return enqueue(u, entry{conversation: conversation, lane: in, kind: entryAction, body: body})
}

func parseAction(body []byte) (action, error) {
	var a action
	if err := cbor.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("reading a change that waits: %w", err)
	}
	return a, nil
}

// enqueueOnce queues what nobody asked for, unless it waits already.
func enqueueOnce(u *unit, conversation int64, a action, due time.Time) error {
	body, err := descriptorEncoding.Marshal(a)
	if err != nil {
		return fmt.Errorf("queueing a change: %w", err)
	}
	var waits bool
	if err := u.QueryRowContext(u, "SELECT EXISTS (SELECT 1 FROM outbox WHERE queue = ? AND kind = ? AND body = ?)",
		laneUpkeep.queue(conversation), int(entryAction), body).Scan(&waits); err != nil {
		return fmt.Errorf("queueing a change: %w", err)
	}
	if waits {
		return nil
	}
	return enqueue(u, entry{conversation: conversation, lane: laneUpkeep, kind: entryAction, body: body, due: due})
}

// A ContactOption changes how an account that is not known yet is looked at.
type ContactOption func(*contactOptions)

type contactOptions struct{ trust TrustPolicy }

// WithTrust uses this policy instead of the profile's.
func WithTrust(policy TrustPolicy) ContactOption {
	return func(o *contactOptions) { o.trust = policy }
}

func (c *Client) contactOptions(options []ContactOption) contactOptions {
	o := contactOptions{trust: c.self.trust}
	for _, set := range options {
		set(&o)
	}
	return o
}

// Direct returns the conversation with an account, and begins it if there is none.
// That accepts the account as a contact, and a request of it. The server is asked
// for the account's key once in a session; it has to be reached for a new contact
// only.
//
// Its errors are [ErrSelf], [*KeyChangedError], [*UntrustedError],
// [ErrUnknownRecipient], [ErrServerUnavailable], [*ServerChangedError],
// [*CertificateError], [ErrBadDirectory] and [ErrStore].
func (c *Client) Direct(ctx context.Context, with identity.Username, options ...ContactOption) (Conversation, error) {
	if with == c.self.username() {
		return Conversation{}, ErrSelf
	}
	if err := c.meet(ctx, with, c.contactOptions(options).trust); err != nil {
		return Conversation{}, err
	}
	id := directIDOf(c.self.username(), with)
	if err := c.commit(ctx, func(u *unit) error { return c.openDirect(u, with) }); err != nil {
		return Conversation{}, err
	}
	return c.Conversation(ctx, id)
}

// openDirect makes the conversation with a contact if need be, and accepts it.
func (c *Client) openDirect(u *unit, with identity.Username) error {
	if _, err := u.ExecContext(u, "UPDATE contacts SET accepted = 1, blocked = 0 WHERE username = ?", string(with)); err != nil {
		return fmt.Errorf("accepting a contact: %w", err)
	}
	v, err := c.findConversation(u, u, directIDOf(c.self.username(), with))
	if err == nil {
		if v.state == Active {
			return nil
		}
		return c.activate(u, v)
	}
	if !isRefusal(err) {
		return err
	}
	return c.addConversation(u, &conversation{publicID: directIDOf(c.self.username(), with), kind: Direct, state: Active, with: with})
}

// meet makes sure that an account is a contact whose key was looked up since the
// line came up, or at all if there is no line.
func (c *Client) meet(ctx context.Context, username identity.Username, policy TrustPolicy) error {
	known, err := c.knownContact(ctx, username)
	if err != nil {
		return err
	}
	if known != nil && known.NewKey == nil && c.isFresh(username) {
		return nil
	}
	l, err := c.lookup(ctx, username)
	if known != nil && isUnavailable(err) {
		return known.keyChanged() // the key is checked before anything goes out
	}
	if err != nil {
		return err
	}
	_, err = c.learn(ctx, l, policy)
	return err
}

// CreateGroup begins a group with us as its administrator and adds accounts to it,
// which are accepted as contacts by that. The name has 1 to [MaxNameLen] bytes.
// Its errors are [ErrGroupName] and those of Direct.
func (c *Client) CreateGroup(ctx context.Context, name string, with []identity.Username, options ...ContactOption) (Conversation, error) {
	if err := checkName(name); err != nil {
		return Conversation{}, err
	}
	with, err := c.meetAll(ctx, with, options)
	if err != nil {
		return Conversation{}, err
	}
	v := &conversation{publicID: newConversationID(), kind: Group, state: Active, name: name}
	if err := c.commit(ctx, func(u *unit) error {
		if err := acceptAll(u, with); err != nil {
			return err
		}
		if err := c.addConversation(u, v); err != nil {
			return err
		}
		return queueMembers(u, v.id, action{Op: opCreate, Name: name}, with)
	}); err != nil {
		return Conversation{}, err
	}
	return c.Conversation(ctx, v.publicID)
}

// queueMembers splits what would not fit into one commit.
func queueMembers(u *unit, conversation int64, first action, users []identity.Username) error {
	for {
		n := min(len(users), maxAddedAtOnce)
		first.Users = users[:n]
		if err := enqueueAction(u, conversation, laneMain, first); err != nil {
			return err
		}
		if users = users[n:]; len(users) == 0 {
			return nil
		}
		first = action{Op: opAdd}
	}
}

func checkName(name string) error {
	if !isName(name) || strings.TrimSpace(name) != name {
		return ErrGroupName
	}
	return nil
}

// meetAll meets every account once, and leaves out our own.
func (c *Client) meetAll(ctx context.Context, users []identity.Username, options []ContactOption) ([]identity.Username, error) {
	users = slices.Compact(slices.Sorted(slices.Values(users)))
	users = slices.DeleteFunc(users, func(name identity.Username) bool { return name == c.self.username() })
	for _, name := range users {
		if err := c.meet(ctx, name, c.contactOptions(options).trust); err != nil {
			return nil, fmt.Errorf("adding %s: %w", name, err)
		}
	}
	return users, nil
}

func acceptAll(u *unit, users []identity.Username) error {
	for _, name := range users {
		if _, err := u.ExecContext(u, "UPDATE contacts SET accepted = 1, blocked = 0 WHERE username = ?", string(name)); err != nil {
			return fmt.Errorf("accepting a contact: %w", err)
		}
	}
	return nil
}

// AddMembers adds accounts to a group. It happens once the relay accepted it, in
// the order of what else is sent there. Its errors are [ErrUnknownConversation],
// [ErrNotAGroup], [ErrNotAdmin], [ErrConversationClosed], [ErrNotAccepted], and
// those of Direct.
func (c *Client) AddMembers(ctx context.Context, to ConversationID, users []identity.Username, options ...ContactOption) error {
	users, err := c.meetAll(ctx, users, options)
	if err != nil {
		return err
	}
	return c.govern(ctx, to, func(u *unit, v *conversation) error {
		if err := acceptAll(u, users); err != nil {
			return err
		}
		return queueMembers(u, v.id, action{Op: opAdd}, users)
	})
}

// RemoveMembers removes accounts from a group, with all of their devices. They
// cannot read what is sent once the relay accepted that. Errors as of AddMembers.
func (c *Client) RemoveMembers(ctx context.Context, from ConversationID, users []identity.Username) error {
	if slices.Contains(users, c.self.username()) {
		return ErrSelf
	}
	return c.govern(ctx, from, func(u *unit, v *conversation) error {
		return enqueueAction(u, v.id, laneMain, action{Op: opRemove, Users: users})
	})
}

// SetAdmin says whether an account may change a group. Errors as of AddMembers.
func (c *Client) SetAdmin(ctx context.Context, in ConversationID, user identity.Username, admin bool) error {
	return c.govern(ctx, in, func(u *unit, v *conversation) error {
		return enqueueAction(u, v.id, laneMain, action{Op: opAdmin, Users: []identity.Username{user}, Off: !admin})
	})
}

// Rename changes the name of a group. Errors as of AddMembers, and [ErrGroupName].
func (c *Client) Rename(ctx context.Context, group ConversationID, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return c.govern(ctx, group, func(u *unit, v *conversation) error {
		return enqueueAction(u, v.id, laneMain, action{Op: opRename, Name: name})
	})
}

// SetExpiry has messages that are written from now on, by anybody in the
// conversation, disappear so long after they were read; 0 for never. It is at most
// [content.MaxExpiry], in whole seconds. Everybody may set it in a direct
// conversation. Errors as of AddMembers, and [ErrExpiry].
func (c *Client) SetExpiry(ctx context.Context, in ConversationID, after time.Duration) error {
	if after < 0 || after > content.MaxExpiry {
		return ErrExpiry
	}
	return c.perform(ctx, in, func(u *unit, v *conversation) error {
		if v.kind == Group {
			if err := c.mayGovern(u, v); err != nil {
				return err
			}
		}
		return enqueueAction(u, v.id, laneMain, action{Op: opExpire, Seconds: uint32(after / time.Second)})
	})
}

// Leave leaves a group: the others are asked to remove this account, and the
// conversation is Closed. What is here stays readable. Its errors are
// [ErrUnknownConversation], [ErrNotAGroup] and [ErrConversationClosed].
func (c *Client) Leave(ctx context.Context, group ConversationID) error {
	var refused error
	err := c.commit(ctx, func(u *unit) error {
		v, err := c.findConversation(u, u, group)
		switch {
		case err != nil:
			refused = err
		case v.kind != Group:
			refused = ErrNotAGroup
		case v.state == Closed:
			refused = ErrConversationClosed
		}
		if refused != nil {
			if !isRefusal(refused) {
				return refused
			}
			return nil
		}
		return c.leave(u, v)
	})
	if refused != nil {
		return refused
	}
	return err
}

// leave closes a group here, and has the others told.
func (c *Client) leave(u *unit, v *conversation) error {
	if _, err := u.ExecContext(u, "DELETE FROM outbox WHERE conversation = ? AND sealed IS NULL", v.id); err != nil {
		return fmt.Errorf("leaving a group: %w", err)
	}
	if err := changeStates(u, "state = ?, reason = ? WHERE conversation = ? AND state = ? AND id NOT IN (SELECT message FROM outbox WHERE message IS NOT NULL)",
		int(Failed), "you left the group", v.id, int(Queued)); err != nil {
		return err
	}
	if v.state == Active {
		if err := addNotice(u, v, KindMembers, c.self.username(), "left the group"); err != nil {
			return err
		}
	}
	if err := setConversationState(u, v, Closed); err != nil {
		return err
	}
	g, err := currentGroup(u, u, v.id)
	if err != nil || g == nil {
		return err
	}
	return enqueueAction(u, v.id, laneUpkeep, action{Op: opLeave})
}

// govern is perform for what only an administrator of a group may do.
func (c *Client) govern(ctx context.Context, in ConversationID, do func(*unit, *conversation) error) error {
	return c.perform(ctx, in, func(u *unit, v *conversation) error {
		if v.kind != Group {
			return ErrNotAGroup
		}
		if err := c.mayGovern(u, v); err != nil {
			return err
		}
		return do(u, v)
	})
}

// mayGovern gives [ErrNotAdmin]. Where the group does not exist yet, it is ours.
func (c *Client) mayGovern(u *unit, v *conversation) error {
	g, err := currentGroup(u, u, v.id)
	if err != nil || g == nil {
		return err
	}
	d, err := descriptorOf(u, u, g.id)
	if err != nil {
		return err
	}
	members, err := listMembers(u, u, g.id)
	if err != nil {
		return err
	}
	if !d.isAdmin(c.self.username(), func(name identity.Username) bool { return hasAccount(members, name) }) {
		return ErrNotAdmin
	}
	return nil
}
