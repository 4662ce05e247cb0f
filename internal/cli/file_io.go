package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"sealpost/internal/terminal"
)

// What a new file may be read by: plaintext and keys by its owner alone,
// ciphertext by whom the umask lets.
const (
	plaintextMode  fs.FileMode = 0o600
	ciphertextMode fs.FileMode = 0o666
)

// progressSize is from where on a progress bar is worth its line, in bytes.
const progressSize = 16 << 20

func toStdin(path string) bool  { return path == "" || path == "-" }
func toStdout(path string) bool { return path == "" || path == "-" }

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// files is what the file commands read, write and ask.
type files struct {
	*environment
	console *terminal.Console
	tty     *os.File // nil where questions are answered on standard input
}

// newFiles prepares for a command whose data may come from standard input. A
// person then answers questions at the keyboard; where there is none, the answers
// come first, one a line, and the data after them.
func newFiles(env *environment, stdinIsData bool) *files {
	f := &files{environment: env, console: terminal.NewConsole(env.stdin, env.stderr)}
	if stdinIsData && !env.stdinIsTerminal() {
		if tty, err := os.Open("/dev/tty"); err == nil {
			f.tty, f.console = tty, terminal.NewConsole(tty, env.stderr)
		}
	}
	return f
}

func (f *files) close() error {
	if f.tty == nil {
		return nil
	}
	return f.tty.Close()
}

// standardInput is read where the console left off.
func (f *files) standardInput() io.Reader {
	if f.console.Reads(f.stdin) {
		return f.console.Reader()
	}
	return f.stdin
}

func (f *files) askSecret(question string) ([]byte, error) {
	secret, err := f.console.AskSecret(f.ctx, terminal.Printable(question))
	if err != nil {
		return nil, noAnswer("reading the passphrase", err)
	}
	return secret, nil
}

// An input is what a command reads.
type input struct {
	io.Reader
	name string      // as a person knows it
	info fs.FileInfo // nil where there is none
	file *os.File
}

func (f *files) open(path string) (*input, error) {
	if toStdin(path) {
		info, _ := f.stdin.Stat() // a closed standard input fails on reading
		return &input{Reader: f.standardInput(), name: "standard input", info: info}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	in := &input{Reader: file, name: path, info: info, file: file}
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder; pack it first, with tar for example", path)
	}
	if err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// close closes the file, but not standard input.
func (in *input) close() {
	if in.file != nil {
		_ = in.file.Close() // it was only read
	}
}

// showProgress draws a bar on a terminal while a large file is read, and returns
// what takes it away.
func (in *input) showProgress(screen io.Writer, out *output) (hide func()) {
	if !isTerminal(screen) || out.onTerminal || in.info == nil || !in.info.Mode().IsRegular() || in.info.Size() < progressSize {
		return func() {}
	}
	bar := progressbar.NewOptions64(in.info.Size(), progressbar.OptionSetWriter(screen),
		progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	reader := progressbar.NewReader(in.Reader, bar)
	in.Reader = &reader
	return func() { _ = bar.Clear() } // a bar that stays is no error
}

// An output is what a command writes. A file is written beside its place and
// put there by commit.
type output struct {
	io.Writer
	path       string // final one, or empty
	temp       *os.File
	onTerminal bool
	written    atomic.Int64 // bytes; what is left behind by copyAll still writes
	finish     func() error // ends what Writer holds back
}

func (f *files) create(path string, mode fs.FileMode) (*output, error) {
	if toStdout(path) {
		out := &output{Writer: f.stdout, onTerminal: isTerminal(f.stdout)}
		if out.onTerminal {
			harmless := &printableWriter{w: f.stdout}
			out.Writer, out.finish = harmless, harmless.flush
		}
		return out, nil
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return nil, fmt.Errorf("writing %s: it is a folder", path)
	}
	if err == nil && !info.Mode().IsRegular() { // a device or a pipe
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{Writer: file, finish: file.Close}, nil
	}
	temp := filepath.Join(filepath.Dir(path), ".sealpost-"+rand.Text()[:12])
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			err = failed.Err // it names a file that nobody asked for
		}
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	return &output{Writer: file, path: path, temp: file}, nil
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	o.written.Add(int64(n))
	return n, err
}

// commit makes the output final.
func (o *output) commit() error {
	if o.finish != nil {
		return o.finish()
	}
	if o.temp == nil {
		return nil
	}
	if err := errors.Join(o.temp.Sync(), o.temp.Close()); err != nil {
		return errors.Join(err, os.Remove(o.temp.Name()))
	}
	if err := os.Rename(o.temp.Name(), o.path); err != nil {
		return errors.Join(err, os.Remove(o.temp.Name()))
	}
	return nil
}

// discard leaves nothing behind where that is possible.
func (o *output) discard() error {
	if o.temp == nil {
		return nil
	}
	return errors.Join(o.temp.Close(), os.Remove(o.temp.Name()))
}

// consequence says what became of the output when something went wrong.
func (o *output) consequence() string {
	switch {
	case o.path != "":
		return "nothing was written to " + o.path
	case o.written.Load() == 0:
		return "nothing came out"
	}
	return "WHAT CAME OUT IS INCOMPLETE, do not use it"
}

// transform reads from one place and writes to another, or to none if
// something goes wrong.
func (f *files) transform(from, to string, mode fs.FileMode, do func(*input, *output) error) error {
	in, err := f.open(from)
	if err != nil {
		return err
	}
	defer in.close()
	if toStdin(from) && f.stdinIsTerminal() {
		fmt.Fprintln(f.stderr, "Type or paste, and end with Ctrl-D on a line of its own.")
	}
	if err := in.refuseSame(to); err != nil {
		return err
	}
	out, err := f.create(to, mode)
	if err != nil {
		return err
	}
	hide := in.showProgress(f.stderr, out)
	err = do(in, out)
	hide()
	if err != nil {
		return errors.Join(err, out.discard())
	}
	if err := out.commit(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// refuseSame keeps a file from being replaced by what was made of it.
func (in *input) refuseSame(to string) error {
	if toStdout(to) || in.info == nil {
		return nil
	}
	if info, err := os.Stat(to); err == nil && os.SameFile(info, in.info) && info.Mode().IsRegular() {
		return usageError(fmt.Errorf("%s would be replaced by what is made of it", to))
	}
	return nil
}

// copyAll copies until the end, an error, or the end of ctx. A read that nothing
// can stop is left behind; the program is about to end.
func copyAll(ctx context.Context, dst io.Writer, src io.Reader) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(writerOnly{dst}, readerOnly{ctx, src}, make([]byte, 64<<10))
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writerOnly and readerOnly hide what io.Copy would use instead of the buffer.
type writerOnly struct{ io.Writer }

type readerOnly struct {
	ctx context.Context
	r   io.Reader
}

func (r readerOnly) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// writeNew writes a file that must not exist yet, whole or not at all.
func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, plaintextMode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
