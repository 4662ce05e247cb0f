package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"sealpost/seal"
)

// keygenCommand makes a key pair for files.
type keygenCommand struct {
	Output     string `short:"o" placeholder:"FILE" help:"Write the private key to a new file, readable by you alone (default: standard output)."`
	Passphrase bool   `short:"p" help:"Protect the private key with a passphrase, asked for."`
	Convert    bool   `short:"y" help:"Make no key: print the public keys that belong to an identity file."`
	Input      string `arg:"" optional:"" name:"file" help:"With -y, the identity file (default: standard input)."`
}

// Help is shown by --help.
func (keygenCommand) Help() string {
	return `Makes a hybrid post-quantum key pair (ML-KEM-768 with X25519) for files and text, in the format of age.
The private key goes to FILE, which must not exist, or to standard output; the public key (age1pq1...) to standard error.
Give the public key to whoever is to encrypt for you. The age command can use both.

  sealpost keygen -o key.txt
  sealpost keygen -p -o key.txt      protected with a passphrase
  sealpost keygen -y key.txt         the public key once more`
}

// Run makes the key or converts the file.
func (c *keygenCommand) Run(env *environment) error {
	if c.Convert {
		if c.Passphrase {
			return usageError(errors.New("-p makes no sense with -y"))
		}
		return withFiles(env, toStdin(c.Input), c.convert)
	}
	if c.Input != "" {
		return usageError(errors.New("a file is read only with -y; -o names the file to write"))
	}
	return withFiles(env, false, c.generate)
}

func (c *keygenCommand) generate(f *files) error {
	if err := refuseExisting(c.Output); err != nil {
		return err
	}
	key, err := seal.GenerateIdentity()
	if err != nil {
		return err
	}
	var passphrase []byte
	if c.Passphrase {
		if passphrase, err = newPassphrase(f); err != nil {
			return err
		}
	}
	var file bytes.Buffer
	if err := seal.WriteIdentity(&file, key, time.Now(), passphrase); err != nil {
		return err
	}
	if toStdout(c.Output) {
		_, err = f.stdout.Write(file.Bytes())
	} else {
		err = writeNew(c.Output, file.Bytes())
	}
	if err != nil {
		return fmt.Errorf("writing the private key: %w", err)
	}
	if !toStdout(c.Output) || !isTerminal(f.stdout) || c.Passphrase {
		fmt.Fprintf(f.stderr, "Public key: %s\n", key.Recipient())
	}
	return nil
}

func (c *keygenCommand) convert(f *files) error {
	identities, err := f.readIdentities(c.Input)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, i := range identities {
		fmt.Fprintln(&text, i.Recipient())
	}
	if toStdout(c.Output) {
		_, err := io.WriteString(f.stdout, text.String())
		return err
	}
	return writeNew(c.Output, []byte(text.String()))
}

// newPassphrase asks for a passphrase, at a terminal twice.
func newPassphrase(f *files) ([]byte, error) {
	passphrase, err := f.askSecret("Passphrase for the private key: ")
	if err != nil {
		return nil, err
	}
	if len(passphrase) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	if !f.stdinIsTerminal() {
		return passphrase, nil
	}
	again, err := f.askSecret("The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, passphrase) {
		return nil, errors.New("the two passphrases are not the same")
	}
	return passphrase, nil
}

// readIdentities reads private keys from a file, and asks for its passphrase if
// it has one.
func (f *files) readIdentities(path string) ([]seal.Identity, error) {
	in, err := f.open(path)
	if err != nil {
		return nil, err
	}
	defer in.close()
	identities, err := seal.ReadIdentities(in, func() ([]byte, error) {
		return f.askSecret(fmt.Sprintf("Passphrase of %s: ", in.name))
	})
	if err != nil {
		return nil, fmt.Errorf("reading the private keys in %s: %w", in.name, err)
	}
	return identities, nil
}

// refuseExisting keeps a key from being lost, before anything is asked.
func refuseExisting(path string) error {
	if toStdout(path) {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("writing %s: %w", path, os.ErrExist)
	}
	return nil
}
