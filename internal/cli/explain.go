package cli

import (
	"context"
	"errors"
	"fmt"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

// An explanation is what a person, and a program, is told about an error that
// they may meet.
type explanation struct {
	target error
	status int
	code   string // stable, for programs
	hint   string
}

var explanations = []explanation{
	{messenger.ErrNoProfile, exitFailure, "NO_PROFILE", "run sealpost client once to choose a name and a server"},
	{messenger.ErrProfileName, exitUsage, "BAD_PROFILE_NAME", "profiles are called such as alice or work-2"},
	{messenger.ErrWrongPassphrase, exitFailure, "WRONG_PASSPHRASE", "try again; nothing else opens this profile"},
	{messenger.ErrKeyring, exitFailure, "KEYRING", "log in to your desktop session, or unlock its keyring"},
	{messenger.ErrKeyFile, exitFailure, "KEY_FILE", "the file has to be as sealpost wrote it, and readable by you alone (mode 0600)"},
	{messenger.ErrDamaged, exitFailure, "PROFILE_DAMAGED", "restore the profile's folder from a copy, or start anew with --profile and another name"},
	{messenger.ErrNewerProfile, exitFailure, "PROFILE_TOO_NEW", "use the newest sealpost that you have"},
	{messenger.ErrNameTaken, exitFailure, "NAME_TAKEN", "choose another name"},
	{messenger.ErrInviteRequired, exitFailure, "INVITE_REQUIRED", "ask who runs the server for an invite code"},
	{messenger.ErrInviteInvalid, exitFailure, "INVITE_INVALID", "see that the code is complete, or ask who runs the server for a new one"},
	{identity.ErrInviteCode, exitUsage, "BAD_INVITE", "copy the code as you got it"},
	{messenger.ErrTooOften, exitUnavailable, "TOO_OFTEN", "try again then, or ask who runs the server for a higher limit"},
	{messenger.ErrServerUnavailable, exitUnavailable, "SERVER_UNAVAILABLE", "check the address, and that sealpost server runs there; then try again"},
	{messenger.ErrReplaced, exitFailure, "REPLACED", "quit the other client of this profile; a profile is for one device only, never copy it"},
	{messenger.ErrClockSkew, exitFailure, "CLOCK_SKEW", "set the clock of this computer"},
	{messenger.ErrUnknownRecipient, exitFailure, "UNKNOWN_RECIPIENT", "check the name; whoever you write to has to run sealpost client once on the same server"},
	{messenger.ErrRefused, exitFailure, "REFUSED", "ask who runs the server"},
	{messenger.ErrProfileExists, exitFailure, "PROFILE_EXISTS", "choose another name with --profile"},
	{messenger.ErrWrongUnlocker, exitFailure, "WRONG_PROTECTION", "another sealpost changed the profile meanwhile: try again"},
	{messenger.ErrUnknownConversation, exitFailure, "UNKNOWN_CONVERSATION", "sealpost group list shows your groups; +NAME is a group, NAME a person"},
	{messenger.ErrConversationClosed, exitFailure, "CONVERSATION_CLOSED", "ask somebody who is in it to add you again"},
	{messenger.ErrNotAccepted, exitFailure, "NOT_ACCEPTED", "see sealpost requests, then accept or decline it"},
	{messenger.ErrNotAGroup, exitUsage, "NOT_A_GROUP", "name a group as +NAME; sealpost group create makes one"},
	{messenger.ErrNotAdmin, exitFailure, "NOT_ADMIN", "ask one of those whom sealpost group members shows as administrators"},
	{messenger.ErrNotYours, exitFailure, "NOT_YOURS", "choose a message that you wrote"},
	{messenger.ErrNotFailed, exitFailure, "NOT_FAILED", "nothing has to be done: it was sent, or waits to be sent"},
	{messenger.ErrUnknownMessage, exitFailure, "UNKNOWN_MESSAGE", "it may have disappeared; sealpost search finds those that are there"},
	{messenger.ErrUnknownContact, exitFailure, "UNKNOWN_CONTACT", "check the name; /who in the chat lists your contacts"},
	{messenger.ErrSelf, exitUsage, "SELF", "name somebody else"},
	{messenger.ErrText, exitUsage, "BAD_TEXT", "write something; - reads standard input"},
	{messenger.ErrGroupName, exitUsage, "BAD_GROUP_NAME", "choose another name, without line breaks"},
	{messenger.ErrExpiry, exitUsage, "BAD_TIME", "say 30s, 10m, 8h, 7d or 4w, at most a year, or off"},
	{messenger.ErrKeyMismatch, exitKeyChanged, "KEY_MISMATCH", "the key changed once more meanwhile: compare the numbers again with sealpost verify"},
	{messenger.ErrBadDirectory, exitFailure, "FALSE_ANSWER", "the server is faulty or lies: tell who runs it; nothing was sent"},
	{identity.ErrForeignServer, exitUsage, "FOREIGN_SERVER", "leave out @ and the server: names are of your own server"},
	{identity.ErrUsername, exitUsage, "BAD_NAME", "names look like bob or anna-k; a group is +NAME"},
	{terminal.ErrLineTooLong, exitFailure, "TOO_LARGE", "encrypt it as a file with sealpost encrypt"},
	{messenger.ErrStore, exitFailure, "STORE", "see that the disk has room and that the profile's folder can be written, then try again; what was sent and received before is safe"},
	{context.DeadlineExceeded, exitUnavailable, "TIMEOUT", "the server is slow or gone: try again"},
}

// explain finds what to say about an error, and what else to do.
func explain(err error) *userError {
	if known, ok := errors.AsType[*userError](err); ok {
		return &userError{status: known.status, code: known.code, err: err, hint: known.hint}
	}
	if told := explainType(err); told != nil {
		return told
	}
	if errors.Is(err, context.Canceled) {
		return &userError{status: exitFailure, code: "INTERRUPTED", err: errors.New("interrupted")}
	}
	if told := lookUp(explanations, err); told != nil {
		return told
	}
	return &userError{status: exitFailure, code: "FAILED", err: err}
}

// lookUp returns what a table says about an error, or nil.
func lookUp(table []explanation, err error) *userError {
	for _, e := range table {
		if errors.Is(err, e.target) {
			return &userError{status: e.status, code: e.code, err: err, hint: e.hint}
		}
	}
	return nil
}

func explainType(err error) *userError {
	if e, ok := errors.AsType[*messenger.KeyChangedError](err); ok {
		return &userError{status: exitKeyChanged, code: "KEY_CHANGED", err: err, hint: fmt.Sprintf(
			"nothing was sent: ask %[1]s whether they set up anew, and compare the numbers with sealpost verify %[1]s", e.Username)}
	}
	if e, ok := errors.AsType[*messenger.UntrustedError](err); ok {
		return &userError{status: exitKeyChanged, code: "NOT_VERIFIED", err: err, hint: fmt.Sprintf(
			"nothing was sent: with --trust strict, sealpost verify %s comes first", e.Username)}
	}
	if e, ok := errors.AsType[*messenger.ServerChangedError](err); ok {
		return &userError{status: exitFailure, code: "SERVER_CHANGED", err: err, hint: fmt.Sprintf(
			"SOMEBODY MAY STAND BETWEEN YOU AND %s; nothing was sent. Ask who runs it, and by another way. "+
				"If it was set up anew, its accounts are gone: make a new one with sealpost client --profile and another name", e.Address)}
	}
	if e, ok := errors.AsType[*messenger.CertificateError](err); ok {
		return &userError{status: exitFailure, code: "SERVER_CERTIFICATE", err: err, hint: fmt.Sprintf(
			"nothing was sent. Either whoever runs %s has to renew its certificate, or SOMEBODY STANDS BETWEEN YOU AND IT; "+
				"check this computer's clock too", e.Address)}
	}
	if _, ok := errors.AsType[*messenger.ProfileInUseError](err); ok {
		return &userError{status: exitFailure, code: "PROFILE_IN_USE", err: err,
			hint: "quit that one first, or use another profile with --profile"}
	}
	if _, ok := errors.AsType[*messenger.TooLargeError](err); ok {
		return &userError{status: exitFailure, code: "TOO_LARGE", err: err, hint: "nothing was sent: sealpost encrypt seals a file of any size"}
	}
	if e, ok := errors.AsType[*messenger.FailedError](err); ok {
		return &userError{status: exitFailure, code: "NOT_SENT", err: err, hint: fmt.Sprintf("sealpost retry %v sends it again", e.ID)}
	}
	return nil
}
