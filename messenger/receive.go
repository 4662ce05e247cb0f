package messenger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/mls"
)

const (
	maxQuarantined = 1000 // what cannot be opened; the oldest goes first
	maxFailures    = 3    // messages of one epoch that do not open before we doubt our state

	// coverDelay is the longest time before a proposal of somebody else is committed.
	// It is random, so that not all members try at once.
	coverDelay = 2 * time.Second
)

// A refusal says in one line of words why an envelope is not taken. It is shown to
// the person, so it repeats nothing that the sender chose.
type refusal string

func (r refusal) Error() string { return string(r) }

// What a person reads about envelopes that are not shown.
const (
	errNotMessage = refusal("it is not a sealed message; the server or somebody on the way made it up")
	errOtherGroup = refusal("the server delivered it in another conversation than it was sealed for")
	errOwn        = refusal("it is a message of your own that the server sent back")
	errAgain      = refusal("it came before; the server repeats it")
	errTooLate    = refusal("it comes too late to be opened: its keys were deleted")
	errCannotOpen = refusal("it cannot be opened: it was changed on the way, or sealed with other keys")
	errClaim      = refusal("it claims a name that its key does not belong to")
	errContent    = refusal("what it holds is malformed")
	errProposal   = refusal("a member asked for a change of the group that it may not ask for")
	errStrayFull  = refusal("too many messages wait for something that the server does not deliver")
	errWelcome    = refusal("it is an invitation that does not hold together")
	errOldWelcome = refusal("it is an invitation to a conversation that you are in already")
	errNotInvited = refusal("it is an invitation to a group by somebody who may not invite")
	errNoWelcome  = refusal("it is an invitation made with keys that this device does not have any more")
	errUnverified = refusal("it comes from an account whose key you have not verified, and is shown once you do")
	errTooMuch    = refusal("somebody whose request you have not accepted wrote more than is kept for you")
	errAsk        = refusal("it is a request to be taken in again that does not hold together")
)

// incoming is an envelope on its way into the store.
type incoming struct {
	kind     api.Kind
	payload  []byte
	group    []byte
	listHash []byte
	sequence uint64 // 0 for what is taken up again
	stray    int64  // the row that it is taken up from, of the strays
	held     int64  // or of the held
}

// receive takes one envelope in. When it returns nil, everything about it is on
// disk and the relay may forget it.
func (s *session) receive(ctx context.Context, in incoming) error {
	s.log.Debug("an envelope came", "sequence", in.sequence, "kind", in.kind, "cursor", s.cursor)
	if in.sequence <= s.cursor {
		return nil // it came before this line
	}
	if err := s.takeOrPutAside(ctx, in); err != nil {
		return err
	}
	s.cursor = in.sequence
	return nil
}

func (s *session) takeOrPutAside(ctx context.Context, in incoming) error {
	err := s.takeIn(ctx, in)
	var why refusal
	if !errors.As(err, &why) {
		return err
	}
	return s.commit(ctx, func(u *unit) error {
		if err := putAside(u, in.payload, "", why); err != nil {
			return err
		}
		if why == errNotInvited {
			if err := noteUnwanted(u, in.group); err != nil {
				return err
			}
		}
		return s.advance(u, in)
	})
}

// advance moves the cursor past an envelope, in the transaction of its effects.
func (c *Client) advance(u *unit, in incoming) error {
	if in.stray != 0 {
		if _, err := u.ExecContext(u, "DELETE FROM strays WHERE id = ?", in.stray); err != nil {
			return fmt.Errorf("taking up an early message: %w", err)
		}
	}
	if in.held != 0 {
		if _, err := u.ExecContext(u, "DELETE FROM held WHERE id = ?", in.held); err != nil {
			return fmt.Errorf("taking up an invitation: %w", err)
		}
	}
	if in.sequence == 0 {
		return nil
	}
	if _, err := u.ExecContext(u, "UPDATE profile SET cursor = max(cursor, ?)", int64(in.sequence)); err != nil {
		return fmt.Errorf("moving the cursor: %w", err)
	}
	return nil
}

// takeIn finds out what an envelope is. It returns a refusal for what is put aside.
func (s *session) takeIn(ctx context.Context, in incoming) error {
	switch in.kind {
	case api.Kind_KIND_WELCOME:
		return s.takeWelcome(ctx, in)
	case api.Kind_KIND_REQUEST:
		return s.takeAsk(ctx, in)
	}
	m, err := mls.ParseMessage(in.payload)
	if err != nil || m.PrivateMessage == nil {
		return errNotMessage
	}
	p := m.PrivateMessage
	if string(p.GroupID()) != string(in.group) {
		return errOtherGroup
	}
	g, err := findGroup(ctx, s.store.reader, p.GroupID())
	if err != nil {
		return s.storeFailure(ctx, err)
	}
	switch {
	case g == nil:
		return s.commit(ctx, func(u *unit) error {
			if err := noteUnknown(u, in.group); err != nil {
				return err
			}
			return s.stray(u, in, p.Epoch())
		})
	case g.state == groupNew:
		return s.commit(ctx, func(u *unit) error { return s.stray(u, in, p.Epoch()) })
	case g.state == groupLost, g.state == groupGone:
		// Nobody expects us to read it: what was missed is said when we are back.
		return s.commit(ctx, func(u *unit) error { return s.advance(u, in) })
	case p.Epoch() > g.epoch:
		return s.commit(ctx, func(u *unit) error {
			if err := await(u, g, p.Epoch()); err != nil {
				return err
			}
			return s.stray(u, in, p.Epoch())
		})
	}
	return s.process(ctx, in, g, p)
}

// process opens a message of an epoch that has begun here.
func (s *session) process(ctx context.Context, in incoming, g *group, p *mls.PrivateMessage) error {
	mg, err := s.groups.load(ctx, s.store.reader, g.id)
	if err != nil {
		return s.cannotLoad(ctx, g, err)
	}
	processed, err := mg.Process(in.payload)
	if err != nil {
		s.log.Info("a message was refused", "error", err)
		return s.notProcessed(ctx, g, p, err)
	}
	switch result := processed.(type) {
	case *mls.ApplicationMessage:
		err = s.takeApplication(ctx, in, g, mg, result)
	case *mls.ReceivedProposal:
		err = s.takeProposed(ctx, in, g, mg, result)
	case *mls.StagedCommit:
		err = s.takeCommit(ctx, in, g, mg, result)
	}
	if err != nil {
		s.groups.forget(g.id)
	}
	return err
}

// notProcessed says why, and doubts our own state where that is the likely reason.
func (s *session) notProcessed(ctx context.Context, g *group, p *mls.PrivateMessage, cause error) error {
	var epoch *mls.EpochError
	why := errCannotOpen
	switch {
	case errors.Is(cause, mls.ErrOwnMessage):
		why = errOwn
	case errors.Is(cause, mls.ErrGenerationUsed):
		why = errAgain
	case errors.As(cause, &epoch):
		why = errTooLate
	}
	if why != errCannotOpen || p.Epoch() != g.epoch {
		return why
	}
	// A commit that the relay took and we cannot follow leaves us behind for good.
	// A message alone may just be damaged.
	lost := p.ContentType() == mls.ContentTypeCommit
	err := s.commit(ctx, func(u *unit) error {
		if _, err := u.ExecContext(u, "UPDATE groups SET failures = failures + 1 WHERE id = ?", g.id); err != nil {
			return fmt.Errorf("counting failures: %w", err)
		}
		if lost || g.failures+1 >= maxFailures {
			return s.lose(u, g)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return why
}

// takeApplication stores what a member said.
func (s *session) takeApplication(ctx context.Context, in incoming, g *group, mg *mls.Group, m *mls.ApplicationMessage) error {
	sender, err := memberDeviceOf(m.Sender)
	if err != nil {
		return errClaim
	}
	counter, sentAt, body, err := parseStamp(m.Data)
	if err != nil {
		return s.openedButRefused(ctx, in, g, mg, sender, errContent)
	}
	known, err := s.vouch(ctx, sender)
	if err != nil {
		var why refusal
		if errors.As(err, &why) {
			return s.openedButRefused(ctx, in, g, mg, sender, why)
		}
		return err
	}
	return s.commit(ctx, func(u *unit) error {
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
		v, err := conversationByRow(u, u, g.conversation)
		if err != nil {
			return err
		}
		if err := s.checkList(u, v, g, m.Epoch, in.listHash); err != nil {
			return err
		}
		said := said{sender: sender, contact: known, counter: counter, sentAt: sentAt, body: body}
		err = s.show(u, v, said)
		var why refusal
		if errors.As(err, &why) {
			err = putAside(u, in.payload, sender.username, why)
		}
		if err != nil {
			return err
		}
		return s.advance(u, in)
	})
}

// openedButRefused puts a message aside that opened, whose key is used up by that.
func (s *session) openedButRefused(ctx context.Context, in incoming, g *group, mg *mls.Group, sender memberDevice, why refusal) error {
	return s.commit(ctx, func(u *unit) error {
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
		if err := putAside(u, in.payload, sender.username, why); err != nil {
			return err
		}
		return s.advance(u, in)
	})
}

// vouch returns the contact that a member's account is, nil for our own. A name
// that is new is looked up: an introduction by somebody else pins nobody.
func (s *session) vouch(ctx context.Context, m memberDevice) (*contact, error) {
	if m.accountKey == s.self.accountKey() {
		return nil, nil
	}
	known, err := s.knownContact(ctx, m.username)
	if err != nil {
		return nil, err
	}
	if known == nil {
		l, err := s.lookupClaim(ctx, m)
		if err != nil {
			return nil, err
		}
		if known, err = s.learn(ctx, l, TrustTOFU); err != nil {
			return nil, err
		}
	}
	if known.AccountKey != m.accountKey {
		return nil, errClaim
	}
	return known, nil
}

// lookupClaim asks the directory about the name that a member bears. It refuses the
// claim if the name has another key there, or none.
func (s *session) lookupClaim(ctx context.Context, m memberDevice) (listing, error) {
	l, err := s.lookup(ctx, m.username)
	switch {
	case errors.Is(err, ErrUnknownRecipient), errors.Is(err, ErrBadDirectory), errors.Is(err, ErrRefused):
		return listing{}, errClaim
	case err != nil:
		return listing{}, fmt.Errorf("asking who a member is: %w", err)
	case l.accountKey != m.accountKey:
		return listing{}, errClaim
	}
	return l, nil
}

// checkList compares the delivery list that the relay says it used with the members.
func (c *Client) checkList(u *unit, v *conversation, g *group, epoch uint64, listHash []byte) error {
	var (
		want    []byte
		alarmed bool
	)
	err := u.QueryRowContext(u, "SELECT list_hash, alarmed FROM epochs WHERE grp = ? AND epoch = ?", g.id, int64(epoch)).Scan(&want, &alarmed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // older than what is kept
	}
	if err != nil {
		return fmt.Errorf("reading the delivery list: %w", err)
	}
	if string(want) == string(listHash) || alarmed {
		return nil
	}
	if _, err := u.ExecContext(u, "UPDATE epochs SET alarmed = 1 WHERE grp = ? AND epoch = ?", g.id, int64(epoch)); err != nil {
		return fmt.Errorf("noting a false delivery list: %w", err)
	}
	return addNotice(u, v, KindWarning, "", noticeList)
}

const noticeList = "the server delivers to other devices than those that are members: somebody may be left out, or may collect what he cannot read"

// Bounds of the strays of groups that this device is in, and of all others: anybody
// can make a group up.
const (
	maxStrays, maxStrayBytes               = 2000, 256 << 20
	maxUnknownStrays, maxUnknownStrayBytes = 500, 16 << 20
)

// stray keeps an envelope whose epoch, or group, has not begun here.
func (c *Client) stray(u *unit, in incoming, epoch uint64) error {
	var (
		known, unwanted bool
		waiting, size   int
	)
	if err := u.QueryRowContext(u, "SELECT EXISTS (SELECT 1 FROM groups WHERE group_id = ?1), EXISTS (SELECT 1 FROM unknown_groups WHERE group_id = ?1 AND unwanted)",
		in.group).Scan(&known, &unwanted); err != nil {
		return fmt.Errorf("looking for the group of a message: %w", err)
	}
	if unwanted {
		return c.advance(u, in)
	}
	most, mostBytes := maxStrays, maxStrayBytes
	if !known {
		most, mostBytes = maxUnknownStrays, maxUnknownStrayBytes
	}
	if err := u.QueryRowContext(u, `SELECT count(*), coalesce(sum(length(payload)), 0) FROM strays s
		WHERE EXISTS (SELECT 1 FROM groups g WHERE g.group_id = s.group_id) = ?`, known).Scan(&waiting, &size); err != nil {
		return fmt.Errorf("counting what waits: %w", err)
	}
	if waiting >= most || size+len(in.payload) > mostBytes {
		if err := putAside(u, in.payload, "", errStrayFull); err != nil {
			return err
		}
		return c.advance(u, in)
	}
	_, err := u.ExecContext(u, "INSERT INTO strays (group_id, epoch, kind, payload, list_hash, stored_at) VALUES (?, ?, ?, ?, ?, ?)",
		in.group, int64(min(epoch, maxCounter)), int(in.kind), in.payload, nonNil(in.listHash), u.now.UnixMilli())
	if err != nil {
		return fmt.Errorf("keeping an early message: %w", err)
	}
	return c.advance(u, in)
}

// takeStrays takes up again what waited for an epoch that has begun meanwhile. It
// says whether there was something. While a changed key waits for the person, what
// it holds up stays.
func (s *session) takeStrays(ctx context.Context) (some bool, err error) {
	var in incoming
	err = s.store.reader.QueryRowContext(ctx, `
		SELECT s.id, s.kind, s.payload, s.list_hash, s.group_id FROM strays s JOIN groups g ON g.group_id = s.group_id
		WHERE s.epoch <= g.epoch AND g.state != ?
			AND NOT (g.awaited > g.epoch AND EXISTS (SELECT 1 FROM contacts k WHERE k.new_key IS NOT NULL))
		ORDER BY s.epoch, s.id LIMIT 1`, int(groupNew)).Scan(&in.stray, &in.kind, &in.payload, &in.listHash, &in.group)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, s.storeFailure(ctx, err)
	}
	return true, s.takeOrPutAside(ctx, in)
}

// putAside keeps a note of an envelope that is not shown. Each stands there once,
// however often the relay repeats it.
func putAside(u *unit, payload []byte, from identity.Username, why refusal) error {
	hash := sha256.Sum256(payload)
	var id int64
	err := u.QueryRowContext(u, `
		INSERT INTO quarantine (hash, size, reason, username, received_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING RETURNING id`,
		hash[:], len(payload), string(why), string(from), u.now.UnixMilli()).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("putting an envelope aside: %w", err)
	}
	entry, err := scanQuarantined(u.QueryRowContext(u, selectQuarantine+"WHERE id = ?", id).Scan)
	if err != nil {
		return fmt.Errorf("putting an envelope aside: %w", err)
	}
	u.tell(EnvelopeQuarantined{Quarantined: entry})
	_, err = u.ExecContext(u, "DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET ?)", maxQuarantined)
	if err != nil {
		return fmt.Errorf("bounding what is put aside: %w", err)
	}
	return nil
}
