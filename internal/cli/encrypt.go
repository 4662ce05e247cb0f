package cli

import (
	"errors"
	"fmt"
	"strings"

	"sealpost/identity"
	"sealpost/seal"
)

// encryptCommand encrypts a file or text to public keys.
type encryptCommand struct {
	To     []string `name:"recipient" short:"r" required:"" sep:"none" placeholder:"KEY" help:"Whom to encrypt to: a public key (age1pq1..., age1...), or @name for a user of your server. Repeatable."`
	Armor  bool     `short:"a" help:"Write text that survives mail and paste, a third larger."`
	Sign   bool     `help:"Prove that it comes from you. Plain age opens it too, but shows the signatures around the content."`
	Output string   `short:"o" placeholder:"FILE" help:"Where to write (default: standard output). The file appears when it is complete."`
	Input  string   `arg:"" optional:"" name:"file" help:"What to encrypt (default: standard input)."`

	keysFlags
}

// Help is shown by --help.
func (encryptCommand) Help() string {
	return `Encrypts a file of any size in the age format: whoever has the private key opens it with sealpost decrypt, or with age.

  sealpost encrypt -r age1pq1... -o report.age report.pdf
  echo "meet me at noon" | sealpost encrypt -a -r @bob
  sealpost encrypt --sign -r @bob -o plan.age plan.txt

With --sign, sealpost decrypt --from @you opens only what you signed, for just these recipients. A signed file is an age
file too, but age -d shows its signed form: a header and 64 bytes after every 256 KiB. Let sealpost take that off.`
}

// Run encrypts.
func (c *encryptCommand) Run(env *environment) error {
	return withFiles(env, toStdin(c.Input), func(f *files) error { return c.run(f, c.openProfile) })
}

func (c *encryptCommand) run(f *files, open openKeys) error {
	if toStdout(c.Output) && !c.Armor && isTerminal(f.stdout) {
		return &userError{status: exitUsage, code: "BINARY_TO_TERMINAL",
			err: errors.New("a terminal cannot show an encrypted file"), hint: "write text with --armor, or a file with -o FILE"}
	}
	recipients, options, err := c.keys(f, open)
	if err != nil {
		return err
	}
	return f.transform(c.Input, c.Output, ciphertextMode, func(in *input, out *output) error {
		w, err := seal.NewWriter(out, recipients, options)
		if err != nil {
			return err
		}
		if err := copyAll(f.ctx, w, in); err != nil {
			return err
		}
		return w.Close()
	})
}

// keys finds the public keys to encrypt to and the device that signs. It opens
// the profile only if it is needed.
func (c *encryptCommand) keys(f *files, open openKeys) ([]seal.Recipient, seal.Options, error) {
	options := seal.Options{Armor: c.Armor}
	var recipients []seal.Recipient
	var names []identity.Username
	for _, to := range c.To {
		if strings.HasPrefix(to, "@") {
			name, err := identity.ParseAddress(to)
			if err != nil {
				return nil, options, err
			}
			names = append(names, name)
			continue
		}
		r, err := seal.ParseRecipient(to)
		if err != nil {
			return nil, options, err
		}
		recipients = append(recipients, r)
	}
	if len(names) == 0 && !c.Sign {
		return recipients, options, nil
	}
	keys, err := open(f)
	if err != nil {
		return nil, options, err
	}
	if c.Sign {
		options.Signer = keys.signer()
	}
	for _, name := range names {
		theirs, err := keys.recipients(f.ctx, name)
		if err != nil {
			return nil, options, errors.Join(fmt.Errorf("looking up %s: %w", name, err), keys.Close())
		}
		recipients = append(recipients, theirs...)
	}
	return recipients, options, keys.Close()
}
