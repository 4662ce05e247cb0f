package messenger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/zalando/go-keyring"
)

// snapshots copies the profile's directory before and after each step of what it wraps,
// as a crash just then leaves it, and sees whether it can be opened.
type snapshots struct {
	Unlocker
	t     *testing.T
	dir   string
	opens func(dir string) bool
}

func (s *snapshots) take() {
	to := filepath.Join(s.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	// CopyFS lets others read what it makes.
	for _, name := range []string{keyFileName, protectionFileName, databaseFileName} {
		if err := os.Chmod(filepath.Join(to, name), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	if !s.opens(to) {
		s.t.Error("neither the old nor the new protection opens what a crash leaves")
	}
}

func (s *snapshots) protect(dir string, key []byte) (protection, error) {
	s.take()
	defer s.take()
	return s.Unlocker.protect(dir, key)
}

func (s *snapshots) forget(dir string, p protection) {
	s.take()
	s.Unlocker.forget(dir, p)
	s.take()
}

// cheapPassphrase is Passphrase at a cost that only a test may have.
func cheapPassphrase(passphrase string) Unlocker {
	return passphraseUnlocker{[]byte(passphrase), argon2id{Time: 1, Memory: 8, Threads: 1}}
}

func TestChangeProtection(t *testing.T) {
	keyring.MockInit()
	kinds := map[string]func() Unlocker{
		"passphrase": func() Unlocker { return cheapPassphrase("correct horse") },
		"another":    func() Unlocker { return cheapPassphrase("battery staple") },
		"keyring":    Keyring,
		"keyfile":    KeyFile,
	}
	for fromName, from := range kinds {
		for toName, to := range kinds {
			t.Run(fromName+" to "+toName, func(t *testing.T) {
				if testing.Short() && fromName != "keyfile" && toName != "keyfile" {
					t.Skip("the long run takes every pair")
				}
				alice := shelf(t)
				alice.stop()
				if err := ChangeProtection(testContext(t), alice.options, from()); err != nil {
					t.Fatal(err)
				}
				dir := alice.options.Dir
				opens := func(dir string, with Unlocker) bool {
					c, err := Open(testContext(t), Options{Dir: dir, Unlock: with})
					if err == nil {
						err = c.Close()
					}
					return err == nil
				}
				either := func(dir string) bool { return opens(dir, from()) || opens(dir, to()) }
				options := Options{Dir: dir, Unlock: &snapshots{from(), t, dir, either}}
				if err := ChangeProtection(testContext(t), options, &snapshots{to(), t, dir, either}); err != nil {
					t.Fatal(err)
				}
				if !opens(dir, to()) {
					t.Error("the new one does not open it")
				}
				if fromName != toName && opens(dir, from()) {
					t.Error("the old one opens it still")
				}
				if _, err := os.Stat(filepath.Join(dir, keyFileName)); (err == nil) != (toName == "keyfile") {
					t.Errorf("the key file: %v", err)
				}
				alice.options.Unlock = to()
				alice.restart()
			})
		}
	}
}

func TestChangeProtectionRefuses(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	in := wantError[*ProfileInUseError](t, ChangeProtection(testContext(t), alice.options, Passphrase([]byte("new"))))
	if in.PID != os.Getpid() {
		t.Errorf("in use by %d", in.PID)
	}
	alice.stop()
	for name, test := range map[string]struct {
		from, to Unlocker
		want     error
	}{
		"other unlocker": {Passphrase([]byte("x")), KeyFile(), ErrWrongUnlocker},
		"no passphrase":  {KeyFile(), Passphrase(nil), nil},
		"no keyring":     {KeyFile(), Keyring(), ErrKeyring},
	} {
		if name == "no keyring" {
			keyring.MockInitWithError(errors.New("locked"))
			t.Cleanup(keyring.MockInit)
		}
		err := ChangeProtection(testContext(t), Options{Dir: alice.options.Dir, Unlock: test.from}, test.to)
		if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	alice.restart()
}

// A change that a crash cut short may leave the key beside a profile that a passphrase
// protects.
func TestStrayKeyIsRemoved(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	alice.stop()
	path := filepath.Join(alice.options.Dir, keyFileName)
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := cheapPassphrase("secret")
	if err := ChangeProtection(testContext(t), alice.options, secret); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	alice.options.Unlock = secret
	alice.restart()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key lies there still: %v", err)
	}
}

// Killed in the middle of writing a key file, it leaves one under a name of the moment.
func TestHalfWrittenKeyIsRemoved(t *testing.T) {
	for name, look := range map[string]func(*testing.T, *person){
		"opening": func(_ *testing.T, p *person) { p.restart() },
		"diagnosing": func(t *testing.T, p *person) {
			wantFindings(t, p.options, map[string]FindingState{"protection": Repaired})
		},
		"beginning anew": func(t *testing.T, p *person) {
			if err := removeLeftovers(p.options.Dir); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			alice := shelf(t)
			alice.stop()
			secret := cheapPassphrase("secret")
			if err := ChangeProtection(testContext(t), alice.options, secret); err != nil {
				t.Fatal(err)
			}
			alice.options.Unlock = secret
			crashed := filepath.Join(alice.options.Dir, temporaryPrefix+"123")
			if err := os.WriteFile(crashed, []byte("a key"), 0o600); err != nil {
				t.Fatal(err)
			}
			look(t, alice)
			if left, err := filepath.Glob(filepath.Join(alice.options.Dir, ".*")); err != nil || len(left) > 0 {
				t.Errorf("there still is %v, %v", left, err)
			}
		})
	}
}
