package mls

import (
	"errors"
	"fmt"
)

var (
	// ErrUnsupported is wrapped by errors about a protocol version, cipher suite,
	// or message type that this package does not implement (RFC 9420, Sections 5.1
	// and 6).
	ErrUnsupported = errors.New("mls: not supported")

	// ErrDecryption is wrapped where a ciphertext does not open (RFC 9420, Sections
	// 5.1.3 and 6.3). It says no more, on purpose.
	ErrDecryption = errors.New("mls: decryption failed")

	// ErrSignature is wrapped where a signature does not verify (RFC 9420, Section
	// 5.1.2).
	ErrSignature = errors.New("mls: invalid signature")

	// ErrInvalidKey is wrapped where a public key is not one of its algorithm (RFC
	// 9420, Section 5.1.1).
	ErrInvalidKey = errors.New("mls: invalid public key")

	// ErrWrongGroup is returned for a message of another group (RFC 9420, Section
	// 6).
	ErrWrongGroup = errors.New("mls: message of another group")

	// ErrOwnMessage is returned for a message that this member sent itself, and
	// which it therefore cannot open (RFC 9420, Section 9.1). It is no sign of an attack: most delivery
	// services send a message back to its sender. A commit of our own that is
	// pending is recognised and gives no error.
	ErrOwnMessage = errors.New("mls: message is our own")

	// ErrGenerationUsed is wrapped where the key of a message is gone: the message
	// was opened before, or it is older than the skipped keys that are kept (RFC
	// 9420, Section 9.2).
	ErrGenerationUsed = errors.New("mls: message key already used or expired")

	// ErrUnknownProposal is wrapped where a commit refers to a proposal that this
	// member has not seen (RFC 9420, Section 12.4).
	ErrUnknownProposal = errors.New("mls: commit refers to an unknown proposal")

	// ErrUnknownPSK is wrapped where a pre-shared key is asked for that neither
	// the group nor the application has (RFC 9420, Section 8.4).
	ErrUnknownPSK = errors.New("mls: unknown pre-shared key")

	// ErrPendingCommit is returned by calls that need a pending commit where there
	// is none, or none where there is one (RFC 9420, Section 14).
	ErrPendingCommit = errors.New("mls: pending commit")

	// ErrStagedCommit is returned by Merge for a commit that was staged in another
	// state of the group, or in another group (RFC 9420, Section 14).
	ErrStagedCommit = errors.New("mls: commit was staged on another state of the group")

	// ErrInactive is returned by calls on a group that this member was removed
	// from, or that was reinitialised (RFC 9420, Sections 11.2 and 12.1.3).
	ErrInactive = errors.New("mls: group is no longer active")

	// ErrNoKeyPackage is returned by Join for a Welcome that is addressed to none
	// of the given key packages (RFC 9420, Section 12.4.3.1).
	ErrNoKeyPackage = errors.New("mls: Welcome is for none of the key packages")

	// ErrProposalsPending is returned by Encrypt while there are proposals that no
	// commit has covered (RFC 9420, Section 12.4).
	ErrProposalsPending = errors.New("mls: proposals wait for a commit")

	// ErrTooLarge is wrapped where data is too large to be encoded, and where more
	// proposals come than a group keeps (RFC 9420, Sections 2.1.2 and 12.1).
	ErrTooLarge = errors.New("mls: data too large")

	// ErrState is wrapped where saved state does not load.
	ErrState = errors.New("mls: corrupt state")
)

// An EpochError reports a message of an epoch that the group is not in (RFC 9420,
// Section 14). Behind says which way: a message from before, or one whose commit has
// not come yet.
type EpochError struct {
	Have uint64 // the group's epoch
	Want uint64 // the message's epoch
}

func (e *EpochError) Error() string {
	return fmt.Sprintf("mls: message of epoch %d in a group at epoch %d", e.Want, e.Have)
}

// Behind reports whether the group has to process a commit before the message.
func (e *EpochError) Behind() bool { return e.Want > e.Have }

// A ForwardDistanceError reports a message whose generation lies more than
// [MaxForwardDistance] ahead of the last one, so that deriving its key is refused
// (RFC 9420, Section 9.1).
type ForwardDistanceError struct {
	Sender     LeafIndex
	Next       uint32 // the generation that was expected
	Generation uint32 // the generation of the message
}

func (e *ForwardDistanceError) Error() string {
	return fmt.Sprintf("mls: message of generation %d where %d was next: more than %d ahead", e.Generation, e.Next, MaxForwardDistance)
}

// A ValidationError reports a rule of RFC 9420 that a message breaks.
type ValidationError struct {
	Section string // of RFC 9420
	Rule    string // what is wrong
}

func (e *ValidationError) Error() string {
	return fmt.Sprintf("mls: %s (RFC 9420, Section %s)", e.Rule, e.Section)
}

func invalid(section, rule string, args ...any) error {
	return &ValidationError{Section: section, Rule: fmt.Sprintf(rule, args...)}
}
