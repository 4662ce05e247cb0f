package messenger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// findings returns the states of a diagnosis by check, the worst of each.
func findings(t *testing.T, options Options) map[string]FindingState {
	t.Helper()
	states := make(map[string]FindingState)
	for _, f := range Diagnose(testContext(t), options) {
		if f.Text == "" {
			t.Errorf("nothing is said about %s", f.Check)
		}
		t.Logf("%-14s %-9v %s", f.Check, f.State, f.Text)
		states[f.Check] = max(states[f.Check], f.State)
	}
	return states
}

func wantFindings(t *testing.T, options Options, want map[string]FindingState) {
	t.Helper()
	got := findings(t, options)
	for check, state := range want {
		if got[check] != state {
			t.Errorf("%s is %v, want %v", check, got[check], state)
		}
	}
}

func TestDiagnoseASoundProfile(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	alice.await(alice.send(bob, "hi"), Delivered)
	if got := findings(t, alice.options); got["lock"] != Broken || len(got) != 2 {
		t.Errorf("while it is open: %v", got)
	}
	alice.stop()
	for check, state := range findings(t, alice.options) {
		if want := map[string]FindingState{"protection": Attention}[check]; state != max(want, Sound) {
			t.Errorf("%s is %v", check, state)
		}
	}
	alice.restart()
	alice.online()
	alice.await(alice.send(bob, "still well"), Delivered)
}

func TestDiagnoseRepairs(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	alice.send(bob, "hi")
	if _, err := alice.store.writer.Exec("DELETE FROM messages_text_data WHERE id > 10"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.store.writer.Exec("UPDATE outbox SET tries = 1"); err != nil {
		t.Fatal(err)
	}
	alice.stop()
	if err := os.Chmod(filepath.Join(alice.options.Dir, databaseFileName), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(alice.options.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	relay.set(func() {
		relay.greet = func(h *api.Hello) { h.KeyPackages = 3 }
	})
	wantFindings(t, alice.options, map[string]FindingState{
		"files": Repaired, "search": Repaired, "key packages": Repaired, "outbox": Attention, "database": Sound, "server": Sound,
	})
	relay.set(func() { relay.greet = nil })
	wantFindings(t, alice.options, map[string]FindingState{"files": Sound, "search": Sound, "key packages": Sound})
	alice.restart()
	if found, err := alice.Search(testContext(t), "hi", nil, 10); err != nil || len(found) != 1 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestDiagnoseTheServer(t *testing.T) {
	server := newRealRelay(t)
	alice := server.person("alice")
	alice.stop()
	server.stop()
	wantFindings(t, alice.options, map[string]FindingState{"server": Attention, "conversations": Sound})
	server.start()
	alice.options.Clock = func() time.Time { return time.Now().Add(time.Hour) }
	wantFindings(t, alice.options, map[string]FindingState{"server": Broken})
	alice.options.Clock = nil
	server.set(func() { server.greet = func(h *api.Hello) { h.Acked = 1 << 40 } })
	wantFindings(t, alice.options, map[string]FindingState{"key packages": Attention})
	server.set(func() { server.greet = nil })
	server.stop()
	if err := os.Remove(filepath.Join(server.dir, relay.CertificateFile)); err != nil {
		t.Fatal(err)
	}
	server.start()
	wantFindings(t, alice.options, map[string]FindingState{"server": Broken, "conversations": Sound})
}

func TestDiagnoseAForgottenRegistration(t *testing.T) {
	server := newRealRelay(t)
	alice := server.person("alice")
	alice.stop()
	server.stop()
	for _, name := range []string{"relay.db", "relay.db-wal", "relay.db-shm"} {
		if err := os.Remove(filepath.Join(server.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	server.start()
	wantFindings(t, alice.options, map[string]FindingState{"server": Repaired})
	wantFindings(t, alice.options, map[string]FindingState{"server": Sound, "key packages": Sound})
}

func TestDiagnoseContactsAndConversations(t *testing.T) {
	alice := shelf(t)
	alice.meets("bob")
	if err := alice.commit(testContext(t), func(u *unit) error {
		if _, err := u.Exec("UPDATE contacts SET new_key = ?", make([]byte, len(identity.AccountKey{}))); err != nil {
			return err
		}
		g := &group{conversation: 1, groupID: []byte("lost"), state: groupLost}
		return alice.addGroup(u, g, &descriptor{Kind: Direct, Conversation: make([]byte, 16)})
	}); err != nil {
		t.Fatal(err)
	}
	alice.stop()
	wantFindings(t, alice.options, map[string]FindingState{"contacts": Attention, "conversations": Attention, "server": Attention})
}

func TestDiagnoseWhatCannotBeOpened(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, o *Options)
		check string
	}{
		"nothing": {func(t *testing.T, o *Options) { o.Dir = t.TempDir() }, "files"},
		"protection": {func(_ *testing.T, o *Options) {
			os.WriteFile(filepath.Join(o.Dir, protectionFileName), []byte("{"), 0o600)
		}, "protection"},
		"other unlocker": {func(_ *testing.T, o *Options) { o.Unlock = Passphrase([]byte("x")) }, "protection"},
		"key file":       {func(_ *testing.T, o *Options) { os.Remove(filepath.Join(o.Dir, keyFileName)) }, "protection"},
		"no database":    {func(_ *testing.T, o *Options) { os.Remove(filepath.Join(o.Dir, databaseFileName)) }, "database"},
		"empty database": {func(_ *testing.T, o *Options) { os.Truncate(filepath.Join(o.Dir, databaseFileName), 0) }, "database"},
		"other database": {func(_ *testing.T, o *Options) {
			os.WriteFile(filepath.Join(o.Dir, databaseFileName), bytes.Repeat([]byte{7}, 8192), 0o600)
		}, "database"},
	} {
		t.Run(name, func(t *testing.T) {
			alice := shelf(t)
			alice.stop()
			options := alice.options
			test.spoil(t, &options)
			wantFindings(t, options, map[string]FindingState{test.check: Broken})
		})
	}
}

// To restore the profile of a newer version from a backup would help nobody.
func TestDiagnoseANewerProfile(t *testing.T) {
	for name, age := range map[string]func(t *testing.T, dir string, p *person){
		"protection": func(t *testing.T, dir string, _ *person) {
			if err := writeProtection(dir, protection{Version: protectionVersion + 1, Kind: ProtectionKeyFile}); err != nil {
				t.Fatal(err)
			}
		},
		"database": func(t *testing.T, _ string, p *person) {
			p.restart()
			if _, err := p.store.writer.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations)+1)); err != nil {
				t.Fatal(err)
			}
			p.stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			alice := shelf(t)
			alice.stop()
			age(t, alice.options.Dir, alice)
			all := Diagnose(testContext(t), alice.options)
			last := all[len(all)-1]
			if last.Check != name || last.State != Broken || !strings.Contains(last.Text, "newer version") || strings.Contains(last.Text, "backup") {
				t.Errorf("the diagnosis ends with %+v", last)
			}
		})
	}
}

// A profile whose database is lost does not get an empty one, over which nobody would
// see any more that it is lost.
func TestLostDatabaseIsNotMadeAnew(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"removed": os.Remove, "emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			alice := shelf(t)
			alice.stop()
			path := filepath.Join(alice.options.Dir, databaseFileName)
			if err := lose(path); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(testContext(t), alice.options); !errors.Is(err, ErrDamaged) {
				t.Errorf("opening it gives %v", err)
			}
			if err := ChangeProtection(testContext(t), alice.options, Passphrase([]byte("correct horse"))); !errors.Is(err, ErrDamaged) {
				t.Errorf("changing its protection gives %v", err)
			}
			if info, err := os.Stat(path); err == nil && info.Size() > 0 {
				t.Errorf("there is a database of %d bytes", info.Size())
			}
			states := findings(t, alice.options)
			if states["database"] != Broken || states["protection"] != Attention {
				t.Errorf("the diagnosis is %v", states)
			}
		})
	}
}

// What is said about damage says something about it, and each thing once.
func TestDamageIsSaidInOneLine(t *testing.T) {
	alice := shelf(t)
	everyKind(t, alice)
	alice.stop()
	path := filepath.Join(alice.options.Dir, databaseFileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 4096 {
		spoilt := bytes.Clone(whole)
		spoilt[at+2048] ^= 1
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, f := range Diagnose(testContext(t), alice.options) {
			if strings.Contains(f.Text, "***") || strings.Contains(f.Text, "\n") || strings.Count(f.Text, "opening the database") > 1 {
				t.Errorf("page %d: %q", at/4096, f.Text)
			}
		}
		if c, err := Open(testContext(t), alice.options); err == nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		} else if strings.Contains(err.Error(), "***") || strings.Count(err.Error(), "opening the database") > 1 {
			t.Errorf("page %d: %v", at/4096, err)
		}
	}
}

// Whatever page of the database is damaged, the profile does not open, or the diagnosis
// says so.
func TestEveryDamagedPageIsFound(t *testing.T) {
	alice := shelf(t)
	everyKind(t, alice)
	in := alice.DirectID("bob")
	for _, text := range numbered(40) {
		alice.say(in, text+" "+string(bytes.Repeat([]byte("long "), 100)))
	}
	if _, err := alice.store.writer.Exec("VACUUM"); err != nil { // what is in a free page is nothing to miss
		t.Fatal(err)
	}
	alice.stop()
	path := filepath.Join(alice.options.Dir, databaseFileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const pageSize = 4096
	found := make(map[string]int)
	for at := 0; at < len(whole); at += pageSize {
		spoilt := bytes.Clone(whole)
		spoilt[at+pageSize/2] ^= 1
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(testContext(t), alice.options)
		if err == nil {
			err = c.Close()
		}
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("page %d: %v", at/pageSize, err)
			}
			found["opening"]++
			continue
		}
		bad := false
		for _, f := range Diagnose(testContext(t), alice.options) {
			bad = bad || f.State == Broken || (f.Check == "search" && f.State == Repaired)
		}
		if !bad {
			t.Errorf("nobody notices that page %d is damaged", at/pageSize)
		}
		found["diagnosing"]++
	}
	t.Logf("found: %v", found)
	if err := os.WriteFile(path, whole[:len(whole)-pageSize], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testContext(t), alice.options); !errors.Is(err, ErrDamaged) {
		t.Errorf("a page is cut off: %v", err)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	alice.restart()
}
