package messenger

import (
	"fmt"
	"time"

	"sealpost/identity"
)

// A TrustPolicy says which account keys are believed without asking a person.
type TrustPolicy int

// The policies. None believes a changed key of a contact who was verified.
const (
	// TrustTOFU pins the key of a new contact at first use, and stops at a
	// changed one.
	TrustTOFU TrustPolicy = iota
	// TrustStrict believes only keys that are pinned already: a new contact needs
	// [Client.Verify] first.
	TrustStrict
	// TrustAcceptNew pins at first use, and accepts a changed key of a contact
	// who was never verified, with a notice in the conversation.
	TrustAcceptNew
)

// ParseTrustPolicy reads "tofu", "strict" or "accept-new".
func ParseTrustPolicy(s string) (TrustPolicy, error) {
	for _, p := range []TrustPolicy{TrustTOFU, TrustStrict, TrustAcceptNew} {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("a trust policy is strict, tofu or accept-new, not %q", s)
}

// String returns the name.
func (p TrustPolicy) String() string {
	switch p {
	case TrustTOFU:
		return "tofu"
	case TrustStrict:
		return "strict"
	case TrustAcceptNew:
		return "accept-new"
	}
	return fmt.Sprintf("TrustPolicy(%d)", int(p))
}

// A Contact is another account as this profile knows it.
type Contact struct {
	Username   identity.Username
	AccountKey identity.AccountKey // the pinned one
	Verified   bool                // a person compared AccountKey by hand
	Accepted   bool                // we write to it, or took its request
	Blocked    bool                // what it says is dropped
	Pinned     time.Time           // when AccountKey was pinned; zero if it is not: see [Client.Identify]
	// NewKey is another key that appeared under the name and was not accepted;
	// nil if there is none. Until it is accepted, nothing is sent to the contact,
	// and what comes under the new key is held.
	NewKey *identity.AccountKey
}
