package seal

import "errors"

// Errors that a front end tells apart. None repeats what the file holds.
var (
	// ErrRecipient: a text is no recipient of a kind that is taken.
	ErrRecipient = errors.New("not an acceptable recipient")
	// ErrMixedRecipients: post-quantum and classic recipients for one file.
	ErrMixedRecipients = errors.New("a file cannot be for post-quantum (age1pq1...) and classic (age1...) recipients at once: a quantum computer would open it through the classic one")
	// ErrRecipientCount: no recipient, or more than [MaxRecipients].
	ErrRecipientCount = errors.New("a file has 1 to 1024 recipients")
	// ErrIdentity: a file holds no private key of a kind that is taken.
	ErrIdentity = errors.New("not an acceptable identity file")
	// ErrWrongPassphrase: the passphrase does not open an identity file.
	ErrWrongPassphrase = errors.New("wrong passphrase")

	// ErrNotAge: the input is not a file in the age format.
	ErrNotAge = errors.New("this is not a file in the age format")
	// ErrNoIdentity: none of the private keys opens the file.
	ErrNoIdentity = errors.New("the file was encrypted to other keys than those given")
	// ErrPassphraseFile: the file is encrypted to a passphrase, not to a key.
	ErrPassphraseFile = errors.New("the file is encrypted to a passphrase, not to a key")
	// ErrTruncated: the file ended too early. Where its last part does not
	// authenticate, nobody can tell whether it was cut or changed.
	ErrTruncated = errors.New("the file is cut off, or its end was changed")
	// ErrCorrupt: a part of the file does not authenticate.
	ErrCorrupt = errors.New("the file was changed or damaged")

	// ErrNotSigned: the file is not signed, and a signature was demanded.
	ErrNotSigned = errors.New("the file is not signed")
	// ErrWrongSigner: the file is signed by another account than demanded.
	ErrWrongSigner = errors.New("the file is signed by somebody else")
	// ErrNotForMe: the signer did not encrypt the file to the key that opened
	// it; somebody passed on what was signed for other people.
	ErrNotForMe = errors.New("the file was signed for other recipients, and somebody passed it on")
	// ErrForged: a signature does not verify, or the signed layer is malformed.
	ErrForged = errors.New("the signature does not hold: this is not what the signer encrypted")
	// ErrSignedVersion: the signed layer is of a version that is not known here.
	ErrSignedVersion = errors.New("the file was signed by a newer version of this program")
)
