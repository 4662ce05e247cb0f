package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"go.uber.org/goleak"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
	"sealpost/relay/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) (relay.Store, func()) {
	t.Helper()
	s, err := sqlite.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}

// TestContract wants what each part of the contract leaves on disk to be sound, too.
func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) (relay.Store, func()) {
		s, closeStore := open(t, dir)
		return s, func() {
			closeStore()
			a, err := sqlite.OpenAdmin(context.WithoutCancel(t.Context()), dir)
			if err != nil {
				t.Fatal(err)
			}
			if problems, err := a.Check(); err != nil || len(problems) > 0 {
				t.Errorf("what is left on disk: %v, %v", problems, err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestOpenErrors(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    error
	}{
		"in use": {func(t *testing.T, dir string) {
			_, closeStore := open(t, dir)
			t.Cleanup(closeStore)
		}, sqlite.ErrInUse},
		"no database": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, sqlite.FileName), bytes.Repeat([]byte("x"), 8192))
		}, sqlite.ErrCorrupt},
		"damaged": {func(t *testing.T, dir string) {
			_, closeStore := open(t, dir)
			closeStore()
			path := filepath.Join(dir, sqlite.FileName)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copy(b[100:], bytes.Repeat([]byte{0xff}, 4000)) // page 1: the schema
			write(t, path, b)
		}, sqlite.ErrCorrupt},
		"newer": {func(t *testing.T, dir string) {
			c, err := sqlite3.Open(filepath.Join(dir, sqlite.FileName))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Exec(`PRAGMA user_version = 1000`); err != nil {
				t.Fatal(err)
			}
		}, sqlite.ErrNewerSchema},
		"a file in the way": {func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			write(t, dir, nil)
		}, fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			test.prepare(t, dir)
			s, err := sqlite.Open(dir)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, test.want) && !isNotDir(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
		})
	}
}

// isNotDir accepts what mkdir says of a file in the way.
func isNotDir(err, want error) bool {
	var path *fs.PathError
	return errors.Is(want, fs.ErrExist) && errors.As(err, &path) && path.Op == "mkdir"
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDataIsPrivate checks that only the owner reads the data.
func TestDataIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, closeStore := open(t, dir)
	defer closeStore()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("the directory has mode %v, %v", info.Mode(), err)
	}
}

// TestDeletedIsGone looks for acknowledged payloads, inline and shared, in the
// bytes of every file.
func TestDeletedIsGone(t *testing.T) {
	dir := t.TempDir()
	s, closeStore := open(t, dir)
	defer closeStore()
	var devices []identity.DeviceID
	for _, name := range []string{"alice", "bob"} {
		devices = append(devices, register(t, s, name))
	}
	canary := []byte("a payload that nobody may find")
	submissions := []*relay.Submission{
		{Sender: devices[0], ID: [16]byte{1}, Recipients: devices[1:], Kind: api.Kind_KIND_APPLICATION, Payload: canary},
		{Sender: devices[0], ID: [16]byte{2}, Recipients: devices, Kind: api.Kind_KIND_HANDSHAKE, Payload: canary},
	}
	batch := relay.Batch{Submissions: submissions, MailboxRows: 10, MailboxBytes: 1 << 20, At: time.Unix(1000, 0)}
	if err := s.Write(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	if !foundIn(t, dir, canary) {
		t.Fatal("the test does not find what is there")
	}
	acks := relay.Batch{Acks: []relay.Acknowledgement{{Device: devices[0], Sequence: relay.MaxSequence}, {Device: devices[1], Sequence: relay.MaxSequence}}, At: time.Unix(1000, 0)}
	if err := s.Write(t.Context(), &acks); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expire(t.Context(), relay.Due{}); err != nil { // empties the log
		t.Fatal(err)
	}
	if foundIn(t, dir, canary) {
		t.Fatal("an acknowledged payload is still on the disk")
	}
}

func register(t testing.TB, s relay.Store, name string) identity.DeviceID {
	t.Helper()
	key := identity.GenerateDeviceKey()
	c := identity.IssueCertificate(identity.GenerateAccountKey(), identity.Username(name), key.Public(), identity.NewDeviceID(), time.Unix(1000, 0))
	if err := s.Register(t.Context(), relay.Registration{Certificate: c, Record: []byte(name), MaxDevices: 1}); err != nil {
		t.Fatal(err)
	}
	return c.DeviceID
}

func foundIn(t *testing.T, dir string, canary []byte) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, canary) {
			return true
		}
	}
	return false
}
