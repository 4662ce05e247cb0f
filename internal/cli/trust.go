package cli

import "sealpost/messenger"

// trustFlags belong to commands that may meet a key for the first time.
type trustFlags struct {
	Trust *trustPolicy `placeholder:"POLICY" help:"Whose key to believe: tofu (pin at first contact, stop when it changes), strict (only who was verified before), accept-new (accept changes of who was never verified)."`
}

// trustPolicy reads a policy from the command line.
type trustPolicy messenger.TrustPolicy

// UnmarshalText reads the name of a policy.
func (p *trustPolicy) UnmarshalText(text []byte) error {
	policy, err := messenger.ParseTrustPolicy(string(text))
	*p = trustPolicy(policy)
	return err
}

// policy is that of a new profile.
func (f trustFlags) policy() messenger.TrustPolicy {
	if f.Trust == nil {
		return messenger.TrustTOFU
	}
	return messenger.TrustPolicy(*f.Trust)
}

// options are those of meeting somebody: nothing given means the profile's policy.
func (f trustFlags) options() []messenger.ContactOption {
	if f.Trust == nil {
		return nil
	}
	return []messenger.ContactOption{messenger.WithTrust(f.policy())}
}
