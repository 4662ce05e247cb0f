package messenger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/mls"
)

// Pauses before a refused submission is tried again.
const (
	shortRetry = time.Second
	longRetry  = time.Hour
)

// maxFlying bounds the payloads that wait for an answer, in bytes; one passes
// even if it is larger. So much fits into the windows of a stream, so that Send
// never waits for the relay while the relay waits for what it sent to be read.
const maxFlying = 64 << 10

// flight is a submit that waits for its answer.
type flight struct {
	submitID []byte
	size     int   // bytes of payload
	group    int64 // 0 for none
	commit   bool
}

// The frame around content inside of an MLS message, in network byte order: a
// version, a counter of 8 bytes and a time of 8 bytes in milliseconds since 1970 UTC.
// The counter numbers what a device says in a conversation, from 1, so that a missing
// message is noticed; 0 is not counted.
const (
	stampVersion = 1
	stampSize    = 1 + 8 + 8
)

func stamp(counter uint64, sentAt int64, body []byte) []byte {
	b := make([]byte, 0, stampSize+len(body))
	b = append(b, stampVersion)
	b = binary.BigEndian.AppendUint64(b, counter)
	b = binary.BigEndian.AppendUint64(b, uint64(sentAt))
	return append(b, body...)
}

var errStamp = errors.New("malformed frame around a message")

func parseStamp(b []byte) (counter uint64, sentAt int64, body []byte, err error) {
	if len(b) < stampSize || b[0] != stampVersion {
		return 0, 0, nil, errStamp
	}
	counter, at := binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	if counter > maxCounter || at > maxMilli {
		return 0, 0, nil, errStamp
	}
	return counter, int64(at), b[stampSize:], nil
}

const (
	maxCounter = 1 << 53
	maxMilli   = 1 << 47 // some 4,000 years
)

// flush submits what may go out: one entry of each lane at a time, so that a
// refusal of one never lets a later one pass it. It returns when to look again, zero
// for no time of its own.
func (s *session) flush(ctx context.Context) (next time.Time, err error) {
	heads, err := s.heads(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range heads {
		key := e.lane.queue(e.conversation)
		if _, flies := s.flying[key]; flies {
			continue
		}
		if e.due.After(s.clock()) {
			next = earlier(next, e.due)
			continue
		}
		if s.load > 0 && s.load+len(e.body) > maxFlying {
			return next, nil // the answers make room
		}
		submit, f, err := s.prepare(ctx, &e)
		if err != nil {
			return time.Time{}, err
		}
		if submit == nil {
			continue
		}
		s.log.Debug("an entry is submitted", "id", e.id, "lane", e.lane, "kind", e.kind, "epoch", e.epoch, "group", f.group)
		if err := s.stream.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: submit}}); err != nil {
			return time.Time{}, s.sendFailed(ctx)
		}
		s.flying[key] = f
		s.load += f.size
	}
	return next, nil
}

// earlier returns the earlier of two times of which zero means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// prepare seals an entry if that has not happened, and returns what to submit; nil
// if its time has not come, or it turned out that there is nothing to do.
func (s *session) prepare(ctx context.Context, e *entry) (*api.Submit, flight, error) {
	if e.sealed == nil {
		v, err := conversationByRow(ctx, s.store.reader, e.conversation)
		if err != nil {
			return nil, flight{}, s.storeFailure(ctx, err)
		}
		var ready bool
		switch e.kind {
		case entryContent, entryReceipt:
			ready, err = s.sealContent(ctx, e, v)
		case entryAction:
			ready, err = s.stageAction(ctx, e, v)
		case entryAsk:
			ready, err = s.composeAsk(ctx, e)
		default:
			err = fmt.Errorf("an entry of kind %d: %w", e.kind, ErrDamaged)
		}
		if err != nil || !ready {
			return nil, flight{}, err
		}
	}
	g, err := groupByRow(ctx, s.store.reader, *e.group)
	if err != nil || g == nil {
		return nil, flight{}, s.storeFailure(ctx, errors.Join(err, ErrDamaged))
	}
	submit := &api.Submit{Id: e.submitID, Payload: e.sealed}
	f := flight{submitID: e.submitID, size: len(e.sealed) + len(e.welcome), group: g.id}
	switch e.kind {
	case entryAsk:
		submit.Kind, submit.Recipients = api.Kind_KIND_REQUEST, deviceIDs(e.members)
	case entryAction:
		submit.Kind, submit.Group = api.Kind_KIND_HANDSHAKE, &api.GroupEpoch{Id: g.groupID, Epoch: e.epoch}
		if e.members != nil {
			f.commit = true
			submit.Commit = &api.Commit{Members: deviceIDs(e.members), Welcome: e.welcome, Welcomed: deviceIDs(e.welcomed)}
		}
	default:
		submit.Kind, submit.Group = api.Kind_KIND_APPLICATION, &api.GroupEpoch{Id: g.groupID, Epoch: e.epoch}
	}
	return submit, f, nil
}

// committing says whether a commit of ours waits for the relay's decision.
func (s *session) committing(group int64) bool {
	for _, f := range s.flying {
		if f.commit && f.group == group {
			return true
		}
	}
	return false
}

// target returns the group that an entry can be sealed for now, nil if there is
// none or it cannot be used yet.
func (s *session) target(ctx context.Context, e *entry, v *conversation) (*group, error) {
	if err := stopped(ctx, s.store.reader, v); err != nil {
		if isRefusal(err) {
			return nil, nil // until the person decides
		}
		return nil, s.storeFailure(ctx, err)
	}
	if v.kind == Direct {
		ready, err := s.refresh(ctx, v.with)
		if err != nil || !ready {
			return nil, err
		}
	}
	g, err := currentGroup(ctx, s.store.reader, v.id)
	if err != nil {
		return nil, s.storeFailure(ctx, err)
	}
	if g == nil {
		return nil, s.withoutGroup(ctx, e, v)
	}
	if g.awaited > g.epoch || s.committing(g.id) {
		return nil, nil
	}
	return g, nil
}

// withoutGroup deals with what is to be said in a conversation that has no group.
func (s *session) withoutGroup(ctx context.Context, e *entry, v *conversation) error {
	switch {
	case e.kind == entryReceipt, e.lane == laneUpkeep, v.state == Closed && e.message == nil:
		// It was for a group that is no more.
		return s.commit(ctx, func(u *unit) error { return removeEntry(u, e.id) })
	case v.state == Closed:
		return s.commit(ctx, func(u *unit) error { return settle(u, e, "you are not in this conversation any more") })
	case v.kind == Direct:
		return s.commit(ctx, func(u *unit) error {
			return enqueueOnce(u, v.id, action{Op: opCreate, Users: []identity.Username{v.with}}, time.Time{})
		})
	}
	return nil // it is being made, or we are being taken in again
}

// sealContent seals a message or what is to be confirmed.
func (s *session) sealContent(ctx context.Context, e *entry, v *conversation) (ready bool, err error) {
	g, err := s.target(ctx, e, v)
	if err != nil || g == nil {
		return false, err
	}
	mg, err := s.groups.load(ctx, s.store.reader, g.id)
	if err != nil {
		return false, s.cannotLoad(ctx, g, err)
	}
	if len(othersLeaving(mg)) > 0 {
		return false, s.commit(ctx, func(u *unit) error { return enqueueOnce(u, v.id, action{Op: opCover}, time.Time{}) })
	}
	err = s.commit(ctx, func(u *unit) error {
		body := e.body
		if e.kind == entryReceipt {
			if err := oweAgain(u, v.id, e.body); err != nil {
				return err
			}
			if body, err = composeReceipt(u, v.id); err != nil {
				return err
			}
			if body == nil {
				return removeEntry(u, e.id)
			}
			if _, err := u.ExecContext(u, "UPDATE outbox SET body = ? WHERE id = ?", body, e.id); err != nil {
				return fmt.Errorf("keeping a receipt: %w", err)
			}
		} else if e.counter == 0 {
			if err := u.QueryRowContext(u, "UPDATE conversations SET sent = sent + 1 WHERE id = ? RETURNING sent", v.id).Scan(&e.counter); err != nil {
				return fmt.Errorf("counting a message: %w", err)
			}
		}
		sealed, err := mg.Encrypt(stamp(e.counter, e.sentAt, body), nil)
		if err != nil {
			return fmt.Errorf("sealing a message: %w", err)
		}
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
		if _, err := u.ExecContext(u, "UPDATE groups SET sent = sent + 1 WHERE id = ?", g.id); err != nil {
			return fmt.Errorf("counting a message: %w", err)
		}
		e.group, e.epoch, e.sealed = &g.id, g.epoch, sealed
		ready = true
		if s.tuning.sealed != nil && e.kind == entryContent {
			members, err := listMembers(u, u, g.id)
			if err != nil {
				return err
			}
			s.tuning.sealed(MessageID(e.messageID), members)
		}
		return s.keep(u, e)
	})
	if err != nil {
		s.groups.forget(g.id)
	}
	return ready && err == nil, err
}

// keep writes down what is about to be submitted, so that a repeat is the same, and
// a copy of this profile that lacks it is known for one.
func (s *session) keep(u *unit, e *entry) error {
	if err := noteSubmit(u, e.submitID); err != nil {
		return err
	}
	return keepSealed(u, e)
}

// cannotLoad gives up a group whose saved state cannot be used: it is damaged, and
// asking to be taken in again is the way on.
func (s *session) cannotLoad(ctx context.Context, g *group, err error) error {
	if !errors.Is(err, mls.ErrState) {
		return s.storeFailure(ctx, err)
	}
	s.log.Error("a group's state is damaged", "error", err)
	return s.commit(ctx, func(u *unit) error { return s.lose(u, g) })
}

// refresh asks the directory about a contact once in the life of a line, before
// anything goes out to it. It says whether something may.
func (s *session) refresh(ctx context.Context, username identity.Username) (ready bool, err error) {
	if s.isFresh(username) {
		return true, nil
	}
	if s.skipped[username] {
		return false, nil
	}
	l, err := s.lookup(ctx, username)
	switch {
	case errors.Is(err, ErrUnknownRecipient):
		// Then the relay says so of each message, which fails for that reason.
		s.setFresh(username)
		return true, nil
	case errors.Is(err, ErrBadDirectory), errors.Is(err, ErrRefused):
		s.log.Warn("the directory's answer is not usable", "error", err)
		s.skipped[username] = true
		return false, nil
	case err != nil:
		return false, err
	}
	_, err = s.learn(ctx, l, s.self.trust)
	if err != nil && !isRefusal(err) {
		return false, err
	}
	s.wakeOutbox() // what stood in the outbox may be gone with an old key: look again
	return false, nil
}

// landed tells whether an answer is to something that waits for one.
func (s *session) landed(submitID []byte) (flight, bool) {
	for key, f := range s.flying {
		if string(f.submitID) == string(submitID) {
			delete(s.flying, key)
			s.load -= f.size
			return f, true
		}
	}
	return flight{}, false
}

// accepted takes the relay's word that a submission is on its disk.
func (s *session) accepted(ctx context.Context, f flight) error {
	err := s.commit(ctx, func(u *unit) error {
		e, err := findEntry(u, f.submitID)
		if err != nil || e == nil {
			return err
		}
		if e.kind == entryAction && e.group != nil {
			if err := s.actionAccepted(u, e); err != nil {
				return err
			}
		}
		return settle(u, e, "")
	})
	if err != nil {
		s.groups.forget(f.group)
	}
	return err
}

// rejected takes the relay's refusal. What may succeed later stays in the outbox.
func (s *session) rejected(ctx context.Context, f flight, r *api.Rejected) error {
	err := s.commit(ctx, func(u *unit) error {
		e, err := findEntry(u, f.submitID)
		if err != nil || e == nil {
			return err
		}
		reason := r.GetReason()
		s.log.Debug("an entry was refused", "id", e.id, "reason", reason)
		if definite[reason] {
			if err := s.takeBack(u, e); err != nil {
				return err
			}
		}
		if e.kind == entryAsk {
			return removeEntry(u, e.id) // the next one comes after a pause
		}
		if reason == api.Reason_REASON_STALE_EPOCH || reason == api.Reason_REASON_NOT_A_MEMBER {
			return s.overtaken(u, e, reason, r.GetEpoch())
		}
		if text, final := finalReasons[reason]; final {
			return s.refused(u, e, text)
		}
		pause := longRetry
		if ms := r.GetRetryAfterMs(); ms < uint64(longRetry.Milliseconds()) {
			pause = max(time.Duration(ms)*time.Millisecond, shortRetry)
		}
		text := "the server does not take it now"
		switch reason {
		case api.Reason_REASON_MAILBOX_FULL:
			text = "the mailbox of a recipient is full"
		case api.Reason_REASON_SERVER_FULL:
			text = "the server's disk is full"
		case api.Reason_REASON_RATE_LIMITED:
			text = "the server limits how much it takes at a time"
		}
		return postpone(u, e, u.now.Add(pause), text+"; it is tried again")
	})
	if err != nil {
		s.groups.forget(f.group)
	}
	return err
}

// definite are the reasons that leave no doubt that the relay took nothing. After any
// other it may have, and just this submission has to be repeated: another commit under
// its id would be taken for it.
var definite = map[api.Reason]bool{
	api.Reason_REASON_STALE_EPOCH:       true,
	api.Reason_REASON_NOT_A_MEMBER:      true,
	api.Reason_REASON_MAILBOX_FULL:      true,
	api.Reason_REASON_MALFORMED:         true,
	api.Reason_REASON_UNKNOWN_RECIPIENT: true,
	api.Reason_REASON_TOO_LARGE:         true,
}

// takeBack drops a commit of ours that the relay did not accept. Anything else keeps
// what was sealed, and a repeat is the same.
func (s *session) takeBack(u *unit, e *entry) error {
	if e.kind != entryAction || e.group == nil || e.sealed == nil {
		return nil
	}
	g, err := groupByRow(u, u, *e.group)
	if err != nil || g == nil {
		return err
	}
	if g.state == groupNew { // it never came to be
		return s.dropGroup(u, g)
	}
	if e.members != nil && g.state == groupLive {
		mg, err := s.groups.load(u, u, g.id)
		if err != nil {
			return err
		}
		mg.DiscardPendingCommit()
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
	}
	return unseal(u, e.id)
}

// maxOvertaken is how often a submission is tried that the relay says comes from no
// member, before we believe that we lost the group.
const maxOvertaken = 5

// overtaken deals with a submission for an epoch that is over: somebody's commit was
// first, and comes by our mailbox.
func (s *session) overtaken(u *unit, e *entry, reason api.Reason, epoch uint64) error {
	if err := unseal(u, e.id); err != nil {
		return err
	}
	if e.group == nil {
		return nil
	}
	g, err := groupByRow(u, u, *e.group)
	if err != nil || g == nil || g.state != groupLive {
		return err
	}
	if reason == api.Reason_REASON_STALE_EPOCH && epoch > g.epoch {
		return await(u, g, epoch)
	}
	// The relay is behind us, or does not know us: it lost its memory, or we are out
	// and hear about it in a moment.
	if e.tries >= maxOvertaken {
		return s.lose(u, g)
	}
	// A relay that was restored from a backup, or forgot us, catches up by a commit of
	// our epoch that adds nobody.
	if err := enqueueOnce(u, g.conversation, action{Op: opUpdate}, u.now.Add(shortRetry)); err != nil {
		return err
	}
	if err := giveWay(u, e); err != nil {
		return err
	}
	return postpone(u, e, u.now.Add(shortRetry<<e.tries), "the server does not know where the conversation stands; it is tried again")
}

// await notes that others are in a later epoch than we are.
func await(u *unit, g *group, epoch uint64) error {
	_, err := u.ExecContext(u, "UPDATE groups SET awaited_at = iif(awaited = 0, ?, awaited_at), awaited = max(awaited, ?) WHERE id = ?",
		u.now.UnixMilli(), int64(min(epoch, maxCounter)), g.id)
	if err != nil {
		return fmt.Errorf("waiting for a commit: %w", err)
	}
	return nil
}

var finalReasons = map[api.Reason]string{
	api.Reason_REASON_MALFORMED:         "the server calls it malformed",
	api.Reason_REASON_UNKNOWN_RECIPIENT: "the server does not know a recipient's device any more",
	api.Reason_REASON_TOO_LARGE:         "it is larger than this server takes",
}
