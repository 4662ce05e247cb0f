package messenger

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"sealpost/identity"
)

// serveTLS shows a certificate on a loopback address. An issuer that is nil means
// that it is self-signed.
func serveTLS(t *testing.T, issuer *x509.Certificate) (port string, id identity.ServerID) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
	}
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, identity.ServerIDOf(leaf.RawSubjectPublicKeyInfo)
}

// A certificate that claims an authority but does not hold is refused, and never
// taken for one whose key a person could compare.
func TestIdentifyServer(t *testing.T) {
	port, id := serveTLS(t, nil)
	for _, host := range []string{"localhost", "127.0.0.1"} {
		proof, err := IdentifyServer(testContext(t), nil, net.JoinHostPort(host, port))
		if err != nil || proof.ID != id || proof.Domain != "" {
			t.Errorf("self-signed, at %s: %+v, %v", host, proof, err)
		}
	}
	port, _ = serveTLS(t, &x509.Certificate{Subject: pkix.Name{CommonName: "an authority that nobody knows"}})
	_, err := IdentifyServer(testContext(t), nil, "localhost:"+port)
	refused := wantError[*CertificateError](t, err)
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](refused); !unknown {
		t.Errorf("the reason is %v", refused.Err)
	}
}

// What a person gets to read of a server that is not there names the address and the
// reason, and none of the calls.
func TestIdentifyServerUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("SSH-2.0-OpenSSH_10.0\r\n"))
			defer conn.Close()
		}
	}()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	noName := func(context.Context, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "chat", Server: "192.0.2.53:53"}}
	}
	for _, test := range []struct {
		address, reason string
		dial            DialFunc
	}{
		{listener.Addr().String(), "what answers there does not speak TLS", nil},
		{closed.Addr().String(), "connection refused", nil},
		{"chat:7443", "no such host", noName},
	} {
		_, err := IdentifyServer(testContext(t), test.dial, test.address)
		if want := "the server cannot be reached at " + test.address + ": " + test.reason; !errors.Is(err, ErrServerUnavailable) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Whoever knows a server by its name takes no other certificate, and whoever
// knows it by its key takes no name.
func TestCheckServer(t *testing.T) {
	port, id := serveTLS(t, nil)
	address := "localhost:" + port
	for name, test := range map[string]struct {
		id   identity.ServerID
		want bool
	}{
		"its key":     {id, true},
		"another key": {identity.ServerID{1}, false},
		"its name":    {identity.ServerIDOfDomain("LOCALHOST."), false},
		"a name":      {identity.ServerIDOfDomain("example.org"), false},
	} {
		t.Run(name, func(t *testing.T) {
			config := tlsConfig(checkServer(address, test.id))
			config.NextProtos = []string{"h2"}
			conn, err := tls.Dial("tcp", address, config)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != test.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Who interrupts the search for a server is not told that the server is at fault.
func TestIdentifyServerInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		return (&net.Dialer{Resolver: resolver}).DialContext(ctx, "tcp", address)
	}
	if _, err := IdentifyServer(ctx, dial, "chat.example.org:7443"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
