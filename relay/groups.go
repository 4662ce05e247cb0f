package relay

import (
	"bytes"
	"fmt"
	"slices"

	"sealpost/api"
	"sealpost/identity"
)

// Sizes of a group id, in bytes. RFC 9420 leaves it open; ours are random.
const (
	minGroupID = 16
	maxGroupID = 64
)

// MaxEpoch is the greatest epoch that a commit can end.
const MaxEpoch = 1<<63 - 2

// A GroupEpoch names an epoch of a group. A submission passes only in the group's
// current one, but for a request.
type GroupEpoch struct {
	ID    string // 16 to 64 bytes
	Epoch uint64 // at most MaxEpoch
}

// A Commit is what comes with a commit and takes effect with it, or not at all.
// One that ends epoch 0 of a group that the store does not know makes the group,
// whose delivery list was the sender alone.
//
// One without a Welcome may end a later epoch than the store knows, or any of an
// unknown group: then the store comes from a backup, and Members is also the list
// of the epoch that ends. A sender whom the store's list does not name is refused
// all the same.
type Commit struct {
	// Members is the delivery list of the epoch that begins, ascending, the sender
	// among them.
	Members []identity.DeviceID
	// Welcome goes to Welcomed, who are members, ascending; both are empty if
	// nobody is new. It comes after the commit in a mailbox that gets both.
	Welcome  []byte
	Welcomed []identity.DeviceID

	// FirstSequence is that of the Welcome, as in [Submission], and ListHash that
	// of the epoch that begins.
	FirstSequence uint64
	ListHash      []byte
}

// A StaleEpochError is ErrStaleEpoch with the epoch that the group is in.
type StaleEpochError struct{ Current uint64 }

// Error implements error.
func (e StaleEpochError) Error() string { return fmt.Sprintf("%v: %d", ErrStaleEpoch, e.Current) }

// Unwrap returns ErrStaleEpoch.
func (e StaleEpochError) Unwrap() error { return ErrStaleEpoch }

// parseGroup checks what a submit says of its group, and sets it.
func (s *Server) parseGroup(submission *Submission, frame *api.Submit) error {
	id, epoch := frame.GetGroup().GetId(), frame.GetGroup().GetEpoch()
	if len(id) < minGroupID || len(id) > maxGroupID || epoch > MaxEpoch {
		return errMalformed
	}
	submission.Group = &GroupEpoch{ID: string(id), Epoch: epoch}
	switch {
	case submission.Kind == api.Kind_KIND_REQUEST && frame.GetCommit() == nil:
		return s.parseRecipients(submission, frame)
	case len(frame.GetRecipients()) > 0:
		return errMalformed
	case frame.GetCommit() == nil:
		return nil
	}
	return s.parseCommit(submission, frame.GetCommit())
}

func (s *Server) parseCommit(submission *Submission, commit *api.Commit) error {
	if submission.Kind != api.Kind_KIND_HANDSHAKE || (len(commit.GetWelcome()) == 0) != (len(commit.GetWelcomed()) == 0) {
		return errMalformed
	}
	if len(submission.Payload)+len(commit.GetWelcome()) > s.limits.MaxHandshake {
		return errTooLarge
	}
	members, err := s.parseMembers(commit.GetMembers())
	if err != nil {
		return err
	}
	welcomed, err := s.parseMembers(commit.GetWelcomed())
	if err != nil {
		return err
	}
	// A committer stays a member, RFC 9420, Section 12.2, and needs no Welcome.
	if !contains(members, submission.Sender) || contains(welcomed, submission.Sender) {
		return errMalformed
	}
	for _, device := range welcomed {
		if !contains(members, device) {
			return errMalformed
		}
	}
	submission.Commit = &Commit{Members: members, Welcome: commit.GetWelcome(), Welcomed: welcomed}
	return nil
}

// parseMembers takes device ids in rising order.
func (s *Server) parseMembers(ids [][]byte) ([]identity.DeviceID, error) {
	if len(ids) > s.limits.Members {
		return nil, errTooManyMembers
	}
	devices := make([]identity.DeviceID, len(ids))
	for i, b := range ids {
		id, err := identity.DeviceIDFromBytes(b)
		if err != nil || (i > 0 && bytes.Compare(devices[i-1][:], id[:]) >= 0) {
			return nil, errMalformed
		}
		devices[i] = id
	}
	return devices, nil
}

func contains(ascending []identity.DeviceID, device identity.DeviceID) bool {
	_, found := slices.BinarySearchFunc(ascending, device, func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) })
	return found
}

// groupSizes remembers how many entries a submit to a group makes, so that a batch
// of them does not become a long transaction. A group that it does not know counts
// as one of a few.
type groupSizes map[string]int

const (
	maxGroupSizes    = 1 << 16
	unknownGroupSize = 8
)

// entries estimates how many entries a submission makes.
func (g groupSizes) entries(s *Submission) int {
	if s.Group == nil {
		return len(s.Recipients)
	}
	n, known := g[s.Group.ID]
	if !known {
		n = unknownGroupSize
	}
	if s.Commit != nil {
		n += len(s.Commit.Welcomed)
	}
	return n
}

// learn notes what a submission that was written made.
func (g groupSizes) learn(s *Submission) {
	if s.Group == nil || s.FirstSequence == 0 {
		return
	}
	if len(g) >= maxGroupSizes {
		clear(g)
	}
	g[s.Group.ID] = len(s.Recipients)
}
