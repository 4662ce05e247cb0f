package cli

import (
	"context"
	"fmt"

	"sealpost/identity"
	"sealpost/messenger"
	"sealpost/seal"
)

// fileKeys are the keys that the file commands take from a profile and its
// server.
type fileKeys interface {
	// recipients are the public keys for files of another account.
	recipients(ctx context.Context, name identity.Username) ([]seal.Recipient, error)
	// account is the key that another account's signatures are checked against.
	account(ctx context.Context, name identity.Username) (identity.AccountKey, error)
	// identity is the profile's own private key for files.
	identity() (seal.Identity, error)
	// signer signs as the profile's device. It works after Close.
	signer() seal.Signer
	Close() error
}

// openKeys opens a profile, asking for its passphrase where it has one.
type openKeys func(*files) (fileKeys, error)

// keysFlags say whose profile it is, and whose key to believe.
type keysFlags struct {
	profileFlags
	trustFlags
}

func (k keysFlags) openProfile(f *files) (fileKeys, error) {
	client, err := k.open(f.environment, f.console)
	if err != nil {
		return nil, err
	}
	return clientKeys{client, k.options()}, nil
}

// clientKeys are the keys of an open profile.
type clientKeys struct {
	*messenger.Client
	options []messenger.ContactOption
}

func (k clientKeys) recipients(ctx context.Context, name identity.Username) ([]seal.Recipient, error) {
	if self := k.Self(); self.Username == name {
		r, err := seal.ParseRecipient(self.FileRecipient)
		return []seal.Recipient{r}, err
	}
	_, devices, err := k.LookupContact(ctx, name, k.options...)
	if err != nil {
		return nil, err
	}
	var all []seal.Recipient
	for _, device := range devices {
		r, err := seal.ParseRecipient(device.FileRecipient)
		if err != nil {
			return nil, fmt.Errorf("reading the public key of a device: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// account needs no server for a contact who is pinned.
func (k clientKeys) account(ctx context.Context, name identity.Username) (identity.AccountKey, error) {
	if self := k.Self(); self.Username == name {
		return self.AccountKey, nil
	}
	contacts, err := k.Contacts(ctx)
	if err != nil {
		return identity.AccountKey{}, err
	}
	for _, c := range contacts {
		if c.Username != name {
			continue
		}
		if c.NewKey != nil {
			return identity.AccountKey{}, &messenger.KeyChangedError{
				Username: name, Pinned: c.AccountKey, Offered: *c.NewKey, Verified: c.Verified}
		}
		return c.AccountKey, nil
	}
	contact, _, err := k.LookupContact(ctx, name, k.options...)
	return contact.AccountKey, err
}

func (k clientKeys) identity() (seal.Identity, error) { return seal.ParseIdentity(k.FileIdentity()) }

func (k clientKeys) signer() seal.Signer { return k.FileSigner() }
