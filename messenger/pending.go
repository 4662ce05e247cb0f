package messenger

import (
	"context"
	"errors"

	"sealpost/identity"
)

var errPending = errors.New("this part of the client is not built yet")

type protection struct{}

// Passphrase protects with a passphrase, which must not be empty.
func Passphrase(passphrase []byte) Unlocker { return nil }

// Keyring protects with the operating system's keyring.
func Keyring() Unlocker { return nil }

// KeyFile protects with a file of mode 0600 in the profile's directory.
func KeyFile() Unlocker { return nil }

// KeyringAvailable tells whether the operating system's keyring can be used.
func KeyringAvailable() bool { return false }

// Protection tells how an existing profile is protected, or [ErrNoProfile].
func Protection(dir string) (ProtectionKind, error) { return "", errPending }

// Exists tells whether there is a profile in dir.
func Exists(dir string) bool { return false }

// ProfileDir returns the directory of the profile of this name under the XDG
// data directory. It does not make it. The error is [ErrProfileName].
func ProfileDir(name string) (string, error) { return "", errPending }

// ServerFingerprint makes one TLS handshake with a server and returns its key's
// fingerprint, for a person to compare. A nil dial means TCP. The error wraps
// [ErrServerUnavailable].
func ServerFingerprint(ctx context.Context, dial DialFunc, address string) (identity.ServerID, error) {
	return identity.ServerID{}, errPending
}

// A Client is an open profile.
type Client struct{}

// Create makes the keys of a new account and device, writes them to disk, and
// registers them. If the server refuses or was never reached, nothing is left
// behind, and the error is [ErrNameTaken], [ErrRegistrationClosed],
// [*ServerChangedError], [ErrServerUnavailable] or [ErrProfileExists]. Where it
// is uncertain whether the server took the registration, the profile stays, the
// error is [ErrServerUnavailable] all the same, and [Open] and Run complete it.
func Create(ctx context.Context, options Options, profile NewProfile) (*Client, error) {
	return nil, errPending
}

// Open opens a profile. Its errors are [ErrNoProfile], [ErrWrongPassphrase],
// [ErrWrongUnlocker], [ErrKeyring], [ErrKeyFile], [*ProfileInUseError],
// [ErrDamaged] and [ErrNewerProfile]. It does not touch the network.
func Open(ctx context.Context, options Options) (*Client, error) { return nil, errPending }

// Close ends Run and every subscription, and closes the store.
func (c *Client) Close() error { return errPending }

// Self returns whose profile it is.
func (c *Client) Self() Account { return Account{} }

// Run keeps the line to the relay: it sends the outbox and receives, and
// reconnects with growing pauses. It returns nil when ctx ends or the client is
// closed, and otherwise what no retry can mend: [*ServerChangedError],
// [ErrReplaced], [ErrNameTaken] or [ErrRegistrationClosed] (of a registration that was
// not complete), or an error of the local store.
func (c *Client) Run(ctx context.Context) error { return errPending }

// Send seals a text to every device of an account and puts it into the outbox.
// When it returns, the message is on disk; Run sends it. The first message of a
// session to somebody asks the directory for the devices, and works without a
// line to the server only for a contact known already.
//
// Its errors are [*TooLargeError], [ErrText], [ErrSelf], [*KeyChangedError],
// [*UntrustedError], [ErrUnknownRecipient], [ErrServerUnavailable],
// [*ServerChangedError] and [ErrBadDirectory]; then nothing was written.
func (c *Client) Send(ctx context.Context, to identity.Username, text string, options ...SendOption) (MessageID, error) {
	return MessageID{}, errPending
}

// Wait waits until a message of ours has come to a state, while Run runs in
// another goroutine. The error is [*FailedError], a [*KeyChangedError] if the
// message is held because its recipient's key changed, [ErrUnknownMessage], or that of
// ctx.
func (c *Client) Wait(ctx context.Context, id MessageID, state State) error { return errPending }

// Subscribe returns the events from now on. The channel is closed when ctx ends
// or the client is closed. Nobody waits for a slow subscriber: see [Lagged].
func (c *Client) Subscribe(ctx context.Context) <-chan Event { return nil }

// Messages returns the last limit rows of a conversation, oldest first. A limit
// of 0 means all.
func (c *Client) Messages(ctx context.Context, with identity.Username, limit int) ([]Message, error) {
	return nil, errPending
}

// Unread returns the rows of all conversations that came in and were not marked
// as read, oldest first.
func (c *Client) Unread(ctx context.Context) ([]Message, error) { return nil, errPending }

// MarkRead marks rows as read.
func (c *Client) MarkRead(ctx context.Context, rows ...RowID) error { return errPending }

// Quarantine returns what was put aside and not shown, oldest first.
func (c *Client) Quarantine(ctx context.Context) ([]Quarantined, error) { return nil, errPending }

// Contacts returns the pinned contacts in the order of their names.
func (c *Client) Contacts(ctx context.Context) ([]Contact, error) { return nil, errPending }

// Identify returns what is known of an account and what the server says of it
// now, and pins nothing. For a new contact Pinned is zero and AccountKey is what
// the server says; for a contact whose key changed, NewKey is. If the
// server cannot be reached, a pinned contact comes from the store alone.
func (c *Client) Identify(ctx context.Context, username identity.Username) (Contact, error) {
	return Contact{}, errPending
}

// SafetyNumber returns the 60 digits that stand for this account and the other
// one. It is that of the pinned key, or of the key that the server offers if
// none is pinned; for a key that changed, see [Client.SafetyNumberOf].
func (c *Client) SafetyNumber(ctx context.Context, username identity.Username) (string, error) {
	return "", errPending
}

// SafetyNumberOf returns the 60 digits that stand for this account and another
// account key.
func (c *Client) SafetyNumberOf(key identity.AccountKey) string { return "" }

// AcceptKey pins key for a contact, in place of another that was pinned. The key
// must be the one that the contact's NewKey holds or the server offers now,
// otherwise the error is [ErrKeyMismatch]. The contact is then not
// verified. Messages still queued were sealed for the old key: they fail,
// and say so; they are never sealed again by themselves. Messages held under
// the new key are shown.
func (c *Client) AcceptKey(ctx context.Context, username identity.Username, key identity.AccountKey) error {
	return errPending
}

// Verify says that a person compared key, or its safety number, with the
// contact. It pins the key if none is pinned, accepts it if it is the changed one (as
// AcceptKey does), and marks the contact as verified.
func (c *Client) Verify(ctx context.Context, username identity.Username, key identity.AccountKey) error {
	return errPending
}

// LookupContact asks the server for the devices of an account and returns those
// that the account's key vouches for, under the same trust policy and with the
// same errors as Send.
func (c *Client) LookupContact(ctx context.Context, username identity.Username, options ...SendOption) (Contact, []identity.DeviceRecord, error) {
	return Contact{}, nil, errPending
}

// FileIdentity returns the age identity ("AGE-SECRET-KEY-PQ-1...") that opens
// files encrypted to this account. It is a secret.
func (c *Client) FileIdentity() string { return "" }

// FileSigner returns what signs files as this device.
func (c *Client) FileSigner() FileSigner { return FileSigner{} }

// A FileSigner signs what belongs to an encrypted file as one device. It prints
// as a placeholder.
type FileSigner struct{}

// Certificate returns the certificate of the device, which goes with the file.
func (s FileSigner) Certificate() identity.Certificate { return identity.Certificate{} }

// Sign signs message in [identity.ContextFile] and no other.
func (s FileSigner) Sign(message []byte) []byte { return nil }
