package messenger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

const (
	// patience is how long we wait for a commit that others have, before we believe
	// that it does not come.
	patience = 30 * time.Second

	// Pauses between requests to be taken in again.
	firstAsk = time.Minute
	longAsk  = 6 * time.Hour

	// maxAsked bounds how many members are asked at once.
	maxAsked = 32
	// asksBeforeNew is how often an administrator asks in vain before it begins a new
	// group for the conversation.
	asksBeforeNew = 3

	// asksBeforeNotice is how often a device asks in vain before the person is told.
	asksBeforeNotice = 5

	// helpDelay is the longest time before a member answers a request. It is random,
	// so that not all do at once.
	helpDelay = 3 * time.Second
	// helpTime is how long a restored copy waits for help before it makes the groups
	// that it may have made already.
	helpTime = 2 * time.Minute
	// helpPause is how often a device is helped at most.
	helpPause = 30 * time.Second

	// Post-compromise updates: a commit with a path at least so often. In groups of
	// more than largeGroup devices both grow with the size.
	updateMessages = 100
	updateInterval = 24 * time.Hour
	largeGroup     = 100

	// pastEpochAge is how long the secrets of a past epoch are kept at most.
	pastEpochAge = 7 * 24 * time.Hour
	// strayAge is how long an early message is kept.
	strayAge = 30 * 24 * time.Hour

	// tendInterval is how often all of this is looked after.
	tendInterval = 10 * time.Second
)

// lose gives a group up that we cannot follow, and does what brings us back: of a
// direct conversation we make a new group, of others we ask the members.
func (s *session) lose(u *unit, g *group) error {
	s.groups.forget(g.id)
	since := g.awaitedAt
	if err := s.setGroupState(u, g, groupLost); err != nil {
		return err
	}
	if since.UnixMilli() <= 0 {
		since = u.now
	}
	if _, err := u.ExecContext(u, "UPDATE groups SET awaited_at = ? WHERE id = ?", since.UnixMilli(), g.id); err != nil {
		return fmt.Errorf("losing a group: %w", err)
	}
	v, err := conversationByRow(u, u, g.conversation)
	if err != nil {
		return err
	}
	if err := tellConversation(u, v.id); err != nil {
		return err
	}
	if v.state == Closed {
		return nil
	}
	if v.kind == Direct {
		if v.state == Request {
			return nil // nothing goes out before it is accepted
		}
		return enqueueOnce(u, v.id, action{Op: opCreate, Users: []identity.Username{v.with}}, time.Time{})
	}
	return s.ask(u, g)
}

// ask queues a request to be taken in again.
func (s *session) ask(u *unit, g *group) error {
	if _, err := u.ExecContext(u, "UPDATE groups SET asked_at = ?, asked = asked + 1 WHERE id = ?", u.now.UnixMilli(), g.id); err != nil {
		return fmt.Errorf("asking to be taken in again: %w", err)
	}
	var waits bool
	if err := u.QueryRowContext(u, "SELECT EXISTS (SELECT 1 FROM outbox WHERE queue = ?)", laneAsk.queue(g.conversation)).Scan(&waits); err != nil {
		return fmt.Errorf("asking to be taken in again: %w", err)
	}
	if waits {
		return nil
	}
	return enqueue(u, entry{conversation: g.conversation, lane: laneAsk, kind: entryAsk})
}

// A request to be taken in again, in network byte order: a version, the length of the
// group id in one byte and the id, the epoch that the device is in, a time in
// milliseconds since 1970 UTC, 16 random bytes, the device's certificate after its
// length in two bytes, and the signature of the device over all before it. It holds
// nothing that the relay does not know.
const (
	askVersion  = 1
	askMaxAge   = 3 * 24 * time.Hour
	askFixed    = 1 + 1 + 8 + 8 + 16 + 2
	askMaxSize  = 4096
	signatureLn = 64
)

type askToRejoin struct {
	group       []byte
	epoch       uint64
	at          time.Time
	certificate identity.Certificate
}

func marshalAsk(s *self, groupID []byte, epoch uint64, now time.Time) []byte {
	certificate := s.record.Certificate.Marshal()
	b := make([]byte, 0, askFixed+len(groupID)+len(certificate)+signatureLn)
	b = append(b, askVersion, byte(len(groupID)))
	b = append(b, groupID...)
	b = binary.BigEndian.AppendUint64(b, epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails (crypto/rand)
	b = append(b, nonce[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(certificate)))
	b = append(b, certificate...)
	return append(b, s.deviceKey.Sign(identity.ContextRejoin, b)...)
}

var errAskMalformed = errors.New("malformed request to be taken in again")

// parseAsk reads a request and verifies its signature by the device that it names.
func parseAsk(b []byte) (askToRejoin, error) {
	var a askToRejoin
	if len(b) < askFixed+signatureLn || len(b) > askMaxSize || b[0] != askVersion {
		return a, errAskMalformed
	}
	signed, signature := b[:len(b)-signatureLn], b[len(b)-signatureLn:]
	rest := signed[2:]
	n := int(signed[1])
	if len(rest) < n+askFixed-2 {
		return a, errAskMalformed
	}
	a.group, rest = rest[:n], rest[n:]
	a.epoch = binary.BigEndian.Uint64(rest)
	at := binary.BigEndian.Uint64(rest[8:])
	if at > maxMilli {
		return a, errAskMalformed
	}
	a.at = fromMilli(int64(at))
	rest = rest[8+8+16:]
	if int(binary.BigEndian.Uint16(rest)) != len(rest)-2 {
		return a, errAskMalformed
	}
	var err error
	if a.certificate, err = identity.ParseCertificate(rest[2:]); err != nil {
		return a, fmt.Errorf("%w: %w", errAskMalformed, err)
	}
	if err := a.certificate.DeviceKey.Verify(identity.ContextRejoin, signed, signature); err != nil {
		return a, fmt.Errorf("%w: %w", errAskMalformed, err)
	}
	return a, nil
}

// composeAsk writes a request to some of the members of a lost group.
func (s *session) composeAsk(ctx context.Context, e *entry) (ready bool, err error) {
	err = s.commit(ctx, func(u *unit) error {
		lost, err := groupsIn(u, e.conversation, groupLost)
		if err != nil {
			return err
		}
		if len(lost) == 0 {
			return removeEntry(u, e.id)
		}
		g := slices.MaxFunc(lost, func(a, b *group) int { return int(int64(a.incarnation) - int64(b.incarnation)) })
		members, err := listMembers(u, u, g.id)
		if err != nil {
			return err
		}
		others := slices.DeleteFunc(members, func(m memberDevice) bool { return m.deviceID == s.self.record.Certificate.DeviceID })
		if len(others) == 0 { // a group that we made and do not know the members of
			if err := noteUnknown(u, g.groupID); err != nil {
				return err
			}
			return removeEntry(u, e.id)
		}
		mathrand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] }) //nolint:gosec // whom we ask first is no secret
		if err := talkersFirst(u, e.conversation, others); err != nil {
			return err
		}
		others = others[:min(len(others), maxAsked)]
		e.group, e.epoch, e.sealed, e.members = &g.id, g.epoch, marshalAsk(&s.self, g.groupID, g.epoch, u.now), joinIDs(devicesOf(others))
		ready = true
		return s.keep(u, e)
	})
	return ready && err == nil, err
}

// maxTalkers is how many of those who spoke last are asked before others, and
// lookBack the number of rows in which they are looked for.
const (
	maxTalkers = maxAsked / 2
	lookBack   = 200
)

// talkersFirst puts those in front who spoke last: they are likely to be there.
func talkersFirst(u *unit, conversation int64, members []memberDevice) error {
	rows, err := u.QueryContext(u, "SELECT sender FROM messages WHERE conversation = ? ORDER BY position DESC, counter DESC LIMIT ?", conversation, lookBack)
	if err != nil {
		return fmt.Errorf("looking for members: %w", err)
	}
	defer rows.Close()
	rank := make(map[identity.Username]int)
	for rows.Next() {
		var name identity.Username
		if err := rows.Scan(&name); err != nil {
			return fmt.Errorf("looking for members: %w", err)
		}
		if _, known := rank[name]; !known && name != "" && len(rank) < maxTalkers {
			rank[name] = len(rank) - maxTalkers
		}
	}
	slices.SortStableFunc(members, func(a, b memberDevice) int { return rank[a.username] - rank[b.username] })
	return rows.Err()
}

// takeAsk helps a member that cannot follow, if we can.
func (s *session) takeAsk(ctx context.Context, in incoming) error {
	a, err := parseAsk(in.payload)
	if err != nil {
		return errAsk
	}
	return s.commit(ctx, func(u *unit) error {
		if err := s.advance(u, in); err != nil {
			return err
		}
		age := u.now.Sub(a.at)
		g, err := findGroup(u, u, a.group)
		if err != nil || g == nil || g.state != groupLive || age > askMaxAge || age < -askMaxAge {
			return err
		}
		if helps, err := s.helps(u, g); err != nil || !helps {
			return err
		}
		// What was asked before, or before the leaf came, is answered; the relay delivers
		// it again.
		var since int64
		result := u.QueryRowContext(u, `
			UPDATE members SET helped_at = ?1, asked_at = ?6 WHERE grp = ?2 AND device_id = ?3 AND device_key = ?4 AND account_key = ?5
				AND since <= ?6 AND asked_at < ?6 AND helped_at < ?7 RETURNING since`,
			u.now.UnixMilli(), g.id, a.certificate.DeviceID[:], a.certificate.DeviceKey[:], a.certificate.AccountKey[:],
			a.at.UnixMilli(), u.now.Add(-helpPause).UnixMilli())
		if err := result.Scan(&since); errors.Is(err, sql.ErrNoRows) {
			return nil // no member, or helped already
		} else if err != nil {
			return fmt.Errorf("helping a member: %w", err)
		}
		renewal := action{Op: opRenew, Device: a.certificate.DeviceID[:], Since: since}
		return enqueueOnce(u, g.conversation, renewal, u.now.Add(upTo(s.tuning.helpDelay)))
	})
}

// helps says whether we commit for others in a group. One that leaves still does, but
// who asks to talk learns nothing.
func (c *Client) helps(u *unit, g *group) (bool, error) {
	v, err := conversationByRow(u, u, g.conversation)
	if err != nil {
		return false, err
	}
	return v.state == Active || (v.kind == Group && v.state == Closed), nil
}

// tend looks after everything that is due, and returns when to look again.
func (s *session) tend(ctx context.Context) (next time.Time, err error) {
	now := s.clock()
	if !s.tendAt.IsZero() && now.Before(s.tendAt) {
		return s.tendAt, nil
	}
	for _, look := range []func(context.Context) error{s.giveUp, s.askAgain, s.askUnknown, s.renewKeys, s.forgetPast} {
		if err := look(ctx); err != nil {
			return time.Time{}, err
		}
	}
	s.tendAt = now.Add(tendInterval)
	return s.tendAt, nil
}

// giveUp loses the groups that others went on with, and we wait for in vain. A
// changed key that waits for the person is a reason to wait.
func (s *session) giveUp(ctx context.Context) error {
	if !s.drained {
		return nil
	}
	late, err := s.listGroups(ctx, `WHERE state = ? AND awaited > epoch AND awaited_at <= ?
		AND NOT EXISTS (SELECT 1 FROM strays s JOIN contacts k ON k.new_key IS NOT NULL WHERE s.group_id = groups.group_id AND s.epoch <= groups.epoch)`,
		int(groupLive), s.clock().Add(-patience).UnixMilli())
	if err != nil {
		return err
	}
	for _, g := range late {
		if err := s.commit(ctx, func(u *unit) error { return s.lose(u, g) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) listGroups(ctx context.Context, where string, args ...any) ([]*group, error) {
	var all []*group
	err := s.read(ctx, selectGroups+where, args, func(scan func(...any) error) error {
		g, err := scanGroup(scan)
		all = append(all, g)
		return err
	})
	return all, err
}

// pauseAfter is how long an answer is waited for after so many requests.
func pauseAfter(asked int) time.Duration { return min(firstAsk<<min(asked, 12), longAsk) }

// askAgain repeats requests that nobody answered, with growing pauses. What asks in
// vain and may begin a new group does so.
func (s *session) askAgain(ctx context.Context) error {
	lost, err := s.listGroups(ctx, `WHERE state = ? AND EXISTS (SELECT 1 FROM conversations v WHERE v.id = conversation AND v.kind = ? AND v.state != ?)`,
		int(groupLost), int(Group), int(Closed))
	if err != nil {
		return err
	}
	for _, g := range lost {
		if g.askedAt.Add(pauseAfter(g.asked)).After(s.clock()) {
			continue
		}
		if err := s.commit(ctx, func(u *unit) error {
			if g.asked >= asksBeforeNew {
				begun, err := s.beginAnew(u, g, "", time.Time{})
				if begun || err != nil {
					return err
				}
			}
			if g.asked == asksBeforeNotice {
				if err := s.tellUnanswered(u, g); err != nil {
					return err
				}
			}
			return s.ask(u, g)
		}); err != nil {
			return err
		}
	}
	return nil
}

// tellUnanswered says that the members do not take us in again. One of them may have
// removed us while we could not hear it.
func (s *session) tellUnanswered(u *unit, g *group) error {
	v, err := conversationByRow(u, u, g.conversation)
	if err != nil || v.state != Active {
		return err
	}
	return addNotice(u, v, KindWarning, "", "nobody in the group has taken this device in again yet; if you were removed meanwhile, ask somebody there to add you")
}

// beginAnew queues a new group for a conversation whose old one nobody can go on
// with, if we were an administrator of it, with everybody but one account.
func (s *session) beginAnew(u *unit, g *group, without identity.Username, due time.Time) (begun bool, err error) {
	v, err := conversationByRow(u, u, g.conversation)
	if err != nil || v.state != Active {
		return false, err
	}
	current, err := currentGroup(u, u, v.id)
	if err != nil || current != nil {
		return false, err
	}
	d, err := descriptorOf(u, u, g.id)
	if err != nil {
		return false, err
	}
	members, err := listMembers(u, u, g.id)
	if err != nil {
		return false, err
	}
	if !d.isAdmin(s.self.username(), func(name identity.Username) bool { return hasAccount(members, name) }) {
		return false, nil
	}
	var users []identity.Username
	for _, name := range names(members) {
		if name := identity.Username(name); name != s.self.username() && name != without {
			users = append(users, name)
		}
	}
	if _, err := u.ExecContext(u, "UPDATE groups SET asked_at = ?, asked = 0 WHERE id = ?", u.now.UnixMilli(), g.id); err != nil {
		return false, fmt.Errorf("beginning anew: %w", err)
	}
	// What does not fit into one commit follows when the relay has taken the group.
	if err := enqueueOnce(u, v.id, action{Op: opCreate, Name: v.name, Users: users}, due); err != nil {
		return false, err
	}
	return true, nil
}

// renewKeys queues an update of our own keys where one is due.
func (s *session) renewKeys(ctx context.Context) error {
	active, err := s.listGroups(ctx, "WHERE state = ? AND sent > 0 AND (sent >= ? OR renewed_at <= ?)",
		int(groupLive), updateMessages, s.clock().Add(-updateInterval).UnixMilli())
	if err != nil {
		return err
	}
	for _, g := range active {
		var size int
		if err := s.store.reader.QueryRowContext(ctx, "SELECT count(*) FROM members WHERE grp = ?", g.id).Scan(&size); err != nil {
			return s.storeFailure(ctx, err)
		}
		factor := max(1, size/largeGroup)
		if g.sent < updateMessages*factor && s.clock().Sub(g.renewedAt) < updateInterval*time.Duration(factor) {
			continue
		}
		if err := s.commit(ctx, func(u *unit) error {
			return enqueueOnce(u, g.conversation, action{Op: opUpdate}, time.Time{})
		}); err != nil {
			return err
		}
	}
	return nil
}

// forgetPast deletes what is kept of epochs and groups that are over for long.
func (s *session) forgetPast(ctx context.Context) error {
	limit := s.clock().Add(-pastEpochAge).UnixMilli()
	old, err := s.listGroups(ctx, `WHERE state = ? AND EXISTS (SELECT 1 FROM epochs e WHERE e.grp = groups.id AND e.ended_at > 0 AND e.ended_at <= ?)`, int(groupLive), limit)
	if err != nil {
		return err
	}
	for _, g := range old {
		if err := s.forgetEpochs(ctx, g, limit); err != nil {
			return err
		}
	}
	replaced, err := s.listGroups(ctx, `WHERE state = ? AND changed_at <= ? AND EXISTS (
		SELECT 1 FROM groups n WHERE n.conversation = groups.conversation AND n.state = groups.state AND n.changed_at <= ?
			AND (n.incarnation > groups.incarnation OR (n.incarnation = groups.incarnation AND n.group_id < groups.group_id)))`,
		int(groupLive), limit, limit)
	if err != nil {
		return err
	}
	for _, g := range replaced {
		s.groups.forget(g.id)
		if err := s.commit(ctx, func(u *unit) error { return s.setGroupState(u, g, groupGone) }); err != nil {
			return err
		}
	}
	limit = s.clock().Add(-strayAge).UnixMilli()
	if err := s.commitIf(ctx, "SELECT EXISTS (SELECT 1 FROM strays WHERE stored_at <= ?)", limit, "DELETE FROM strays WHERE stored_at <= ?"); err != nil {
		return err
	}
	return s.commitIf(ctx, "SELECT EXISTS (SELECT 1 FROM unknown_groups WHERE seen_at <= ?)", limit, "DELETE FROM unknown_groups WHERE seen_at <= ?")
}

func (s *session) forgetEpochs(ctx context.Context, g *group, limit int64) error {
	mg, err := s.groups.load(ctx, s.store.reader, g.id)
	if err != nil {
		return s.cannotLoad(ctx, g, err)
	}
	err = s.commit(ctx, func(u *unit) error {
		var last int64
		if err := u.QueryRowContext(u, "SELECT max(epoch) FROM epochs WHERE grp = ? AND ended_at > 0 AND ended_at <= ?", g.id, limit).Scan(&last); err != nil {
			return fmt.Errorf("forgetting past epochs: %w", err)
		}
		mg.ForgetPastEpochs(uint64(last) + 1)
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
		_, err := u.ExecContext(u, "DELETE FROM epochs WHERE grp = ? AND epoch <= ?", g.id, last)
		return err
	})
	if err != nil {
		s.groups.forget(g.id)
	}
	return err
}

// commitIf runs a statement only where there is something to do: a commit costs a
// sync of the disk.
func (s *session) commitIf(ctx context.Context, condition string, arg any, statement string) error {
	var needed bool
	if err := s.store.reader.QueryRowContext(ctx, condition, arg).Scan(&needed); err != nil {
		return s.storeFailure(ctx, err)
	}
	if !needed {
		return nil
	}
	return s.commit(ctx, func(u *unit) error {
		_, err := u.ExecContext(u, statement, arg)
		return err
	})
}

// greeted looks at what the relay remembers of this device. If it knows more than we
// do, this profile is a copy that was restored: others went on from it, and its keys
// must not be used again.
func (s *session) greeted(ctx context.Context, acked uint64, lastSubmit []byte, stock uint32) error {
	copied := acked > s.cursor
	if len(lastSubmit) > 0 && !copied {
		var known bool
		err := s.store.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM submits WHERE submit_id = ?1) OR EXISTS (SELECT 1 FROM outbox WHERE submit_id = ?1 AND sealed IS NOT NULL)`,
			lastSubmit).Scan(&known)
		if err != nil {
			return s.storeFailure(ctx, err)
		}
		copied = !known
	}
	if copied {
		if err := s.restored(ctx, acked, lastSubmit); err != nil {
			return err
		}
	}
	return s.stockKeyPackages(ctx, stock, copied)
}

// restored gives up every group whose keys may have been used elsewhere.
func (s *session) restored(ctx context.Context, acked uint64, lastSubmit []byte) error {
	s.log.Warn("this profile is an older copy: every conversation is joined anew")
	live, err := s.listGroups(ctx, "WHERE state IN (?, ?)", int(groupLive), int(groupNew))
	if err != nil {
		return err
	}
	err = s.commit(ctx, func(u *unit) error {
		for _, g := range live {
			if err := s.lose(u, g); err != nil {
				return err
			}
		}
		// What was sealed then went out then, or never will: a new seal is safe, and a
		// message that repeats is dropped by its id. A change is another one now, which
		// the relay must not take for a repeat.
		if _, err := u.ExecContext(u, "UPDATE outbox SET submit_id = randomblob(?) WHERE kind != ?", api.SubmitIDSize, int(entryContent)); err != nil {
			return fmt.Errorf("renewing the ids of submissions: %w", err)
		}
		// A group that is still to be made here may be there already: its members come
		// first, and take us in.
		if _, err := u.ExecContext(u, `UPDATE outbox SET due_at = max(due_at, ?) WHERE kind = ? AND queue % 4 = ?
			AND conversation IN (SELECT id FROM conversations WHERE kind = ?)`,
			u.now.Add(helpTime).UnixMilli(), int(entryAction), int(laneMain), int(Group)); err != nil {
			return fmt.Errorf("putting changes off: %w", err)
		}
		if len(lastSubmit) > 0 {
			if err := noteSubmit(u, lastSubmit); err != nil {
				return err
			}
		}
		if _, err := u.ExecContext(u, "UPDATE profile SET cursor = max(cursor, ?), restored_at = ?", int64(acked), u.now.UnixMilli()); err != nil {
			return fmt.Errorf("moving the cursor: %w", err)
		}
		return nil
	})
	if err == nil {
		s.cursor = max(s.cursor, acked)
	}
	return err
}
