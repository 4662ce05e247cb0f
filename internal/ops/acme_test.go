package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// startAuthority starts an ACME authority that looks for challenges at a port of
// this machine. It returns its directory, the file with its own certificate, and
// what it signs with.
func startAuthority(t *testing.T, port int) (directory, roots string, signer *x509.CertPool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(logger, store, va.New(logger, 1, port, false, "", store), issuer, nil, false, false, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	roots = filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	signer = x509.NewCertPool()
	if !signer.AppendCertsFromPEM(issuer.GetRootCert(0).PEM()) {
		t.Fatal("the authority has no root")
	}
	return server.URL + wfe.DirectoryPath, roots, signer
}

// TestACME has a relay get its certificate from an authority, which asks the
// relay for its challenge, and get it from disk at its next start.
func TestACME(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	directory, roots, signer := startAuthority(t, listener.Addr().(*net.TCPAddr).Port)
	dir := t.TempDir()
	var logged bytes.Buffer
	config := ACMEConfig{Domain: "localhost", Directory: directory, Roots: roots, Dir: dir,
		Log: slog.New(slog.NewTextHandler(&logged, nil))}
	first := obtain(t, config, listener, signer)
	listener, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if again := obtain(t, config, listener, signer); !again.Equal(first) {
		t.Error("the second start did not take the certificate from disk")
	}
	if text := logged.String(); strings.Count(text, "certificate obtained") != 1 || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log says %s", text)
	}
	for _, pattern := range []string{"acme/*/*/*/*.key", "acme/*/*/*/*/*.key"} {
		keys, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v", key, info.Mode(), err)
			}
		}
	}
}

// obtain runs a relay until it has a certificate, and returns that.
func obtain(t *testing.T, config ACMEConfig, listener net.Listener, signer *x509.CertPool) *x509.Certificate {
	t.Helper()
	acme, err := NewACME(config)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := relay.New(relay.Config{Store: store, Limits: relay.DefaultLimits(), Domain: config.Domain, GetCertificate: acme.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer func() {
		cancel()
		acme.Close()
		ending, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ending)
		if err := <-served; err != nil {
			t.Error(err)
		}
		store.Close()
	}()
	if err := acme.Obtain(ctx, listener.Addr()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for acme.Expires().IsZero() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("there is no certificate")
		}
	}
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{ServerName: config.Domain, RootCAs: signer, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func TestACMERoots(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(none, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, roots := range []string{none, none + ".missing"} {
		if _, err := NewACME(ACMEConfig{Domain: "localhost", Roots: roots, Dir: t.TempDir()}); err == nil {
			t.Errorf("%s was taken", roots)
		}
	}
}
