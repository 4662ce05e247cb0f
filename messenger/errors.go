package messenger

import (
	"errors"
	"fmt"
	"time"

	"sealpost/identity"
)

// Errors that a front end tells apart. Those that need data are types.
var (
	// ErrNoProfile: there is no profile in the directory.
	ErrNoProfile = errors.New("there is no profile here")
	// ErrProfileExists: Create found a profile in the directory.
	ErrProfileExists = errors.New("there is a profile here already")
	// ErrProfileName: a profile's name is malformed.
	ErrProfileName = errors.New("a profile's name has 1 to 32 characters: a-z, 0-9, dash and underscore, and starts with a letter or a digit")
	// ErrWrongPassphrase: the passphrase does not open the profile.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrWrongUnlocker: the profile is protected in another way than the
	// [Unlocker] offers; [Protection] tells which.
	ErrWrongUnlocker = errors.New("the profile is protected in another way")
	// ErrKeyring: the operating system's keyring cannot be used, or does not have
	// the key of the profile.
	ErrKeyring = errors.New("the system keyring does not give the profile's key")
	// ErrKeyFile: the key file is missing, damaged, or readable by others.
	ErrKeyFile = errors.New("the profile's key file is not usable")
	// ErrDamaged: a file of the profile is not what this program wrote.
	ErrDamaged = errors.New("the profile is damaged")
	// ErrNewerProfile: a newer version of the program wrote the profile.
	ErrNewerProfile = errors.New("a newer version of this program wrote the profile")
	// ErrStore: the profile's database cannot be read or written, for one because
	// the disk is full. What was accepted and received before is safe.
	ErrStore = errors.New("the local store cannot be used")
	// ErrClosed: the client is closed.
	ErrClosed = errors.New("the profile is closed")
	// ErrRunning: Run was called while it runs.
	ErrRunning = errors.New("the client runs already")

	// ErrNameTaken: the name belongs to another account on this server.
	ErrNameTaken = errors.New("the name is taken on this server")
	// ErrInviteRequired: the server takes new accounts by invitation, and no code
	// was given.
	ErrInviteRequired = errors.New("the server takes new accounts by invitation")
	// ErrInviteInvalid: the server does not take the invite code.
	ErrInviteInvalid = errors.New("the invite code is wrong, used up, revoked or expired")
	// ErrServerUnavailable: the server cannot be reached now.
	ErrServerUnavailable = errors.New("the server cannot be reached")
	// ErrTooOften: the server limits how often it is asked. It is an
	// ErrServerUnavailable.
	ErrTooOften error = tooOftenError{}
	// ErrReplaced: the same device connected from elsewhere, and the server
	// closed this line in its favour.
	ErrReplaced = errors.New("this device connected from somewhere else")
	// ErrClockSkew: the clock of this computer is too far from the server's.
	ErrClockSkew = errors.New("the clock of this computer and that of the server are too far apart")
	// ErrRefused: the server refused a call for a reason that is not one of the
	// above.
	ErrRefused = errors.New("the server refused")

	// ErrUnknownRecipient: the server knows no such account.
	ErrUnknownRecipient = errors.New("no such account on this server")
	// ErrSelf: a message, or another thing that needs a second person, was
	// addressed to the profile's own account.
	ErrSelf = errors.New("this is your own account")
	// ErrText: a text is empty or not valid UTF-8.
	ErrText = errors.New("a message is text in UTF-8, and not empty")
	// ErrGroupName: the name of a group is not 1 to [MaxNameLen] bytes on one line.
	ErrGroupName = errors.New("a group's name is one line of text in UTF-8 with at most 128 bytes")
	// ErrExpiry: a time after which messages disappear is out of range.
	ErrExpiry = errors.New("not a time that messages can disappear after")
	// ErrUnknownConversation: there is no conversation with this id.
	ErrUnknownConversation = errors.New("no such conversation")
	// ErrConversationClosed: we left the conversation, were removed, or declined it.
	ErrConversationClosed = errors.New("you are not in this conversation any more")
	// ErrNotAccepted: the conversation is a request that was not accepted.
	ErrNotAccepted = errors.New("this is a request that you have not accepted")
	// ErrNotAGroup: the conversation is a direct one.
	ErrNotAGroup = errors.New("this is no group")
	// ErrNotAdmin: only an administrator of the group may do this.
	ErrNotAdmin = errors.New("only an administrator of the group may do this")
	// ErrNotYours: only who wrote a message may change it, and not once it was taken
	// back.
	ErrNotYours = errors.New("this is not a message of yours that can be changed")
	// ErrNotFailed: only a message that failed can be tried again.
	ErrNotFailed = errors.New("only a message that failed can be sent again")
	// ErrUnknownMessage: there is no message of this profile's with this id.
	ErrUnknownMessage = errors.New("no such message")
	// ErrUnknownContact: there is no contact of this name.
	ErrUnknownContact = errors.New("no such contact")
	// ErrKeyMismatch: the key to accept or verify is neither the pinned one nor
	// the one that the server offers now.
	ErrKeyMismatch = errors.New("this is not the contact's key")
	// ErrBadDirectory: the server's answer about an account does not hold together.
	ErrBadDirectory = errors.New("the server gave a false answer about an account")
)

// A ProfileInUseError says that another process has the profile open.
type ProfileInUseError struct {
	PID int // the other process, 0 where it could not be read
}

func (e *ProfileInUseError) Error() string {
	if e.PID == 0 {
		return "the profile is in use by another process"
	}
	return fmt.Sprintf("the profile is in use by process %d", e.PID)
}

type tooOftenError struct {
	retry time.Duration // after which it may be asked again; 0: it did not say
}

func (e tooOftenError) Error() string {
	text := "the server limits how often it is asked"
	if e.retry > 0 {
		text += ", and may be asked again in " + max(e.retry.Round(time.Second), time.Second).String()
	}
	return text
}

func (tooOftenError) Is(target error) bool { return target == ErrTooOften }

func (tooOftenError) Unwrap() error { return ErrServerUnavailable }

// A ServerChangedError says that a server showed another TLS key than the one
// pinned for it: it was set up anew, or somebody stands in between. Nothing was
// sent to it.
type ServerChangedError struct {
	Address         string
	Pinned, Offered identity.ServerID
}

func (e *ServerChangedError) Error() string {
	return fmt.Sprintf("the server %s changed its key: pinned %v, now %v", e.Address, e.Pinned, e.Offered)
}

// A CertificateError says that a server has no valid certificate for its name:
// it was not renewed, or somebody stands in between. Nothing was sent to it.
type CertificateError struct {
	Address string
	Err     error // of crypto/x509
}

func (e *CertificateError) Error() string {
	return fmt.Sprintf("the server %s has no valid certificate: %v", e.Address, e.Err)
}

// Unwrap gives the reason.
func (e *CertificateError) Unwrap() error { return e.Err }

// A KeyChangedError says that an account has another key than the one pinned
// for it: the person set up anew, or somebody stands in between. Nothing was
// sent under the new key. [Client.AcceptKey] accepts it.
type KeyChangedError struct {
	Username        identity.Username
	Pinned, Offered identity.AccountKey
	Verified        bool // the pinned key had been verified by hand
}

func (e *KeyChangedError) Error() string {
	return fmt.Sprintf("the key of %s changed: pinned %v, now %v", e.Username, e.Pinned, e.Offered)
}

// An UntrustedError says that [TrustStrict] refused an account whose key is not
// pinned. [Client.Verify] pins it after a person compared it.
type UntrustedError struct {
	Username identity.Username
	Offered  identity.AccountKey
}

func (e *UntrustedError) Error() string {
	return fmt.Sprintf("the key of %s has not been verified: %v", e.Username, e.Offered)
}

// A TooLargeError says that a text is longer than a message can be. Nothing was
// written.
type TooLargeError struct {
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the message has %d bytes, and %d are the most; send it as a file", e.Size, e.Limit)
}

// A FailedError says that a message will not go out, and why.
type FailedError struct {
	ID     MessageID
	Reason string
}

func (e *FailedError) Error() string { return "the message was not sent: " + e.Reason }
