package messenger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/mls"
)

// Pauses before a change is tried again that cannot be made now.
const (
	firstAbsence = 30 * time.Second // somebody has no key packages yet
	longAbsence  = time.Hour
)

// A refusedChange says in words why a change is not made.
type refusedChange string

func (r refusedChange) Error() string { return string(r) }

// stageAction turns an action into a commit of ours that waits for the relay.
func (s *session) stageAction(ctx context.Context, e *entry, v *conversation) (ready bool, err error) {
	a, err := parseAction(e.body)
	if err != nil {
		return false, s.storeFailure(ctx, err)
	}
	if a.Op == opCreate {
		ready, err = s.stageCreation(ctx, e, v, a)
	} else {
		ready, err = s.stageChange(ctx, e, v, a)
	}
	var (
		refused refusedChange
		absent  *absentError
		changed *KeyChangedError
	)
	switch {
	case errors.As(err, &refused):
		return false, s.commit(ctx, func(u *unit) error { return s.refused(u, e, string(refused)) })
	case errors.As(err, &absent) && absent.refused != "":
		return false, s.commit(ctx, func(u *unit) error { return s.failWaiting(u, v, absent.Error()) })
	case errors.As(err, &absent):
		pause := min(firstAbsence<<min(e.tries, 10), longAbsence)
		return false, s.commit(ctx, func(u *unit) error { return postpone(u, e, u.now.Add(pause), absent.Error()+"; it is tried again") })
	case errors.As(err, &changed):
		return false, nil // until the person decides
	}
	return ready, err
}

// refused ends an entry that will not succeed. Where no message tells, a notice does.
func (s *session) refused(u *unit, e *entry, reason string) error {
	if e.kind == entryAction && e.lane == laneMain {
		v, err := conversationByRow(u, u, e.conversation)
		if err != nil {
			return err
		}
		if err := addNotice(u, v, KindWarning, "", "a change of the group was not made: "+reason); err != nil {
			return err
		}
	}
	return settle(u, e, reason)
}

// stageCreation makes an MLS group for a conversation.
func (s *session) stageCreation(ctx context.Context, e *entry, v *conversation, a action) (ready bool, err error) {
	g, err := currentGroup(ctx, s.store.reader, v.id)
	if err != nil {
		return false, s.storeFailure(ctx, err)
	}
	if (g != nil && g.incarnation > a.Over) || v.state != Active { // the other was first, or nobody wants it any more
		return false, s.commit(ctx, func(u *unit) error { return settle(u, e, "") })
	}
	if v.kind == Group && !s.caughtUp {
		return false, nil // somebody may have made it, and changed it since
	}
	if v.kind == Direct {
		fresh, err := s.refresh(ctx, v.with)
		if err != nil || !fresh {
			return false, err
		}
	}
	adds, last, missing, err := s.claimAll(ctx, a.Users[:min(len(a.Users), maxAddedAtOnce)])
	if err != nil {
		return false, err
	}
	if v.kind == Direct && len(missing) > 0 {
		return false, missing[0]
	}
	incarnation, err := s.nextIncarnation(ctx, v)
	if err != nil {
		return false, err
	}
	d := &descriptor{Kind: v.kind, Conversation: v.publicID[:], Incarnation: incarnation, Expiry: uint32(v.expiry)}
	if v.kind == Group {
		d.Name = v.name
		if d.Admins, err = s.lastAdmins(ctx, v, a.Users); err != nil {
			return false, err
		}
	}
	extensions, err := d.extensions()
	if err != nil {
		return false, refusedChange("the group cannot be described")
	}
	mg, err := s.groups.client.CreateGroup(s.tuning.suite, s.self.identity(), mls.GroupOptions{GroupID: randomBytes(groupIDSize), Extensions: extensions, Leaf: leafOptions()})
	if err != nil {
		return false, fmt.Errorf("making a group: %w", err)
	}
	err = s.commit(ctx, func(u *unit) error {
		g := &group{conversation: v.id, groupID: mg.ID(), incarnation: incarnation, state: groupNew, renewedAt: u.now}
		if err := s.addGroup(u, g, d); err != nil {
			return err
		}
		if err := keepMembers(u, g.id, []memberDevice{s.self.memberDevice(mg.OwnIndex())}); err != nil {
			return err
		}
		if err := s.stage(u, e, g, mg, mls.CommitOptions{Proposals: adds, OmitPath: len(adds) > 0}); err != nil {
			return err
		}
		s.groups.open[g.id] = mg
		ready = true
		return s.tellAbsent(u, v, last, missing)
	})
	if err != nil && e.group != nil {
		s.groups.forget(*e.group)
	}
	return ready && err == nil, err
}

// groupIDSize is that of the ids of MLS groups, in bytes. They are random: nobody can
// take the name of a group before it is made.
const groupIDSize = 32

// nextIncarnation is more than that of every group of a conversation that we know of.
// It is the time, in seconds since 1970 UTC, since a restored copy does not know of all.
func (s *session) nextIncarnation(ctx context.Context, v *conversation) (uint32, error) {
	var last uint32
	if err := s.store.reader.QueryRowContext(ctx, "SELECT coalesce(max(incarnation), 0) FROM groups WHERE conversation = ?", v.id).Scan(&last); err != nil {
		return 0, s.storeFailure(ctx, err)
	}
	now := uint32(min(max(s.clock().Unix(), 0), math.MaxUint32))
	return max(last+min(1, math.MaxUint32-last), now), nil
}

// lastAdmins returns us and those administrators of the conversation's last group who
// are to be in the next: a new group takes nobody's rights.
func (s *session) lastAdmins(ctx context.Context, v *conversation, users []identity.Username) ([]string, error) {
	admins := []string{string(s.self.username())}
	last, d, err := newestGroup(ctx, s.store.reader, v.id)
	if err != nil {
		return nil, s.storeFailure(ctx, err)
	}
	if last == nil {
		return admins, nil
	}
	for _, name := range d.Admins {
		if slices.Contains(users, identity.Username(name)) {
			admins = append(admins, name)
		}
	}
	slices.Sort(admins)
	return slices.Compact(admins), nil
}

func (s *self) memberDevice(leaf mls.LeafIndex) memberDevice {
	certificate := s.record.Certificate
	return memberDevice{deviceID: certificate.DeviceID, deviceKey: certificate.DeviceKey, leaf: leaf, username: certificate.Username, accountKey: certificate.AccountKey}
}

func (c *Client) addGroup(u *unit, g *group, d *descriptor) error {
	extensions, err := d.extensions()
	if err != nil {
		return err
	}
	result, err := u.ExecContext(u, `
		INSERT INTO groups (conversation, group_id, incarnation, descriptor, state, epoch, renewed_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		g.conversation, g.groupID, int64(g.incarnation), extensions[0].ExtensionData, int(g.state), int64(g.epoch), u.now.UnixMilli(), u.now.UnixMilli())
	if err != nil {
		return fmt.Errorf("storing a group: %w", err)
	}
	if g.id, err = result.LastInsertId(); err != nil {
		return fmt.Errorf("storing a group: %w", err)
	}
	return nil
}

// stage makes a commit and keeps it beside the entry that asks for it, until the
// relay has decided.
func (s *session) stage(u *unit, e *entry, g *group, mg *mls.Group, options mls.CommitOptions) error {
	members, err := listMembers(u, u, g.id)
	if err != nil {
		return err
	}
	roster, added, err := rosterAfter(members, options, othersLeaving(mg))
	if err != nil {
		return err
	}
	d, err := descriptorOf(u, u, g.id)
	if err != nil {
		return err
	}
	if err := checkRoster(roster, d); err != nil {
		// The others would refuse the commit, and blame us.
		s.log.Warn("a commit is not made", "error", err)
		return refusedChange("the server offers keys that do not hold together")
	}
	next, welcomed := ascending(roster), ascending(added)
	hash := identity.DeliveryListHash(g.groupID, g.epoch+1, next)
	options.AuthenticatedData = hash[:]
	pending, err := mg.Commit(options)
	if err != nil {
		// What others put into the group or into a key package is to blame, not this
		// device: it must not stop.
		s.log.Warn("a commit cannot be made", "error", err)
		return refusedChange("the keys of a member cannot be used")
	}
	if err := saveGroup(u, g.id, mg); err != nil {
		return err
	}
	e.group, e.epoch, e.sealed, e.welcome = &g.id, g.epoch, pending.Commit, pending.Welcome
	e.members, e.welcomed = joinIDs(next), joinIDs(welcomed)
	return s.keep(u, e)
}

// othersLeaving returns the proposals that a commit of ours covers. Nobody can commit
// its own removal (RFC 9420, Section 12.2).
func othersLeaving(mg *mls.Group) []mls.CommittedProposal {
	return slices.DeleteFunc(mg.Proposals(), func(p mls.CommittedProposal) bool {
		remove, ok := p.Proposal.(*mls.Remove)
		return ok && remove.Removed == mg.OwnIndex()
	})
}

// rosterAfter returns who is in a group after a commit, and whom that adds.
func rosterAfter(members []memberDevice, options mls.CommitOptions, waiting []mls.CommittedProposal) (roster, added []memberDevice, err error) {
	gone := make(map[mls.LeafIndex]bool)
	proposals := options.Proposals
	if !options.ByValueOnly {
		for _, p := range waiting {
			proposals = append(slices.Clone(proposals), p.Proposal)
		}
	}
	for _, p := range proposals {
		switch p := p.(type) {
		case *mls.Remove:
			gone[p.Removed] = true
		case *mls.Add:
			leaf := p.KeyPackage.LeafNode
			device, err := memberDeviceOf(mls.Member{Credential: leaf.Credential, SignatureKey: leaf.SignatureKey})
			if err != nil {
				return nil, nil, err
			}
			added = append(added, device)
		}
	}
	roster = slices.DeleteFunc(slices.Clone(members), func(m memberDevice) bool { return gone[m.leaf] })
	return append(roster, added...), added, nil
}

// ascending returns the devices of members as a delivery list has them.
func ascending(members []memberDevice) []identity.DeviceID {
	ids := devicesOf(members)
	slices.SortFunc(ids, compareIDs)
	return ids
}

func compareIDs(a, b identity.DeviceID) int { return strings.Compare(string(a[:]), string(b[:])) }

func joinIDs(ids []identity.DeviceID) []byte {
	joined := make([]byte, 0, len(ids)*len(identity.DeviceID{}))
	for _, id := range ids {
		joined = append(joined, id[:]...)
	}
	return joined
}

// stageChange makes a commit, or the proposal to remove ourselves, in an existing
// group.
func (s *session) stageChange(ctx context.Context, e *entry, v *conversation, a action) (ready bool, err error) {
	g, err := s.target(ctx, e, v)
	if err != nil || g == nil {
		return false, err
	}
	mg, err := s.groups.load(ctx, s.store.reader, g.id)
	if err != nil {
		return false, s.cannotLoad(ctx, g, err)
	}
	if mg.PendingCommit() != nil {
		return false, nil // that of another lane goes first
	}
	plan, err := s.plan(ctx, v, g, mg, a)
	if err != nil {
		return false, err
	}
	err = s.commit(ctx, func(u *unit) error {
		switch {
		case plan.nothing && a.Op == opLeave: // nobody else is there
			s.groups.forget(g.id)
			if err := s.setGroupState(u, g, groupGone); err != nil {
				return err
			}
			return settle(u, e, "")
		case plan.nothing:
			return settle(u, e, "")
		case a.Op == opLeave:
			ready = true
			return s.proposeLeaving(u, e, g, mg)
		}
		ready = true
		if err := s.stage(u, e, g, mg, plan.options); err != nil {
			return err
		}
		return s.tellAbsent(u, v, plan.lastResort, plan.missing)
	})
	if err != nil {
		s.groups.forget(g.id)
	}
	return ready && err == nil, err
}

func (s *session) proposeLeaving(u *unit, e *entry, g *group, mg *mls.Group) error {
	proposal, err := mg.Propose(&mls.Remove{Removed: mg.OwnIndex()}, nil)
	if err != nil {
		return fmt.Errorf("asking to be removed: %w", err)
	}
	if err := saveGroup(u, g.id, mg); err != nil {
		return err
	}
	e.group, e.epoch, e.sealed = &g.id, g.epoch, proposal
	return s.keep(u, e)
}

// actionAccepted applies what the relay accepted.
func (s *session) actionAccepted(u *unit, e *entry) error {
	g, err := groupByRow(u, u, *e.group)
	if err != nil || g == nil {
		return err
	}
	v, err := conversationByRow(u, u, g.conversation)
	if err != nil {
		return err
	}
	if e.members == nil {
		return nil // we asked to be removed, and wait until somebody does it
	}
	mg, err := s.groups.load(u, u, g.id)
	if err != nil {
		return err
	}
	pending := mg.PendingCommit()
	if pending == nil {
		return nil // lost to another commit, whatever the relay says
	}
	ch, err := s.ownChange(u, g, mg)
	if err != nil {
		return err
	}
	if err := mg.MergePendingCommit(); err != nil {
		return fmt.Errorf("applying a commit: %w", err)
	}
	if err := saveGroup(u, g.id, mg); err != nil {
		return err
	}
	a, err := parseAction(e.body)
	if err != nil {
		return err
	}
	if a.Op != opAdd {
		if _, err := u.ExecContext(u, "UPDATE groups SET sent = 0, renewed_at = ? WHERE id = ?", u.now.UnixMilli(), g.id); err != nil {
			return fmt.Errorf("noting a commit: %w", err)
		}
	}
	if g.state == groupNew {
		if err := s.setGroupState(u, g, groupLive); err != nil {
			return err
		}
	}
	if a.Op == opCreate && len(a.Users) > maxAddedAtOnce {
		for users := range slices.Chunk(a.Users[maxAddedAtOnce:], maxAddedAtOnce) {
			if err := enqueueOnce(u, v.id, action{Op: opAdd, Users: users}, time.Time{}); err != nil {
				return err
			}
		}
	}
	return s.applyChange(u, v, g, ch)
}

// ownChange says what our pending commit does.
func (s *session) ownChange(u *unit, g *group, mg *mls.Group) (*change, error) {
	members, err := listMembers(u, u, g.id)
	if err != nil {
		return nil, err
	}
	before, err := findDescriptor(mg.Extensions())
	if err != nil {
		return nil, err
	}
	pending := mg.PendingCommit()
	ch := &change{committer: s.self.memberDevice(mg.OwnIndex()), before: before, after: before}
	for _, p := range pending.Proposals {
		if err := ch.takeProposal(p, members); err != nil {
			return nil, err
		}
	}
	then := make(map[mls.LeafIndex]mls.Member)
	for _, m := range pending.Members() {
		then[m.Index] = m
	}
	renewed := renewedLeaves(pending.Proposals)
	for _, m := range members {
		now, there := then[m.leaf]
		if there && string(now.SignatureKey) == string(m.deviceKey[:]) && !renewed[m.leaf] {
			delete(then, m.leaf)
			continue
		}
		ch.removed = append(ch.removed, m)
	}
	for _, m := range then {
		device, err := memberDeviceOf(m)
		if err != nil {
			return nil, err
		}
		ch.added = append(ch.added, device)
	}
	slices.SortFunc(ch.added, func(a, b memberDevice) int { return int(int64(a.leaf) - int64(b.leaf)) })
	ch.roster = slices.Concat(without(members, ch.removed), ch.added)
	ch.findRenewed()
	return ch, nil
}

func renewedLeaves(proposals []mls.CommittedProposal) map[mls.LeafIndex]bool {
	leaves := make(map[mls.LeafIndex]bool)
	for _, p := range proposals {
		if remove, ok := p.Proposal.(*mls.Remove); ok {
			leaves[remove.Removed] = true
		}
	}
	return leaves
}
