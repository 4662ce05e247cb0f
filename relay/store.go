package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// Errors that a [Store] returns, wrapped or not, and that clients are told.
var (
	// ErrNameTaken: the username belongs to another account key.
	ErrNameTaken = errors.New("the name belongs to another account")
	// ErrDeviceTaken: the device id is registered with another record.
	ErrDeviceTaken = errors.New("the device id is registered with another record")
	// ErrTooManyDevices: the account has as many devices as it may have.
	ErrTooManyDevices = errors.New("the account has too many devices")
	// ErrUnknownAccount: nobody registered the username.
	ErrUnknownAccount = errors.New("no such account")
	// ErrUnknownDevice: nobody registered the device id.
	ErrUnknownDevice = errors.New("no such device")
	// ErrUnknownRecipient: a recipient of a submission is not registered.
	ErrUnknownRecipient = errors.New("a recipient is not registered")
	// ErrMailboxFull: a recipient's mailbox has no room for a submission.
	ErrMailboxFull = errors.New("a recipient's mailbox is full")
	// ErrMailboxShare: a recipient's mailbox holds as much of the sender's account as
	// it may.
	ErrMailboxShare = fmt.Errorf("%w for the account", ErrMailboxFull)
	// ErrNotAMember: there is no such group, or its delivery list does not name
	// the sender.
	ErrNotAMember = errors.New("the sender is not on the delivery list of the group")
	// ErrStaleEpoch: the group is in another epoch; see [StaleEpochError].
	ErrStaleEpoch = errors.New("the group is in another epoch")
	// ErrTooManyKeyPackages: the stock of a device has no room for more.
	ErrTooManyKeyPackages = errors.New("the device has too many key packages in stock")
	// ErrFull: the store has no room left. What it holds is safe and can be read.
	ErrFull = errors.New("the server's disk is full")
)

// A Store keeps accounts, devices and mailboxes. The relay calls Write from one
// goroutine at a time, and the others from many. Package storetest is its
// contract as a test suite.
type Store interface {
	// Register adds a device and, where it is the first, its account, which may use
	// up an invitation in the same transaction. The same record again is no error.
	// Otherwise the error is ErrInviteRequired, ErrInviteInvalid, ErrNameTaken,
	// ErrDeviceTaken or ErrTooManyDevices.
	Register(ctx context.Context, registration Registration) error
	// Device returns the key of a device, or ErrUnknownDevice.
	Device(ctx context.Context, id identity.DeviceID) (identity.DeviceKey, error)
	// Records returns the device records of an account by time of registration,
	// or ErrUnknownAccount.
	Records(ctx context.Context, username identity.Username) ([][]byte, error)
	// Write applies a batch in one transaction: first the acknowledgements, then
	// the submissions in order. When it returns nil, the results in the
	// submissions are set and what they say is on disk, proof against power loss.
	// When it returns an error, the caller knows of none of them whether it
	// happened, and submits again. Where the store is full, it takes the
	// acknowledgements all the same, if it can, and refuses the submissions.
	Write(ctx context.Context, batch *Batch) error
	// Read returns the envelopes in a device's mailbox after a sequence number, in
	// order: as many as there are within the page, at least one if any is there,
	// and whether there are more.
	Read(ctx context.Context, device identity.DeviceID, after uint64, page Page) (envelopes []Envelope, more bool, err error)
	// Expire deletes what is due, in steps between which others write, and returns
	// how much went, also with an error.
	Expire(ctx context.Context, due Due) (Expired, error)
	// Status returns what the store knows of a device, or ErrUnknownDevice.
	Status(ctx context.Context, device identity.DeviceID, at time.Time) (DeviceStatus, error)

	KeyPackageStore
	NonceStore
}

// Due says what expires.
type Due struct {
	Before time.Time // envelopes accepted before, and remembered submit ids
	Nonces time.Time // nonces of requests made before
	At     time.Time // key packages and invitations that end by then
	Groups time.Time // groups in which nobody wrote since, or in the day after
}

// Expired counts what expired.
type Expired struct{ Envelopes, SubmitIDs, Nonces, KeyPackages, Invites, Groups int }

// A DeviceStatus is what a device is told at the beginning of a line.
type DeviceStatus struct {
	// Username is of the account that the device belongs to.
	Username identity.Username
	// Acked is the highest sequence number that was given at all and that the
	// device acknowledged; 0 if none was.
	Acked uint64
	// Last is the highest sequence number that was given to anybody.
	Last uint64
	// KeyPackages is how many are in stock, without the last resort.
	KeyPackages int
	// LastSubmit is the id of the last submission that was accepted, nil if none
	// was.
	LastSubmit []byte
}

// A Registration is a device record whose signatures were verified, and its
// encoding.
type Registration struct {
	Certificate identity.Certificate
	Record      []byte // identity.DeviceRecord
	At          time.Time
	MaxDevices  int // how many devices an account may have
	// ByInvite says that who has no account key here needs an invite code, even to
	// hear that a name is taken.
	ByInvite bool
	Invite   *identity.InviteCode // nil: none
}

// A Batch is what the relay writes at once.
type Batch struct {
	Acks        []Acknowledgement
	Submissions []*Submission
	// MailboxRows and MailboxBytes bound each mailbox, and MailboxShare what one
	// account can have in it, in percent of both, with one envelope in any case. What
	// is acknowledged may count until all of the account is that waited then, and
	// what a mailbox held when the store was opened does not count. 0: no bound.
	MailboxRows  int
	MailboxBytes int64
	MailboxShare int
	At           time.Time
}

// An Acknowledgement lets the store delete a mailbox up to a sequence number.
type Acknowledgement struct {
	Device   identity.DeviceID
	Sequence uint64 // at most MaxSequence
}

// MaxSequence is the greatest sequence number.
const MaxSequence = 1<<63 - 1

// A Submission is an envelope on its way into mailboxes: into all of them, or
// into none.
type Submission struct {
	Sender identity.DeviceID
	ID     [api.SubmitIDSize]byte
	// Recipients has no duplicates. Outside a group there is at least one; for a
	// group the store sets it to the delivery list without the sender, and without
	// those whom a commit removes and whose mailboxes are full. A request in a group
	// comes with recipients, and the store leaves those who are on the list.
	Recipients []identity.DeviceID
	Kind       api.Kind
	Payload    []byte
	Group      *GroupEpoch // nil outside a group
	Commit     *Commit     // nil but for a commit, which ends the epoch in Group

	// Err is nil when the submission is accepted, now or by an earlier submit of
	// the same sender and id; otherwise a RecipientError with ErrUnknownRecipient or
	// ErrMailboxFull or ErrMailboxShare, ErrNotAMember, a StaleEpochError or ErrFull.
	Err error
	// FirstSequence is the sequence number in the mailbox of the first recipient,
	// and each further recipient has the next number. It is 0 where nothing is
	// delivered: for a repeat, and where there is no recipient.
	FirstSequence uint64
	// ListHash is the identity.DeliveryListHash of the list that was used, for a
	// group.
	ListHash []byte
}

// An Envelope is one entry of a mailbox.
type Envelope struct {
	Sequence uint64 // grows within a mailbox, never 0, never used twice
	Kind     api.Kind
	Payload  []byte
	// Group and ListHash are nil outside a group.
	Group, ListHash []byte
}

// A RecipientError says which recipient stands in the way of a submission.
type RecipientError struct {
	Device identity.DeviceID
	Err    error // ErrUnknownRecipient, ErrMailboxFull or ErrMailboxShare
}

// Error implements error.
func (e RecipientError) Error() string { return fmt.Sprintf("%v: %v", e.Device, e.Err) }

// Unwrap returns Err.
func (e RecipientError) Unwrap() error { return e.Err }

// A Page bounds one read of a mailbox.
type Page struct {
	Rows  int // at least 1
	Bytes int // of payload; one envelope passes even if it is larger
}
