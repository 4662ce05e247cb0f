package messenger

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/identity"
)

func TestProfileDir(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "../x", "/etc", "A", "-x", "a.b", "a b", "a\x00", strings.Repeat("a", 33)} {
		if dir, err := ProfileDir(name); !errors.Is(err, ErrProfileName) {
			t.Errorf("ProfileDir(%q) = %q, %v", name, dir, err)
		}
	}
	dir, err := ProfileDir("alice-2")
	if err != nil || filepath.Base(dir) != "alice-2" || !filepath.IsAbs(dir) {
		t.Errorf("ProfileDir(alice-2) = %q, %v", dir, err)
	}
}

func TestEveryProtectionOpensAgain(t *testing.T) {
	keyring.MockInit()
	relay := newRealRelay(t)
	for name, unlock := range map[identity.Username]Unlocker{
		"pass": Passphrase([]byte("correct horse")), "ring": Keyring(), "file": KeyFile(),
	} {
		t.Run(string(name), func(t *testing.T) {
			options := Options{Dir: filepath.Join(t.TempDir(), "new", "dir"), Unlock: unlock}
			if _, err := Protection(options.Dir); !errors.Is(err, ErrNoProfile) || Exists(options.Dir) {
				t.Errorf("before: %v", err)
			}
			c, err := Create(testContext(t), options, NewProfile{Username: name, Server: relay.address, Fingerprint: relay.id, Trust: TrustStrict})
			if err != nil {
				t.Fatal(err)
			}
			self := c.Self()
			secret := c.FileIdentity()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if kind, err := Protection(options.Dir); err != nil || kind != unlock.Kind() || !Exists(options.Dir) {
				t.Errorf("after: %q, %v", kind, err)
			}
			c, err = Open(testContext(t), options)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Self() != self || c.FileIdentity() != secret || self.Username != name || self.Trust != TrustStrict {
				t.Errorf("opened %v, created %v", c.Self(), self)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	keyring.MockInit()
	relay := newRealRelay(t)
	newProfile := func(t *testing.T, name identity.Username, unlock Unlocker) Options {
		options := Options{Dir: t.TempDir(), Unlock: unlock}
		c, err := Create(testContext(t), options, NewProfile{Username: name, Server: relay.address, Fingerprint: relay.id})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		return options
	}
	editProtection := func(t *testing.T, dir string, edit func(map[string]any)) {
		path := filepath.Join(dir, protectionFileName)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var p map[string]any
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		edit(p)
		if text, err = json.Marshal(p); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[identity.Username]struct {
		unlock Unlocker
		spoil  func(t *testing.T, o *Options)
		want   error
	}{
		"wrong-passphrase": {Passphrase([]byte("right")), func(_ *testing.T, o *Options) { o.Unlock = Passphrase([]byte("wrong")) }, ErrWrongPassphrase},
		"other-unlocker":   {Passphrase([]byte("right")), func(_ *testing.T, o *Options) { o.Unlock = KeyFile() }, ErrWrongUnlocker},
		"absurd-cost": {Passphrase([]byte("right")), func(t *testing.T, o *Options) {
			editProtection(t, o.Dir, func(p map[string]any) { p["argon2id"].(map[string]any)["memory_kib"] = 1 << 30 })
		}, ErrDamaged},
		"newer": {KeyFile(), func(t *testing.T, o *Options) { editProtection(t, o.Dir, func(p map[string]any) { p["version"] = 2 }) }, ErrNewerProfile},
		"unknown": {KeyFile(), func(t *testing.T, o *Options) {
			editProtection(t, o.Dir, func(p map[string]any) { p["kind"] = "hope" })
		}, ErrDamaged},
		"no-keyring":  {Keyring(), func(*testing.T, *Options) { keyring.MockInit() }, ErrKeyring},
		"no-key-file": {KeyFile(), func(_ *testing.T, o *Options) { os.Remove(filepath.Join(o.Dir, keyFileName)) }, ErrKeyFile},
		"readable-by-others": {KeyFile(), func(_ *testing.T, o *Options) {
			os.Chmod(filepath.Join(o.Dir, keyFileName), 0o640)
		}, ErrKeyFile},
		"cut-key-file": {KeyFile(), func(_ *testing.T, o *Options) {
			os.WriteFile(filepath.Join(o.Dir, keyFileName), []byte("00\n"), 0o600)
		}, ErrKeyFile},
		"other-key": {KeyFile(), func(_ *testing.T, o *Options) {
			os.WriteFile(filepath.Join(o.Dir, keyFileName), []byte(strings.Repeat("0", 2*databaseKeySize)+"\n"), 0o600)
		}, ErrDamaged},
		"no-database": {KeyFile(), func(_ *testing.T, o *Options) { os.Remove(filepath.Join(o.Dir, databaseFileName)) }, ErrDamaged},
	} {
		t.Run(string(name), func(t *testing.T) {
			options := newProfile(t, name, test.unlock)
			test.spoil(t, &options)
			c, err := Open(testContext(t), options)
			if err == nil {
				c.Close()
			}
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestKeyFileIsPrivate(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	entries, err := os.ReadDir(alice.options.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
	}
}

func TestProfileInUse(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	_, err := Open(testContext(t), alice.options)
	if inUse := wantError[*ProfileInUseError](t, err); inUse.PID != os.Getpid() {
		t.Errorf("used by %d", inUse.PID)
	}
	_, err = Create(testContext(t), alice.options, NewProfile{Username: "eve", Server: relay.address, Fingerprint: relay.id})
	wantError[*ProfileInUseError](t, err)
	alice.restart() // closing has let it go
}

func TestCreateLeavesNothingBehind(t *testing.T) {
	relay := newRealRelay(t)
	relay.person("alice")
	down := newRealRelay(t)
	down.stop()
	for name, test := range map[string]struct {
		relay       *realRelay
		fingerprint identity.ServerID
		refusal     error
		want        func(error) bool
	}{
		"name taken": {relay, relay.id, nil, func(err error) bool { return errors.Is(err, ErrNameTaken) }},
		"by invitation": {relay, relay.id, refuse(codes.PermissionDenied, api.Reason_REASON_INVITE_REQUIRED),
			func(err error) bool { return errors.Is(err, ErrInviteRequired) }},
		"malformed": {relay, relay.id, refuse(codes.InvalidArgument, api.Reason_REASON_MALFORMED),
			func(err error) bool { return errors.Is(err, ErrRefused) }},
		"server down": {down, down.id, nil, func(err error) bool { return errors.Is(err, ErrServerUnavailable) }},
		"another server": {relay, down.id, nil, func(err error) bool {
			var changed *ServerChangedError
			return errors.As(err, &changed) && changed.Offered == relay.id && changed.Pinned == down.id
		}},
	} {
		t.Run(name, func(t *testing.T) {
			test.relay.set(func() { test.relay.register = func() error { return test.refusal } })
			dir := filepath.Join(t.TempDir(), "profile")
			options := Options{Dir: dir, Unlock: KeyFile()}
			_, err := Create(testContext(t), options, NewProfile{Username: "alice", Server: test.relay.address, Fingerprint: test.fingerprint})
			if !test.want(err) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory is still there: %v", err)
			}
		})
	}
}

// A creation that was cut short leaves what nobody has the key of, wherever that was.
func TestCrashedCreationIsStartedOver(t *testing.T) {
	relay := newRealRelay(t)
	for name, left := range map[string][]string{
		"at its begin":        {creatingFileName},
		"with a database":     {creatingFileName, databaseFileName, databaseFileName + "-wal"},
		"with a key":          {creatingFileName, databaseFileName, keyFileName},
		"before the database": {keyFileName},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range left {
				if err := os.WriteFile(filepath.Join(dir, file), []byte("cut"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(testContext(t), Options{Dir: dir, Unlock: KeyFile()}); !errors.Is(err, ErrNoProfile) {
				t.Errorf("opening: %v", err)
			}
			username := identity.Username(strings.ReplaceAll(name, " ", "-"))
			c, err := Create(testContext(t), Options{Dir: dir, Unlock: KeyFile()}, NewProfile{Username: username, Server: relay.address, Fingerprint: relay.id})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, creatingFileName)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still being made: %v", err)
			}
		})
	}
}

// Messages are not thrown away because a file beside them is lost: it may be found.
func TestLostProtection(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	alice.stop()
	path := filepath.Join(alice.options.Dir, protectionFileName)
	if err := os.Rename(path, path+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testContext(t), alice.options); !errors.Is(err, ErrDamaged) {
		t.Errorf("opening: %v", err)
	}
	if _, err := Protection(alice.options.Dir); !errors.Is(err, ErrDamaged) || !Exists(alice.options.Dir) {
		t.Errorf("its protection: %v", err)
	}
	wantFindings(t, alice.options, map[string]FindingState{"protection": Broken})
	_, err := Create(testContext(t), alice.options, NewProfile{Username: "eve", Server: relay.address, Fingerprint: relay.id})
	if !errors.Is(err, ErrProfileExists) {
		t.Errorf("creating: %v", err)
	}
	if err := os.Rename(path+".elsewhere", path); err != nil {
		t.Fatal(err)
	}
	alice.restart()
}

func TestUncertainRegistrationIsCompleted(t *testing.T) {
	relay := newRealRelay(t)
	relay.register = func() error { return status.Error(codes.Unavailable, "the line broke") }
	options := Options{Dir: t.TempDir(), Unlock: KeyFile()}
	_, err := Create(testContext(t), options, NewProfile{Username: "alice", Server: relay.address, Fingerprint: relay.id})
	if !errors.Is(err, ErrServerUnavailable) || !Exists(options.Dir) {
		t.Fatalf("creating: %v, there is a profile: %t", err, Exists(options.Dir))
	}
	if _, err := Create(testContext(t), options, NewProfile{Username: "alice"}); !errors.Is(err, ErrProfileExists) {
		t.Errorf("creating again: %v", err)
	}
	relay.set(func() { relay.register = nil })
	client, err := Open(testContext(t), options)
	if err != nil {
		t.Fatal(err)
	}
	alice := &person{t: t, options: options}
	alice.attach(client)
	t.Cleanup(alice.stop)
	alice.online()
	if e := awaitEvent[ConnectionChanged](alice); !e.Online {
		t.Errorf("not online: %v", e.Err)
	}
	bob := relay.person("bob")
	alice.await(alice.send(bob, "registered"), Accepted)
}

func TestStoreHoldsNoPlaintext(t *testing.T) {
	const canary = "canary-in-a-coal-mine"
	relay := newRealRelay(t)
	people := relay.online("alicecanary", "bobcanary")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	alice.await(alice.send(bob, canary), Delivered)
	secrets := [][]byte{
		[]byte(canary), []byte("alicecanary"), []byte("bobcanary"), []byte("AGE-SECRET-KEY"), []byte("SQLite format"),
		alice.self.deviceKey.Seed(), bob.self.deviceKey.Seed(),
	}
	grep := func(when string, dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range secrets {
				if bytes.Contains(content, secret) {
					t.Errorf("%s, %s holds %q", when, entry.Name(), secret)
				}
			}
		}
	}
	for _, p := range []*person{alice, bob} {
		grep("while open", p.options.Dir)
		p.stop()
		grep("when closed", p.options.Dir)
	}
	if len(relay.submits) == 0 {
		t.Error("nothing was submitted")
	}
	for _, s := range relay.submits {
		for _, secret := range secrets {
			if bytes.Contains(s.GetPayload(), secret) || bytes.Contains(s.GetCommit().GetWelcome(), secret) {
				t.Errorf("a submission of %v holds %q", s.GetKind(), secret)
			}
		}
	}
	alice.restart()
	wantRows(t, alice, alice.DirectID("bobcanary"), canary)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	key := randomBytes(databaseKeySize)
	path := filepath.Join(t.TempDir(), databaseFileName)
	s, err := openStore(t.Context(), path, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "PRAGMA user_version = 99")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(t.Context(), path, key); !errors.Is(err, ErrNewerProfile) {
		t.Errorf("got %v", err)
	}
}

func TestStorePragmas(t *testing.T) {
	s, err := openStore(t.Context(), filepath.Join(t.TempDir(), databaseFileName), randomBytes(databaseKeySize))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for name, pool := range map[string]*sql.DB{"writer": s.writer, "reader": s.reader} {
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1", "busy_timeout": "10000", "temp_store": "2",
		} {
			var got string
			if err := pool.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s = %q, %v", name, pragma, got, err)
			}
		}
	}
	if _, err := s.reader.ExecContext(t.Context(), "DELETE FROM contacts"); err == nil {
		t.Error("a reader writes")
	}
}

func TestErrorsOfTheDatabaseHideItsKey(t *testing.T) {
	key := randomBytes(databaseKeySize)
	path := filepath.Join(t.TempDir(), databaseFileName)
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openStore(t.Context(), path, key)
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "hexkey") {
		t.Errorf("the error tells the key: %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	relay := newRealRelay(b)
	alice := relay.person("alice")
	alice.stop()
	b.ResetTimer()
	for b.Loop() {
		c, err := Open(b.Context(), alice.options)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
