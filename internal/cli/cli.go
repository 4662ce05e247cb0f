package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"sealpost/internal/ops"
	"sealpost/internal/terminal"
)

// commands is the whole command line. Each command stands in a file of its name.
type commands struct {
	Demo   demoCommand   `cmd:"" help:"Watch a message travel: keys, ciphertext, what the server holds, an attack."`
	Client clientCommand `cmd:"" help:"Chat; the first run asks for a name and a server."`
	Send   sendCommand   `cmd:"" help:"Send one message."`
	Inbox  inboxCommand  `cmd:"" help:"Print new messages."`
	Verify verifyCommand `cmd:"" help:"Compare and confirm somebody's key."`

	Requests   requestsCommand   `cmd:"" help:"List who wants to write to you."`
	Accept     acceptCommand     `cmd:"" help:"Let somebody write to you."`
	Decline    declineCommand    `cmd:"" help:"Delete a request."`
	Block      blockCommand      `cmd:"" help:"Drop everything from somebody."`
	Unblock    unblockCommand    `cmd:"" help:"Take a block back."`
	Group      groupCommand      `cmd:"" help:"Make and change groups."`
	Search     searchCommand     `cmd:"" help:"Find messages."`
	Export     exportCommand     `cmd:"" help:"Write a conversation to a file."`
	Retry      retryCommand      `cmd:"" help:"Send a message again that failed."`
	Receipts   receiptsCommand   `cmd:"" help:"Say what contacts learn: that messages arrived, and were read."`
	Doctor     doctorCommand     `cmd:"" help:"Find out what is wrong with a profile, and repair what can be."`
	Passphrase passphraseCommand `cmd:"" help:"Change the passphrase of a profile."`

	Keygen  keygenCommand  `cmd:"" help:"Make a key pair for files and text."`
	Encrypt encryptCommand `cmd:"" help:"Encrypt a file or text to public keys."`
	Decrypt decryptCommand `cmd:"" help:"Decrypt a file or text, and check who signed it."`

	Server serverCommand `cmd:"" help:"Run the relay."`
	Admin  adminCommand  `cmd:"" help:"Look after a server: accounts, figures, backups."`
	Bench  benchCommand  `cmd:"" help:"Measure the relay under load."`

	Version kong.VersionFlag `help:"Show which sealpost this is."`
}

// environment is what a command may touch of the world around it.
type environment struct {
	ctx    context.Context // ended by SIGINT and SIGTERM
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
}

// stdinIsTerminal tells whether somebody sits at the keyboard.
func (e *environment) stdinIsTerminal() bool { return term.IsTerminal(int(e.stdin.Fd())) }

// Main runs the program with the arguments after its name and returns the exit
// status.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := &environment{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	return run(env, args)
}

// exitRequest carries an exit status out of the parser, which ends the process
// itself after --help.
type exitRequest int

func run(env *environment, args []string) (status int) {
	defer func() {
		if r := recover(); r != nil {
			request, ok := r.(exitRequest)
			if !ok {
				panic(r)
			}
			status = int(request)
		}
	}()
	var cmds commands
	parser, err := kong.New(&cmds,
		kong.Name("sealpost"),
		kong.Description("End-to-end encrypted messages, and a relay that cannot read them."),
		kong.Writers(env.stdout, env.stderr),
		kong.Exit(func(code int) { panic(exitRequest(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Vars{"acme_directory": ops.LetsEncrypt, "version": version()},
		kong.Bind(env),
	)
	if err != nil {
		panic(err) // the command structs are ours
	}
	parser.Model.HelpFlag.Help = "Show this help."
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(env.stderr, parseError(err))
	}
	return report(env.stderr, withUsage(parsed.Run(), parsed))
}

// version says which sealpost this is, as far as the build knows.
func version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "sealpost, unknown version"
	}
	return fmt.Sprintf("sealpost %s (%s)", cmp.Or(build.Main.Version, "(devel)"), build.GoVersion)
}

// report prints an error as a person reads it and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	forPerson := explain(err)
	text := "sealpost: error: " + terminal.Printable(forPerson.Error())
	if forPerson.hint != "" {
		text += "\nsealpost: hint: " + terminal.Printable(forPerson.hint)
	}
	if columns := terminal.Columns(w); columns > 0 {
		text = terminal.Wrap(text, columns, 2)
	}
	fmt.Fprintln(w, text)
	return forPerson.status
}
