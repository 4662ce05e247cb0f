package cli

// Exit statuses, for scripts. They are documented in docs/operations.md and do
// not change their meaning.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitKeyChanged   = 3 // a contact's account key is not the pinned one; nothing was sent
	exitUnavailable  = 4 // the server cannot be reached now; the error says whether a message is kept in the outbox
	exitNotAuthentic = 5 // the file to decrypt is cut off, changed, or not signed as demanded
)

// userError is an error with what only the command line knows: the exit status,
// the code for programs (--json), and the hint what to do next.
type userError struct {
	status int
	code   string
	err    error
	hint   string
}

func (e *userError) Error() string { return e.err.Error() }
func (e *userError) Unwrap() error { return e.err }
