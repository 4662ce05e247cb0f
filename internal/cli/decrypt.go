package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sealpost/identity"
	"sealpost/seal"
)

// decryptCommand opens a file that was encrypted to a public key.
type decryptCommand struct {
	Identity []string `short:"i" sep:"none" placeholder:"FILE" help:"A file with your private key (default: the key of your profile). Repeatable."`
	From     string   `placeholder:"WHO" help:"Open only what this person signed: @name for a user of your server, or the text of an account key (account:...), which needs no server."`
	Output   string   `short:"o" placeholder:"FILE" help:"Where to write (default: standard output). The file appears when everything in it is authenticated."`
	Input    string   `arg:"" optional:"" name:"file" help:"What to decrypt, binary or armored (default: standard input)."`

	keysFlags
}

// Help is shown by --help.
func (decryptCommand) Help() string {
	return `Opens what sealpost encrypt or age encrypted to a public key of yours.

  sealpost decrypt -i key.txt -o report.pdf report.age
  sealpost decrypt --from @bob plan.age

Nothing comes out before it is authenticated. A file that is cut off or changed ends with exit status 5; what went to
standard output until then is authentic but incomplete. With -o, nothing is left behind.`
}

// Run decrypts.
func (c *decryptCommand) Run(env *environment) error {
	stdinIsData := toStdin(c.Input) || slices.ContainsFunc(c.Identity, toStdin)
	return withFiles(env, stdinIsData, func(f *files) error { return c.run(f, c.openProfile) })
}

func (c *decryptCommand) run(f *files, open openKeys) error {
	identities, from, err := c.keys(f, open)
	if err != nil {
		return err
	}
	var r *seal.Reader
	err = f.transform(c.Input, c.Output, plaintextMode, func(in *input, out *output) (err error) {
		if r, err = openSealed(in, identities, from); err != nil {
			return fmt.Errorf("opening %s: %w", in.name, err)
		}
		if err := copyAll(f.ctx, out, r); err != nil {
			return fmt.Errorf("decrypting %s: %w; %s", in.name, err, out.consequence())
		}
		return nil
	})
	if err == nil && from == nil {
		tellSigner(f.stderr, r)
	}
	return err
}

func openSealed(in *input, identities []seal.Identity, from *identity.AccountKey) (*seal.Reader, error) {
	if from != nil {
		return seal.NewReaderFrom(in, identities, *from)
	}
	return seal.NewReader(in, identities)
}

// tellSigner says who signed the file, if it was signed.
func tellSigner(w io.Writer, r *seal.Reader) {
	certificate, signed := r.Signer()
	if !signed {
		return
	}
	fmt.Fprintf(w, "sealpost: signed by %s, who goes by the name of %s; whose key that is was not checked (--from does)\n",
		certificate.AccountKey, certificate.Username)
}

// keys finds the private keys to try and the account that must have signed. It
// opens the profile only if it is needed.
func (c *decryptCommand) keys(f *files, open openKeys) ([]seal.Identity, *identity.AccountKey, error) {
	from, name, err := c.signer()
	if err != nil {
		return nil, nil, err
	}
	identities, err := c.identities(f)
	if err != nil {
		return nil, nil, err
	}
	if len(identities) > 0 && name == "" {
		return identities, from, nil
	}
	keys, err := open(f)
	if err != nil {
		return nil, nil, err
	}
	if len(identities) == 0 {
		own, err := keys.identity()
		if err != nil {
			return nil, nil, errors.Join(err, keys.Close())
		}
		identities = []seal.Identity{own}
	}
	if name != "" {
		account, err := keys.account(f.ctx, name)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("looking up %s: %w", name, err), keys.Close())
		}
		from = &account
	}
	return identities, from, keys.Close()
}

// signer reads --from: an account key, or the name of somebody whose key is to
// be looked up.
func (c *decryptCommand) signer() (*identity.AccountKey, identity.Username, error) {
	if c.From == "" {
		return nil, "", nil
	}
	if strings.HasPrefix(c.From, "account:") {
		key, err := identity.ParseAccountKey(c.From)
		return &key, "", err
	}
	name, err := identity.ParseAddress(c.From)
	return nil, name, err
}

func (c *decryptCommand) identities(f *files) ([]seal.Identity, error) {
	var all []seal.Identity
	for _, path := range c.Identity {
		if toStdin(path) && toStdin(c.Input) {
			return nil, usageError(errors.New("standard input cannot be both the private key and the file"))
		}
		identities, err := f.readIdentities(path)
		if err != nil {
			return nil, err
		}
		all = append(all, identities...)
	}
	return all, nil
}
