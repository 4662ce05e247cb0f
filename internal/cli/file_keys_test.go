package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"sealpost/identity"
	"sealpost/messenger"
	"sealpost/relay"
	"sealpost/relay/sqlite"
	"sealpost/seal"
)

// startRelay runs a real relay until the returned function is called.
func startRelay(t *testing.T) (address string, id identity.ServerID, stop func()) {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := relay.New(relay.Config{Store: store, Certificate: certificate, Limits: relay.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := errors.Join(server.Shutdown(context.Background()), <-served, store.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return listener.Addr().String(), server.ID(), stop
}

// profile makes a profile and returns what opens it.
func profile(t *testing.T, name identity.Username, address string, id identity.ServerID) openKeys {
	t.Helper()
	options := messenger.Options{Dir: filepath.Join(t.TempDir(), "profile"), Unlock: messenger.KeyFile()}
	client, err := messenger.Create(t.Context(), options, messenger.NewProfile{Username: name, Server: address, Fingerprint: id})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	return func(f *files) (fileKeys, error) {
		client, err := messenger.Open(f.ctx, options)
		return clientKeys{Client: client}, err
	}
}

// TestFilesBetweenUsers: Bob encrypts and signs for Alice by name, over a real
// server; she opens it without one.
func TestFilesBetweenUsers(t *testing.T) {
	address, id, stop := startRelay(t)
	alice, bob := profile(t, "alice", address, id), profile(t, "bob", address, id)
	dir := t.TempDir()
	plain, sealed, own := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed"), filepath.Join(dir, "own")
	if err := os.WriteFile(plain, []byte("meet at noon"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(file, from string, as openKeys) (string, error) {
		f, stdout, _ := testFiles(t)
		err := (&decryptCommand{From: from, Input: file}).run(f, as)
		return stdout.String(), err
	}
	f, _, _ := testFiles(t)
	if err := (&encryptCommand{To: []string{"@alice"}, Sign: true, Input: plain, Output: sealed}).run(f, bob); err != nil {
		t.Fatal(err)
	}
	if err := (&encryptCommand{To: []string{"@nobody"}, Input: plain, Output: own}).run(f, bob); !errors.Is(err, messenger.ErrUnknownRecipient) {
		t.Errorf("an unknown recipient: %v", err)
	}
	if got, err := open(sealed, "@bob", alice); err != nil || got != "meet at noon" {
		t.Errorf("at first contact: %q, %v", got, err)
	}
	if got, err := open(sealed, "@alice", alice); !errors.Is(err, seal.ErrWrongSigner) || got != "" {
		t.Errorf("from herself: %q, %v", got, err)
	}
	if got, err := open(sealed, "@bob", bob); !errors.Is(err, seal.ErrNoIdentity) || got != "" {
		t.Errorf("by somebody else: %q, %v", got, err)
	}

	stop()
	if got, err := open(sealed, "@bob", alice); err != nil || got != "meet at noon" {
		t.Errorf("without a server: %q, %v", got, err)
	}
	if err := (&encryptCommand{To: []string{"@bob"}, Sign: true, Input: plain, Output: own}).run(f, bob); err != nil {
		t.Errorf("to oneself without a server: %v", err)
	}
	if got, err := open(own, "@bob", bob); err != nil || got != "meet at noon" {
		t.Errorf("from oneself: %q, %v", got, err)
	}
	before, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&encryptCommand{To: []string{"@alice"}, Input: plain, Output: sealed}).run(f, bob); !errors.Is(err, messenger.ErrServerUnavailable) {
		t.Errorf("to another without a server: %v", err)
	}
	if after, err := os.ReadFile(sealed); err != nil || string(after) != string(before) {
		t.Errorf("the output was touched: %v", err)
	}
}
