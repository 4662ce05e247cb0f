package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sealpost/internal/terminal"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

type adminCheckCommand struct{ dataFlag }

// Help is shown by admin check --help.
func (*adminCheckCommand) Help() string {
	return "Works on a backup too: name it with --data. The exit status is 0 where all is sound, and 1 where it is not."
}

// Run reads everything.
func (c *adminCheckCommand) Run(env *environment) error {
	var problems []string
	err := c.withStore(env, func(admin *sqlite.Admin) (err error) {
		problems, err = admin.Check()
		return err
	})
	if err != nil {
		return err
	}
	for _, problem := range problems {
		fmt.Fprintln(env.stdout, terminal.Printable(problem))
	}
	if len(problems) > 0 {
		told := &userError{status: exitFailure, code: "DATA_NOT_SOUND", err: fmt.Errorf("%s is not sound: %s", c.dir(), count(len(problems), "problem")),
			hint: "restore a backup with sealpost admin restore, and keep what is there until that works"}
		if strings.HasPrefix(problems[0], relay.CertificateFile) { // it is looked at last
			told.hint = "the database is sound: mend what is said above, or take " + relay.CertificateFile + " from a backup"
		}
		return told
	}
	_, err = fmt.Fprintf(env.stdout, "%s is sound\n", c.dir())
	return err
}

type adminBackupCommand struct {
	dataFlag
	To string `arg:"" name:"dir" type:"path" help:"Directory to make."`
}

// Help is shown by admin backup --help.
func (*adminBackupCommand) Help() string {
	return "A backup is a data directory of its own, with the server as it was at one moment: accounts, what waited in mailboxes, " +
		"and the private key by which clients know it. Keep it as you keep the server. Stopped in the middle, it leaves nothing."
}

// Run backs up.
func (c *adminBackupCommand) Run(env *environment) error {
	if err := copyData(env, c.dir(), c.To); err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "backed up %s to %s  (%s)\n", c.dir(), c.To, size(dataSize(c.To)))
	if _, err := os.Stat(filepath.Join(c.To, relay.CertificateFile)); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(env.stderr, "sealpost: NO CERTIFICATE IN IT: a server with --domain gets itself another; back up the files of --tls-cert and --tls-key.\n")
		return nil
	}
	fmt.Fprintln(env.stderr, "sealpost: IT HOLDS THE SERVER'S PRIVATE KEY: whoever has it can pose as the server. Keep it as you keep the server.")
	return nil
}

type adminRestoreCommand struct {
	dataFlag
	From string `arg:"" name:"dir" type:"path" help:"Backup to restore."`
}

// Help is shown by admin restore --help.
func (*adminRestoreCommand) Help() string {
	return "Makes the directory named by --data, which must be empty or not exist, and checks the backup first. " +
		"What happened since the backup is gone: see docs/operations.md."
}

// Run restores.
func (c *adminRestoreCommand) Run(env *environment) error {
	if err := copyData(env, c.From, c.dir()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.stdout, "restored %s to %s; start it with sealpost server --data %[2]s\n", c.From, c.dir())
	return err
}

func copyData(env *environment, from, to string) error {
	err := sqlite.Copy(env.ctx, from, to)
	if env.ctx.Err() != nil {
		return env.ctx.Err()
	}
	if err != nil {
		return explainData(from, err)
	}
	return nil
}

func dataSize(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, sqlite.FileName))
	if err != nil {
		return 0
	}
	return info.Size()
}
