package messenger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"sealpost/identity"
	"sealpost/mls"
)

// A change is what a commit does to a group, in the words of this package.
type change struct {
	committer memberDevice
	added     []memberDevice
	removed   []memberDevice
	left      []memberDevice // of removed: those who asked for it themselves
	renewed   []memberDevice // removed and added again in one commit, as they are now
	before    *descriptor
	after     *descriptor
	roster    []memberDevice // who is in the group afterwards
}

var errPolicy = errors.New("a member changed the group in a way that it may not")

// judgeCommit finds out what a commit does to a group with the given members, and
// refuses what its sender may not do. Every honest member comes to the same verdict:
// it depends on nothing but the group.
func judgeCommit(s *mls.StagedCommit, before *descriptor, members []memberDevice) (*change, error) {
	ch := &change{before: before, after: before}
	if s.Committer.SenderType != mls.SenderTypeMember {
		return nil, fmt.Errorf("%w: a commit from outside", errPolicy)
	}
	var ok bool
	if ch.committer, ok = atLeaf(members, s.Committer.LeafIndex); !ok {
		return nil, fmt.Errorf("%w: no such committer", errPolicy)
	}
	for _, p := range s.Proposals {
		if err := ch.takeProposal(p, members); err != nil {
			return nil, err
		}
	}
	for _, m := range s.Added {
		device, err := memberDeviceOf(m)
		if err != nil {
			return nil, err
		}
		ch.added = append(ch.added, device)
	}
	for _, m := range s.Removed {
		device, ok := atLeaf(members, m.Index)
		if !ok {
			return nil, fmt.Errorf("%w: an unknown member removed", errPolicy)
		}
		ch.removed = append(ch.removed, device)
	}
	ch.roster = slices.Concat(without(members, ch.removed), ch.added)
	if err := checkRoster(ch.roster, ch.after); err != nil {
		return nil, err
	}
	ch.findRenewed()
	return ch, ch.checkRights(members)
}

func atLeaf(members []memberDevice, leaf mls.LeafIndex) (memberDevice, bool) {
	i := slices.IndexFunc(members, func(m memberDevice) bool { return m.leaf == leaf })
	if i < 0 {
		return memberDevice{}, false
	}
	return members[i], true
}

func memberDeviceOf(m mls.Member) (memberDevice, error) {
	certificate, err := certificateOf(m.Credential, m.SignatureKey)
	if err != nil {
		return memberDevice{}, err
	}
	return memberDevice{
		deviceID: certificate.DeviceID, deviceKey: certificate.DeviceKey, leaf: m.Index,
		username: certificate.Username, accountKey: certificate.AccountKey,
	}, nil
}

func (ch *change) takeProposal(p mls.CommittedProposal, members []memberDevice) error {
	switch proposal := p.Proposal.(type) {
	case *mls.Add, *mls.Update:
	case *mls.Remove:
		if p.Sender.SenderType == mls.SenderTypeMember && p.Sender.LeafIndex == proposal.Removed {
			if m, ok := atLeaf(members, proposal.Removed); ok {
				ch.left = append(ch.left, m)
			}
		}
	case *mls.GroupContextExtensions:
		after, err := findDescriptor(proposal.Extensions)
		if err != nil {
			return err
		}
		if after.Kind != ch.before.Kind || !bytes.Equal(after.Conversation, ch.before.Conversation) || after.Incarnation != ch.before.Incarnation {
			return fmt.Errorf("%w: another conversation", errPolicy)
		}
		ch.after = after
	default:
		return fmt.Errorf("%w: a proposal of type %d", errPolicy, p.Proposal.ProposalType())
	}
	return nil
}

// findRenewed takes those out of added and removed who were both.
func (ch *change) findRenewed() {
	for _, a := range ch.added {
		if slices.ContainsFunc(ch.removed, func(r memberDevice) bool {
			return a.deviceID == r.deviceID && a.deviceKey == r.deviceKey && a.accountKey == r.accountKey && a.username == r.username
		}) {
			ch.renewed = append(ch.renewed, a)
		}
	}
	ch.added, ch.removed = without(ch.added, ch.renewed), without(ch.removed, ch.renewed)
}

// without returns those of all whose device is not among the others.
func without(all, others []memberDevice) []memberDevice {
	if len(others) == 0 {
		return all
	}
	drop := make(map[identity.DeviceID]bool, len(others))
	for _, m := range others {
		drop[m.deviceID] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(m memberDevice) bool { return drop[m.deviceID] })
}

func hasDevice(all []memberDevice, id identity.DeviceID) bool {
	return slices.ContainsFunc(all, func(m memberDevice) bool { return m.deviceID == id })
}

func hasAccount(all []memberDevice, name identity.Username) bool {
	return slices.ContainsFunc(all, func(m memberDevice) bool { return m.username == name })
}

// checkRoster refuses a group in which a device is twice, or a name has two keys.
func checkRoster(members []memberDevice, d *descriptor) error {
	devices := make(map[identity.DeviceID]bool, len(members))
	accounts := make(map[identity.Username]identity.AccountKey)
	for _, m := range members {
		if devices[m.deviceID] {
			return fmt.Errorf("%w: a device twice", errPolicy)
		}
		devices[m.deviceID] = true
		if key, known := accounts[m.username]; known && key != m.accountKey {
			return fmt.Errorf("%w: two accounts of one name", errPolicy)
		}
		accounts[m.username] = m.accountKey
	}
	if d.Kind == Direct && len(accounts) > 2 {
		return fmt.Errorf("%w: a third person", errPolicy)
	}
	return nil
}

// checkRights: administrators may do anything; everybody may renew a device, carry
// out that somebody leaves, and add or remove devices of the own account. In a
// direct conversation both may say after what time messages disappear.
func (ch *change) checkRights(members []memberDevice) error {
	if ch.before.Kind == Group {
		if ch.before.isAdmin(ch.committer.username, func(name identity.Username) bool { return hasAccount(members, name) }) {
			return nil
		}
		if ch.after != ch.before {
			return fmt.Errorf("%w: who is no administrator changed the settings", errPolicy)
		}
	}
	for _, a := range ch.added {
		if a.accountKey != ch.committer.accountKey {
			return fmt.Errorf("%w: who is no administrator added somebody", errPolicy)
		}
	}
	for _, r := range ch.removed {
		if r.accountKey != ch.committer.accountKey && !hasDevice(ch.left, r.deviceID) {
			return fmt.Errorf("%w: who is no administrator removed somebody", errPolicy)
		}
	}
	return nil
}
