package relay_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

func TestRegister(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice := r.registered("alice")
	if err := alice.register(); err != nil {
		t.Fatalf("the same record again: %v", err)
	}
	wantReason(t, r.unregistered("alice").register(), api.Reason_REASON_NAME_TAKEN)

	forged := r.unregistered("mallory")
	forged.record[len(forged.record)-1] ^= 1
	wantReason(t, forged.register(), api.Reason_REASON_MALFORMED)
	long := r.unregistered("mallory")
	long.record = make([]byte, identity.MaxDeviceRecordLen+1)
	wantReason(t, long.register(), api.Reason_REASON_MALFORMED)

	// Somebody else may not register a record, even a valid one.
	replayer, victim := r.unregistered("mallory"), r.unregistered("victim")
	replayer.record = victim.record
	wantReason(t, replayer.register(), api.Reason_REASON_UNAUTHENTICATED)
	replayer.certificate = victim.certificate // with the victim's id, but not its key
	wantReason(t, replayer.register(), api.Reason_REASON_UNAUTHENTICATED)
}

func TestLookup(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	account := identity.GenerateAccountKey()
	first, second := r.deviceOf(account, "alice"), r.deviceOf(account, "alice")
	for _, d := range []*device{first, second} {
		if err := d.register(); err != nil {
			t.Fatal(err)
		}
	}
	records, err := first.lookup("alice")
	if err != nil || len(records) != 2 || !bytes.Equal(records[0], first.record) || !bytes.Equal(records[1], second.record) {
		t.Fatalf("%d records, %v", len(records), err)
	}
	_, err = first.lookup("nobody")
	wantReason(t, err, api.Reason_REASON_UNKNOWN_ACCOUNT)
	for _, name := range []string{"", "Alice", "a", "alice\n", "alice@example.org"} {
		_, err = first.lookup(name)
		wantReason(t, err, api.Reason_REASON_MALFORMED)
	}
}

func TestTransport(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	old := pinned(r.ID())
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := tls.Dial("tcp", r.address, old); err == nil {
		t.Fatal("TLS 1.2 passes")
	}
	current := pinned(r.ID())
	current.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", r.address, current)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if curve := conn.ConnectionState().CurveID; curve != tls.X25519MLKEM768 {
		t.Fatalf("the key exchange is %v", curve)
	}
	plain, err := grpc.NewClient("passthrough:///"+r.address, grpc.WithTransportCredentials(credentials.NewTLS(pinned(identity.ServerID{}))))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := grpc_health_v1.NewHealthClient(plain).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err == nil {
		t.Fatal("the certificate is not the pinned one")
	}
}

func TestCertificateIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, relay.CertificateFile)
	if err := os.Chmod(path, 0o644); err != nil { // as a copy by hand leaves it
		t.Fatal(err)
	}
	second, err := relay.LoadOrCreateCertificate(dir)
	if err != nil || !bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Fatalf("another certificate: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("others can read the key: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.LoadOrCreateCertificate(dir); !errors.Is(err, relay.ErrCertificate) {
		t.Fatalf("a damaged certificate: %v", err)
	}
}
