package messenger

import (
	"context"
	"errors"
	"fmt"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/mls"
)

// An absentError says that somebody cannot be added: there is no key package of any
// of the devices, the server gives none out, or gives out false ones.
type absentError struct {
	username identity.Username
	limited  bool          // the server wants us to ask less often
	refused  refusedChange // why asking again is of no use, if it is not
}

func (e *absentError) Error() string {
	if e.refused != "" {
		return string(e.refused)
	}
	if e.limited {
		return fmt.Sprintf("the server gives out no more keys of %s for now", e.username)
	}
	return fmt.Sprintf("%s has not been online yet", e.username)
}

// claimAll takes a key package of every device of the accounts out of the relay's
// stock. It returns who has none in missing, and of whom only the last resort was
// left.
func (s *session) claimAll(ctx context.Context, users []identity.Username) (adds []mls.Proposal, lastResort []identity.Username, missing []*absentError, err error) {
	for _, name := range users {
		packages, last, err := s.claim(ctx, name)
		var (
			absent  *absentError
			refused refusedChange
		)
		if errors.As(err, &refused) {
			absent = &absentError{username: name, refused: refused}
		}
		if absent != nil || errors.As(err, &absent) {
			missing = append(missing, absent)
			continue
		}
		if err != nil {
			return nil, nil, nil, err
		}
		for _, k := range packages {
			adds = append(adds, &mls.Add{KeyPackage: k})
		}
		if last {
			lastResort = append(lastResort, name)
		}
	}
	return adds, lastResort, missing, nil
}

// claim takes a key package of every device of an account. It takes all of the
// answer or nothing: a false one is evidence against the server, not a list to pick
// from. The errors are [*absentError], [*KeyChangedError], a refusedChange, or those
// of the line.
func (s *session) claim(ctx context.Context, username identity.Username) (packages []*mls.KeyPackage, lastResort bool, err error) {
	known, err := s.knownContact(ctx, username)
	if err != nil {
		return nil, false, err
	}
	if known == nil {
		return nil, false, refusedChange(fmt.Sprintf("%s is not known", username))
	}
	if err := known.keyChanged(); err != nil {
		return nil, false, err
	}
	response, err := callDirectory(ctx, s.Client, func(ctx context.Context, d api.DirectoryClient) (*api.ClaimKeyPackagesResponse, error) {
		return d.ClaimKeyPackages(ctx, &api.ClaimKeyPackagesRequest{Username: string(username)})
	})
	switch {
	case errors.Is(err, errKeyPackageLimit):
		return nil, false, &absentError{username: username, limited: true}
	case errors.Is(err, ErrUnknownRecipient):
		return nil, false, refusedChange(fmt.Sprintf("the server does not know %s", username))
	case err != nil:
		return nil, false, err
	case len(response.GetKeyPackages()) == 0:
		return nil, false, &absentError{username: username}
	case len(response.GetKeyPackages()) > maxDevices:
		return nil, false, falseKeys(username)
	}
	for _, claimed := range response.GetKeyPackages() {
		k, err := mls.ParseKeyPackage(claimed.GetKeyPackage())
		if err != nil || k.CipherSuite != s.tuning.suite {
			return nil, false, falseKeys(username)
		}
		if err := s.groups.client.ValidateKeyPackage(k); err != nil {
			s.log.Warn("a key package is not valid", "error", err)
			return nil, false, falseKeys(username)
		}
		certificate, err := certificateOf(k.LeafNode.Credential, k.LeafNode.SignatureKey)
		if err != nil || certificate.Username != username || string(certificate.DeviceID[:]) != string(claimed.GetDevice()) {
			return nil, false, falseKeys(username)
		}
		if certificate.AccountKey != known.AccountKey {
			if err := s.commit(ctx, func(u *unit) error { return s.noteNewKey(u, known, certificate.AccountKey) }); err != nil {
				return nil, false, err
			}
			return nil, false, known.keyChanged()
		}
		packages = append(packages, k)
		lastResort = lastResort || claimed.GetLastResort()
	}
	return packages, lastResort, nil
}

func falseKeys(username identity.Username) error {
	return refusedChange(fmt.Sprintf("the server offers keys of %s that do not hold together", username))
}

// tellAbsent says who could not be added, and whose keys are not as fresh as they
// should be.
func (s *session) tellAbsent(u *unit, v *conversation, lastResort []identity.Username, missing []*absentError) error {
	for _, m := range missing {
		if err := addNotice(u, v, KindWarning, m.username, m.Error()+"; add them again later"); err != nil {
			return err
		}
	}
	for _, name := range lastResort {
		if err := addNotice(u, v, KindWarning, name, fmt.Sprintf(
			"the server had no fresh keys of %s left; until an answer comes, a stolen device of theirs would reveal these messages", name)); err != nil {
			return err
		}
	}
	return nil
}
