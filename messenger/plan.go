package messenger

import (
	"context"
	"fmt"
	"slices"

	"sealpost/identity"
	"sealpost/mls"
)

// A plan is what a commit is to do.
type plan struct {
	nothing    bool
	options    mls.CommitOptions
	lastResort []identity.Username
	missing    []*absentError
}

// plan finds out what is left to do of an action. It returns a refusedChange for what
// we may not do.
func (s *session) plan(ctx context.Context, v *conversation, g *group, mg *mls.Group, a action) (plan, error) {
	members, err := listMembers(ctx, s.store.reader, g.id)
	if err != nil {
		return plan{}, s.storeFailure(ctx, err)
	}
	before, err := findDescriptor(mg.Extensions())
	if err != nil {
		return plan{}, fmt.Errorf("reading a group: %w", err)
	}
	isMember := func(name identity.Username) bool { return hasAccount(members, name) }
	switch a.Op {
	case opUpdate:
		return plan{}, nil
	case opCover:
		return plan{nothing: len(othersLeaving(mg)) == 0}, nil
	case opLeave:
		return plan{nothing: mg.Size() == 1}, nil
	case opRenew:
		return s.planRenewal(ctx, g, members, a)
	}
	if v.kind == Group && !before.isAdmin(s.self.username(), isMember) {
		return plan{}, refusedChange("you are not an administrator any more")
	}
	after := *before
	switch a.Op {
	case opAdd:
		absent := slices.DeleteFunc(slices.Clone(a.Users), isMember)
		if len(absent) == 0 {
			return plan{nothing: true}, nil
		}
		adds, last, missing, err := s.claimAll(ctx, absent)
		return plan{nothing: len(adds) == 0 && len(missing) == 0, options: mls.CommitOptions{Proposals: adds, OmitPath: len(othersLeaving(mg)) == 0 && len(adds) > 0}, lastResort: last, missing: missing}, err
	case opRemove:
		var removes []mls.Proposal
		for _, m := range members {
			if slices.Contains(a.Users, m.username) && m.username != s.self.username() {
				removes = append(removes, &mls.Remove{Removed: m.leaf})
			}
		}
		// Who asked to leave already goes by that.
		removes = slices.DeleteFunc(removes, func(p mls.Proposal) bool { return proposedRemoval(mg, p.(*mls.Remove).Removed) })
		if len(removes) == 0 {
			return plan{nothing: true}, nil
		}
		// Added again, they begin as anybody else.
		after.Admins = slices.DeleteFunc(slices.Clone(before.Admins), func(name string) bool {
			return identity.Username(name) != s.self.username() && slices.Contains(a.Users, identity.Username(name))
		})
		if len(after.Admins) == 0 || len(after.Admins) == len(before.Admins) {
			return plan{options: mls.CommitOptions{Proposals: removes}}, nil
		}
		extensions, err := after.extensions()
		if err != nil {
			return plan{}, refusedChange("the group cannot be described so")
		}
		return plan{options: mls.CommitOptions{Proposals: append(removes, &mls.GroupContextExtensions{Extensions: extensions})}}, nil
	case opAdmin:
		if len(a.Users) != 1 || !isMember(a.Users[0]) {
			return plan{}, refusedChange("who is not in the group cannot be an administrator")
		}
		after = *before.withAdmin(a.Users[0], !a.Off)
		if slices.Equal(after.Admins, before.Admins) {
			return plan{nothing: true}, nil
		}
		if len(after.Admins) == 0 {
			return plan{}, refusedChange("a group needs an administrator")
		}
	case opRename:
		after.Name = a.Name
	case opExpire:
		after.Expiry = a.Seconds
	default:
		return plan{}, refusedChange("this version does not know how")
	}
	if after.Name == before.Name && after.Expiry == before.Expiry && slices.Equal(after.Admins, before.Admins) {
		return plan{nothing: true}, nil
	}
	extensions, err := after.extensions()
	if err != nil {
		return plan{}, refusedChange("the group cannot be described so")
	}
	return plan{options: mls.CommitOptions{Proposals: []mls.Proposal{&mls.GroupContextExtensions{Extensions: extensions}}}}, nil
}

func proposedRemoval(mg *mls.Group, leaf mls.LeafIndex) bool {
	return slices.ContainsFunc(mg.Proposals(), func(p mls.CommittedProposal) bool {
		remove, ok := p.Proposal.(*mls.Remove)
		return ok && remove.Removed == leaf
	})
}

// planRenewal takes a device in again that cannot follow, with a fresh key package.
func (s *session) planRenewal(ctx context.Context, g *group, members []memberDevice, a action) (plan, error) {
	var lost bool
	if err := s.store.reader.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM members WHERE grp = ? AND device_id = ? AND since = ?)",
		g.id, a.Device, a.Since).Scan(&lost); err != nil {
		return plan{}, s.storeFailure(ctx, err)
	}
	i := slices.IndexFunc(members, func(m memberDevice) bool { return string(m.deviceID[:]) == string(a.Device) })
	if !lost || i < 0 {
		return plan{nothing: true}, nil // gone, or helped by somebody else
	}
	device := members[i]
	packages, last, err := s.claim(ctx, device.username)
	if err != nil {
		return plan{}, err
	}
	for j, k := range packages {
		certificate, err := certificateOf(k.LeafNode.Credential, k.LeafNode.SignatureKey)
		if err == nil && certificate.DeviceID == device.deviceID && certificate.DeviceKey == device.deviceKey && certificate.AccountKey == device.accountKey {
			p := plan{options: mls.CommitOptions{Proposals: []mls.Proposal{&mls.Remove{Removed: device.leaf}, &mls.Add{KeyPackage: packages[j]}}}}
			if last {
				p.lastResort = []identity.Username{device.username}
			}
			return p, nil
		}
	}
	return plan{}, &absentError{username: device.username}
}
