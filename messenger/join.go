package messenger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/mls"
)

// takeWelcome makes us a member of a group that somebody added us to.
func (s *session) takeWelcome(ctx context.Context, in incoming) error {
	keyPackages, err := s.keyPackagesFor(ctx, in.payload)
	if err != nil {
		return err
	}
	mg, used, err := s.groups.client.Join(in.payload, keyPackages, s.self.identity().Signer, mls.JoinOptions{})
	if err != nil {
		s.log.Info("a Welcome was refused", "error", err)
		if len(keyPackages) == 0 {
			return errNoWelcome
		}
		return errWelcome
	}
	if mg.CipherSuite() != s.tuning.suite || string(mg.ID()) != string(in.group) {
		return errWelcome
	}
	w, err := s.readInvitation(mg)
	if err != nil {
		s.log.Info("a Welcome was refused", "error", err)
		return errWelcome
	}
	held, err := s.holdWelcome(ctx, in, w)
	if held || err != nil {
		return err
	}
	if _, err := s.vouch(ctx, w.inviter); err != nil {
		return err
	}
	var joined int64
	err = s.commit(ctx, func(u *unit) error {
		var err error
		if joined, err = s.join(u, in, mg, w); err != nil {
			return err
		}
		if err := useKeyPackage(u, used); err != nil {
			return err
		}
		return s.advance(u, in)
	})
	if err == nil && joined != 0 {
		s.groups.open[joined] = mg
	}
	return err
}

// maxAhead is how far in the future a group may have been made: clocks differ, and
// groups that are made within one second are numbered on.
const maxAhead = 24 * time.Hour

// An invitation is what a Welcome says.
type invitation struct {
	descriptor   *descriptor
	conversation ConversationID
	roster       []memberDevice
	inviter      memberDevice
	others       []memberDevice // of other accounts than ours
}

func (s *session) readInvitation(mg *mls.Group) (*invitation, error) {
	w := new(invitation)
	var err error
	if w.descriptor, err = findDescriptor(mg.Extensions()); err != nil {
		return nil, err
	}
	if made := time.Unix(int64(w.descriptor.Incarnation), 0); made.After(s.clock().Add(maxAhead)) {
		return nil, errors.New("a group from the future, which no later one could take the place of")
	}
	w.conversation = ConversationID(w.descriptor.Conversation)
	for _, m := range mg.Members() {
		device, err := memberDeviceOf(m)
		if err != nil {
			return nil, err
		}
		w.roster = append(w.roster, device)
	}
	if err := checkRoster(w.roster, w.descriptor); err != nil {
		return nil, err
	}
	inviter, known := mg.Inviter()
	if !known {
		return nil, errors.New("nobody signed the invitation")
	}
	if w.inviter, err = memberDeviceOf(inviter); err != nil {
		return nil, err
	}
	w.others = slices.DeleteFunc(slices.Clone(w.roster), func(m memberDevice) bool { return m.accountKey == s.self.accountKey() })
	if w.descriptor.Kind == Direct {
		if len(w.others) == 0 || w.conversation != directIDOf(s.self.username(), w.others[0].username) {
			return nil, errors.New("a direct conversation of other people")
		}
	}
	return w, nil
}

// holdWelcome keeps an invitation back in which a known name has another key than
// the pinned one, or, under [TrustStrict], whose sender was never verified.
func (s *session) holdWelcome(ctx context.Context, in incoming, w *invitation) (held bool, err error) {
	for _, m := range w.others {
		known, err := s.knownContact(ctx, m.username)
		if err != nil {
			return false, err
		}
		strict := known == nil && s.self.trust == TrustStrict && m.deviceID == w.inviter.deviceID
		if !strict && (known == nil || known.AccountKey == m.accountKey) {
			continue
		}
		if !strict {
			waits, err := s.changedKey(ctx, m)
			if err != nil {
				return false, err
			}
			if !waits {
				continue
			}
		}
		return true, s.commit(ctx, func(u *unit) error {
			if err := hold(u, m, in); err != nil {
				return err
			}
			if strict {
				if err := putAside(u, in.payload, m.username, errUnverified); err != nil {
					return err
				}
			}
			return s.advance(u, in)
		})
	}
	return false, nil
}

// changedKey applies the trust policy to a member that has another key than the one
// pinned for its name, and says whether a person has to decide. Who is introduced with
// a key that the directory does not have for the name is somebody else: that refuses
// the invitation, and must not stop what goes to the one who has the name.
func (s *session) changedKey(ctx context.Context, m memberDevice) (waits bool, err error) {
	l, err := s.lookupClaim(ctx, m)
	if err != nil {
		return false, err
	}
	if _, err = s.learn(ctx, l, s.self.trust); isRefusal(err) {
		return true, nil
	}
	return false, err
}

// maxHeld bounds the invitations that wait for a decision about a key.
const maxHeld = 100

func hold(u *unit, m memberDevice, in incoming) error {
	if _, err := u.ExecContext(u, "INSERT INTO held (username, account_key, group_id, payload, list_hash) VALUES (?, ?, ?, ?, ?)",
		string(m.username), m.accountKey[:], in.group, in.payload, nonNil(in.listHash)); err != nil {
		return fmt.Errorf("holding an invitation: %w", err)
	}
	if _, err := u.ExecContext(u, "DELETE FROM held WHERE id <= (SELECT id FROM held ORDER BY id DESC LIMIT 1 OFFSET ?)", maxHeld); err != nil {
		return fmt.Errorf("holding an invitation: %w", err)
	}
	return nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// releaseHeld has invitations taken up again that a decision lets through. They are
// not put aside any more.
func releaseHeld(u *unit, known *contact) error {
	rows, err := u.QueryContext(u, "UPDATE held SET released = 1 WHERE username = ? AND account_key = ? RETURNING payload", string(known.Username), known.AccountKey[:])
	if err != nil {
		return fmt.Errorf("releasing an invitation: %w", err)
	}
	defer rows.Close()
	var hashes [][sha256.Size]byte
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			return fmt.Errorf("releasing an invitation: %w", err)
		}
		hashes = append(hashes, sha256.Sum256(payload))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("releasing an invitation: %w", err)
	}
	for _, hash := range hashes {
		if _, err := u.ExecContext(u, "DELETE FROM quarantine WHERE hash = ?", hash[:]); err != nil {
			return fmt.Errorf("releasing an invitation: %w", err)
		}
	}
	u.wakes = true
	return nil
}

// takeHeld takes up again an invitation that was released. It says whether there was
// one.
func (s *session) takeHeld(ctx context.Context) (some bool, err error) {
	in := incoming{kind: api.Kind_KIND_WELCOME}
	err = s.store.reader.QueryRowContext(ctx, "SELECT id, group_id, payload, list_hash FROM held WHERE released ORDER BY id LIMIT 1").
		Scan(&in.held, &in.group, &in.payload, &in.listHash)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, s.storeFailure(ctx, err)
	}
	return true, s.takeOrPutAside(ctx, in)
}

// join writes down a group that we were added to, and what it means for its
// conversation. It returns 0 where the invitation is dropped.
func (s *session) join(u *unit, in incoming, mg *mls.Group, w *invitation) (int64, error) {
	inviter, err := findContact(u, u, w.inviter.username)
	if err != nil {
		return 0, err
	}
	v, err := s.findConversation(u, u, w.conversation)
	if err != nil && !errors.Is(err, ErrUnknownConversation) {
		return 0, err
	}
	ours := w.inviter.accountKey == s.self.accountKey()
	// A block that is taken back must not find that the other has moved on to a group
	// that was refused: the conversation is kept, and nothing of it is shown.
	kept := v != nil && v.kind == Direct
	if !ours && (inviter == nil || (inviter.Blocked && !kept)) {
		return 0, noteUnwanted(u, mg.ID())
	}
	before, err := findGroup(u, u, mg.ID())
	if err != nil {
		return 0, err
	}
	unknown, err := takeUnknown(u, mg.ID())
	if err != nil {
		return 0, err
	}
	asked := unknown != nil && unknown.asked > 0
	if err := s.mayJoin(u, v, before, asked, mg, w); err != nil {
		return 0, err
	}
	added := before == nil || (v != nil && v.state == Closed) // and not only taken in again
	// Whoever helped after we asked does not vouch for the group.
	trusted := ours || (inviter.Accepted && (!asked || w.descriptor.Kind == Direct))
	if v == nil {
		if !trusted {
			full, err := tooManyRequests(u)
			if err != nil {
				return 0, err
			}
			if full {
				return 0, noteUnwanted(u, mg.ID())
			}
		}
		if v, err = s.beginInvited(u, w, trusted); err != nil {
			return 0, err
		}
	} else if v.state == Closed && before != nil && before.state == groupLost {
		// We left while we could not say so.
		if err := enqueueOnce(u, v.id, action{Op: opLeave}, time.Time{}); err != nil {
			return 0, err
		}
	} else if err := s.resume(u, v, w, trusted); err != nil {
		return 0, err
	}
	lost, err := groupsIn(u, v.id, groupLost)
	if err != nil {
		return 0, err
	}
	if err := s.outbid(u, v, mg, w); err != nil {
		return 0, err
	}
	g := &group{conversation: v.id, groupID: mg.ID(), incarnation: w.descriptor.Incarnation, state: groupLive, epoch: mg.Epoch()}
	if before != nil {
		if err := s.dropGroup(u, before); err != nil {
			return 0, err
		}
	}
	if err := s.addGroup(u, g, w.descriptor); err != nil {
		return 0, err
	}
	if err := keepMembers(u, g.id, w.roster); err != nil {
		return 0, err
	}
	if err := s.beginEpoch(u, g, g.epoch, devicesOf(w.roster)); err != nil {
		return 0, err
	}
	if err := saveGroup(u, g.id, mg); err != nil {
		return 0, err
	}
	if err := s.checkList(u, v, g, g.epoch, in.listHash); err != nil {
		return 0, err
	}
	var missed time.Time
	if asked {
		missed = unknown.seenAt
	}
	if len(lost) > 0 && lost[0].awaitedAt.UnixMilli() > 0 {
		missed = lost[0].awaitedAt
	}
	if err := s.afterJoining(u, v, lost, missed); err != nil {
		return 0, err
	}
	return g.id, s.tellJoined(u, v, w, added)
}

// outbid deals with an invitation to a direct conversation whose group loses against
// the one that we write to. The other may not have ours: it is a copy that was
// restored, or both began at once. A third group, which wins against both, brings us
// together in any case.
func (s *session) outbid(u *unit, v *conversation, mg *mls.Group, w *invitation) error {
	if v.kind != Direct || v.state != Active {
		return nil
	}
	current, err := currentGroup(u, u, v.id)
	if err != nil || current == nil {
		return err
	}
	ours, theirs := current.incarnation, w.descriptor.Incarnation
	if ours < theirs || (ours == theirs && string(current.groupID) > string(mg.ID())) {
		return nil
	}
	return enqueueOnce(u, v.id, action{Op: opCreate, Users: []identity.Username{v.with}, Over: ours}, time.Time{})
}

// mayJoin refuses an invitation to a group that we are in, or by somebody who may
// not invite. Who was asked to take us in again may.
func (s *session) mayJoin(u *unit, v *conversation, before *group, asked bool, mg *mls.Group, w *invitation) error {
	if before != nil && (before.state == groupLive || before.state == groupNew || mg.Epoch() <= before.epoch) {
		return errOldWelcome
	}
	if w.descriptor.Kind == Direct {
		if v != nil && v.kind != Direct {
			return errNotInvited
		}
		return nil
	}
	if v != nil && v.kind != Group {
		return errNotInvited
	}
	inRoster := func(name identity.Username) bool { return hasAccount(w.roster, name) }
	if before == nil && !asked && !w.descriptor.isAdmin(w.inviter.username, inRoster) {
		return errNotInvited
	}
	if v == nil || before != nil {
		return nil
	}
	// Another MLS group for a conversation that we know: its administrators may
	// begin one, where the old one cannot go on.
	last, d, err := newestGroup(u, u, v.id)
	if err != nil || last == nil {
		return err
	}
	members, err := listMembers(u, u, last.id)
	if err != nil {
		return err
	}
	isMember := slices.ContainsFunc(members, func(m memberDevice) bool {
		return m.username == w.inviter.username && m.accountKey == w.inviter.accountKey
	})
	mayBegin := isMember && d.isAdmin(w.inviter.username, func(name identity.Username) bool { return hasAccount(members, name) })
	if w.descriptor.Incarnation < last.incarnation || !mayBegin {
		return errNotInvited
	}
	return nil
}

func tooManyRequests(u *unit) (bool, error) {
	var waiting int
	if err := u.QueryRowContext(u, "SELECT count(*) FROM conversations WHERE state = ?", int(Request)).Scan(&waiting); err != nil {
		return false, fmt.Errorf("counting requests: %w", err)
	}
	return waiting >= maxRequests, nil
}

// beginInvited makes the conversation that somebody invited us to.
func (s *session) beginInvited(u *unit, w *invitation, trusted bool) (*conversation, error) {
	v := &conversation{
		publicID: w.conversation, kind: w.descriptor.Kind, state: Active, inviter: w.inviter.username,
		name: w.descriptor.Name, expiry: int64(w.descriptor.Expiry),
	}
	if !trusted {
		v.state = Request
	}
	if v.kind == Direct {
		v.with = w.others[0].username
	}
	if err := s.addConversation(u, v); err != nil {
		return nil, err
	}
	if v.state == Request {
		return v, tellRequest(u, v)
	}
	return v, nil
}

func tellRequest(u *unit, v *conversation) error {
	c, err := scanConversation(u.QueryRowContext(u, selectConversations+"WHERE v.id = ?", v.id).Scan)
	if err != nil {
		return fmt.Errorf("reading a conversation: %w", err)
	}
	u.tell(RequestReceived{Conversation: c, From: v.inviter})
	return nil
}

// resume opens a conversation again that was closed.
func (s *session) resume(u *unit, v *conversation, w *invitation, trusted bool) error {
	if int64(w.descriptor.Expiry) != v.expiry || w.descriptor.Name != v.name {
		if _, err := u.ExecContext(u, "UPDATE conversations SET name = ?, expiry = ? WHERE id = ?", w.descriptor.Name, w.descriptor.Expiry, v.id); err != nil {
			return fmt.Errorf("changing a conversation: %w", err)
		}
		v.name, v.expiry = w.descriptor.Name, int64(w.descriptor.Expiry)
	}
	if v.state != Closed {
		return nil
	}
	if v.kind == Direct && !trusted {
		return nil // a request again with the first message
	}
	if trusted {
		return setConversationState(u, v, Active)
	}
	if _, err := u.ExecContext(u, "UPDATE conversations SET inviter = ? WHERE id = ?", string(w.inviter.username), v.id); err != nil {
		return fmt.Errorf("changing a conversation: %w", err)
	}
	v.inviter = w.inviter.username
	if err := setConversationState(u, v, Request); err != nil {
		return err
	}
	return tellRequest(u, v)
}

// afterJoining drops what the new group takes the place of, and says what may be
// missing if something was missed from a time on.
func (s *session) afterJoining(u *unit, v *conversation, lost []*group, missed time.Time) error {
	for _, old := range lost {
		if err := s.setGroupState(u, old, groupGone); err != nil {
			return err
		}
		s.groups.forget(old.id)
	}
	// Nobody has to ask any more.
	if _, err := u.ExecContext(u, "DELETE FROM outbox WHERE queue = ?", laneAsk.queue(v.id)); err != nil {
		return fmt.Errorf("clearing the outbox: %w", err)
	}
	// What was said meanwhile cannot be had, and who begins a new group may count anew.
	if _, err := u.ExecContext(u, "DELETE FROM counters WHERE conversation = ?", v.id); err != nil {
		return fmt.Errorf("forgetting counters: %w", err)
	}
	if missed.IsZero() || v.state != Active {
		return nil
	}
	return addNotice(u, v, KindWarning, "", missedNotice(missed, u.now))
}

func missedNotice(since, now time.Time) string {
	return fmt.Sprintf("this device could not follow the conversation for a while, and is back; messages sent between %s and %s may be missing here",
		since.Format("2006-01-02 15:04 MST"), now.Format("2006-01-02 15:04 MST"))
}

func groupsIn(u *unit, conversation int64, state groupState) ([]*group, error) {
	rows, err := u.QueryContext(u, selectGroups+"WHERE conversation = ? AND state = ?", conversation, int(state))
	if err != nil {
		return nil, fmt.Errorf("reading groups: %w", err)
	}
	defer rows.Close()
	var all []*group
	for rows.Next() {
		g, err := scanGroup(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, rows.Err()
}

func (s *session) tellJoined(u *unit, v *conversation, w *invitation, added bool) error {
	if v.kind == Group && v.state != Closed && added {
		return addNotice(u, v, KindMembers, w.inviter.username, "added you")
	}
	return tellConversation(u, v.id)
}
