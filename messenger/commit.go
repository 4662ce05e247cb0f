package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealpost/identity"
	"sealpost/mls"
)

// takeProposed keeps the only proposal that members send: to remove themselves.
func (s *session) takeProposed(ctx context.Context, in incoming, g *group, mg *mls.Group, p *mls.ReceivedProposal) error {
	remove, ok := p.Proposal.(*mls.Remove)
	if !ok || p.Sender.SenderType != mls.SenderTypeMember || p.Sender.LeafIndex != remove.Removed {
		s.groups.forget(g.id) // with the proposal, which was not saved
		return errProposal
	}
	return s.commit(ctx, func(u *unit) error {
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
		helps, err := s.helps(u, g)
		if err != nil {
			return err
		}
		if helps {
			due := u.now.Add(upTo(s.tuning.coverDelay))
			if err := enqueueOnce(u, g.conversation, action{Op: opCover}, due); err != nil {
				return err
			}
		}
		return s.advance(u, in)
	})
}

// takeCommit follows the group into its next epoch, if the committer may do what it
// did.
func (s *session) takeCommit(ctx context.Context, in incoming, g *group, mg *mls.Group, staged *mls.StagedCommit) error {
	members, err := listMembers(ctx, s.store.reader, g.id)
	if err != nil {
		return s.storeFailure(ctx, err)
	}
	before, err := findDescriptor(mg.Extensions())
	if err != nil {
		return fmt.Errorf("reading a group: %w", err)
	}
	ch, err := judgeCommit(staged, before, members)
	if err == nil {
		hash := identity.DeliveryListHash(g.groupID, g.epoch+1, devicesOf(ch.roster))
		if string(staged.AuthenticatedData) != string(hash[:]) {
			err = fmt.Errorf("%w: another delivery list", errPolicy)
		}
	}
	if err != nil {
		s.log.Warn("a commit was refused", "error", err)
		offender, _ := atLeaf(members, staged.Committer.LeafIndex)
		return s.refuseCommit(ctx, in, g, offender.username)
	}
	held, err := s.holdForKeys(ctx, in, g, ch.added)
	if errors.Is(err, errClaim) {
		// Perhaps it is the directory that lies: that is nobody's fault.
		s.log.Warn("a commit adds somebody under a name that is another's")
		return s.refuseCommit(ctx, in, g, "")
	}
	if held || err != nil {
		s.groups.forget(g.id)
		return err
	}
	return s.commit(ctx, func(u *unit) error {
		v, err := conversationByRow(u, u, g.conversation)
		if err != nil {
			return err
		}
		if err := s.checkList(u, v, g, g.epoch, in.listHash); err != nil {
			return err
		}
		if err := mg.Merge(staged); err != nil {
			return fmt.Errorf("applying a commit: %w", err)
		}
		// A commit of ours that waited lost against this one.
		if err := unsealAll(u, "grp = ? AND kind = ?", g.id, int(entryAction)); err != nil {
			return err
		}
		if err := s.advance(u, in); err != nil {
			return err
		}
		if !mg.Active() {
			return s.takenOut(u, v, g, ch)
		}
		if err := saveGroup(u, g.id, mg); err != nil {
			return err
		}
		return s.applyChange(u, v, g, ch)
	})
}

// refuseCommit leaves a group in which a member did what it may not: the relay went
// on with it, and nobody who is honest did. An administrator begins a new group, without
// the member if it is known who it was.
func (s *session) refuseCommit(ctx context.Context, in incoming, g *group, offender identity.Username) error {
	s.groups.forget(g.id)
	return s.commit(ctx, func(u *unit) error {
		v, err := conversationByRow(u, u, g.conversation)
		if err != nil {
			return err
		}
		if err := s.lose(u, g); err != nil {
			return err
		}
		begun := false
		if v.kind == Group && offender != "" {
			if begun, err = s.beginAnew(u, g, offender, u.now.Add(upTo(s.tuning.helpDelay))); err != nil {
				return err
			}
		}
		if err := addNotice(u, v, KindWarning, offender, refusalNotice(offender, begun)); err != nil {
			return err
		}
		return s.advance(u, in)
	})
}

func refusalNotice(offender identity.Username, begun bool) string {
	who := "somebody"
	if offender != "" {
		who = string(offender)
	}
	text := who + " tried to change the group without the right to; nothing was changed here, "
	if begun {
		return text + "and the group goes on without " + who + ": add them again if it was a mistake"
	}
	return text + "and it is put right with the others"
}

// holdForKeys keeps a commit back that adds somebody under a known name with
// another key than the pinned one, until the person has decided.
func (s *session) holdForKeys(ctx context.Context, in incoming, g *group, added []memberDevice) (held bool, err error) {
	for _, m := range added {
		if m.accountKey == s.self.accountKey() {
			continue
		}
		known, err := s.knownContact(ctx, m.username)
		if err != nil {
			return false, err
		}
		if known == nil || known.AccountKey == m.accountKey {
			continue
		}
		waits, err := s.changedKey(ctx, m)
		if err != nil {
			return false, err
		}
		if !waits {
			continue
		}
		return true, s.commit(ctx, func(u *unit) error {
			if err := await(u, g, g.epoch+1); err != nil {
				return err
			}
			return s.stray(u, in, g.epoch)
		})
	}
	return false, nil
}

// takenOut ends a group that we were removed from.
func (s *session) takenOut(u *unit, v *conversation, g *group, ch *change) error {
	s.groups.forget(g.id)
	if hasDevice(ch.renewed, s.self.record.Certificate.DeviceID) {
		// Its Welcome follows.
		return s.setGroupState(u, g, groupLost)
	}
	if err := s.setGroupState(u, g, groupGone); err != nil {
		return err
	}
	if v.kind != Group || v.state == Closed {
		return s.failWaiting(u, v, "you left the group")
	}
	if err := addNotice(u, v, KindMembers, ch.committer.username, "removed you"); err != nil {
		return err
	}
	if err := s.failWaiting(u, v, "you were removed from the group"); err != nil {
		return err
	}
	return setConversationState(u, v, Closed)
}

// failWaiting ends everything in a conversation's outbox.
func (c *Client) failWaiting(u *unit, v *conversation, reason string) error {
	for {
		e, err := scanEntry(u.QueryRowContext(u, selectEntries+"outbox o WHERE o.conversation = ? LIMIT 1", v.id).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("clearing the outbox: %w", err)
		}
		if err := settle(u, &e, reason); err != nil {
			return err
		}
	}
}

// applyChange writes down what a commit changed, whoever made it.
func (s *session) applyChange(u *unit, v *conversation, g *group, ch *change) error {
	if err := updateMembers(u, g.id, ch); err != nil {
		return err
	}
	for _, m := range slices.Concat(ch.added, ch.renewed) { // they may count anew
		if _, err := u.ExecContext(u, "DELETE FROM counters WHERE conversation = ? AND device_id = ?", v.id, m.deviceID[:]); err != nil {
			return fmt.Errorf("forgetting counters: %w", err)
		}
	}
	if err := s.beginEpoch(u, g, g.epoch+1, devicesOf(ch.roster)); err != nil {
		return err
	}
	extensions, err := ch.after.extensions()
	if err != nil {
		return err
	}
	if _, err := u.ExecContext(u, "UPDATE groups SET descriptor = ? WHERE id = ?", extensions[0].ExtensionData, g.id); err != nil {
		return fmt.Errorf("describing a group: %w", err)
	}
	if err := tellChange(u, v, ch); err != nil {
		return err
	}
	if ch.after.Name != v.name || int64(ch.after.Expiry) != v.expiry {
		if _, err := u.ExecContext(u, "UPDATE conversations SET name = ?, expiry = ? WHERE id = ?", ch.after.Name, ch.after.Expiry, v.id); err != nil {
			return fmt.Errorf("changing a conversation: %w", err)
		}
	}
	if v.state == Closed && v.kind == Group {
		// We asked to be removed, and this commit passed that by.
		if err := enqueueOnce(u, v.id, action{Op: opLeave}, time.Time{}); err != nil {
			return err
		}
	}
	return tellConversation(u, v.id)
}
