package cli

import (
	"errors"
	"io/fs"

	"sealpost/seal"
)

// fileExplanations tell what to do about a file or a key that is not as it should be.
var fileExplanations = []explanation{
	{seal.ErrTruncated, exitNotAuthentic, "CUT_OFF", "get the whole file from whoever sent it"},
	{seal.ErrCorrupt, exitNotAuthentic, "CHANGED", "get the file once more from whoever sent it"},
	{seal.ErrForged, exitNotAuthentic, "FORGED", "do not trust it: whoever encrypted it is not its signer"},
	{seal.ErrNotForMe, exitNotAuthentic, "NOT_FOR_YOU", "do not trust it: ask the signer whether it was meant for you"},
	{seal.ErrNotSigned, exitNotAuthentic, "NOT_SIGNED", "ask for a file made with sealpost encrypt --sign, or leave out --from: then anybody may have made it"},
	{seal.ErrWrongSigner, exitNotAuthentic, "WRONG_SIGNER", "do not take it for theirs"},
	{seal.ErrNotAge, exitNotAuthentic, "NOT_AGE", "name a file that sealpost encrypt or age wrote"},
	{seal.ErrSignedVersion, exitFailure, "TOO_NEW", "use a newer sealpost"},
	{seal.ErrNoIdentity, exitFailure, "NO_IDENTITY", "name the file with the right private key: -i FILE"},
	{seal.ErrPassphraseFile, exitFailure, "PASSPHRASE_FILE", "age -d opens it"},
	{seal.ErrWrongPassphrase, exitFailure, "WRONG_PASSPHRASE", "try again; nothing else opens this private key"},
	{seal.ErrIdentity, exitFailure, "BAD_IDENTITY", "name a file that sealpost keygen or age-keygen wrote"},
	{seal.ErrRecipient, exitUsage, "BAD_RECIPIENT", "a public key begins with age1pq1 or age1; @name is a user of your server"},
	{seal.ErrMixedRecipients, exitUsage, "MIXED_RECIPIENTS", "encrypt once for each kind, or ask for age1pq1... keys (sealpost keygen makes them)"},
	{seal.ErrRecipientCount, exitUsage, "RECIPIENTS", ""},
	{fs.ErrExist, exitFailure, "FILE_EXISTS", "name a new file, or move that one away first"},
	{fs.ErrNotExist, exitFailure, "NO_FILE", "check the path"},
	{fs.ErrPermission, exitFailure, "NO_PERMISSION", "choose a place that you may read and write"},
}

// withFiles runs a file command and explains its error.
func withFiles(env *environment, stdinIsData bool, run func(*files) error) error {
	f := newFiles(env, stdinIsData)
	return errors.Join(explainFile(run(f)), f.close())
}

// explainFile adds to an error of the file commands what to do about it.
func explainFile(err error) error {
	var explained *userError
	if err == nil || errors.As(err, &explained) {
		return err
	}
	if told := lookUp(fileExplanations, err); told != nil {
		return told
	}
	return err
}
