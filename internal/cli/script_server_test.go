package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// issue NAME YEAR makes cert.pem and key.pem, for a DNS name and until a year,
// by the authority in authority.pem, which it makes at its first call.
func issue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: issue NAME YEAR")
	}
	year, err := strconv.Atoi(args[1])
	ts.Check(err)
	authority, err := tls.LoadX509KeyPair(ts.MkAbs("authority.pem"), ts.MkAbs("authority.key"))
	if err != nil {
		authority = writeCertificate(ts, "authority.pem", "authority.key", &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().AddDate(50, 0, 0),
		}, nil)
	}
	writeCertificate(ts, "cert.pem", "key.pem", &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a relay"}, DNSNames: []string{args[0]},
		NotAfter: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &authority)
}

// writeCertificate signs with the authority, or with its own key where there is
// none.
func writeCertificate(ts *testscript.TestScript, certificate, key string, template *x509.Certificate, authority *tls.Certificate) tls.Certificate {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	issuer, signer := template, any(private)
	if authority != nil {
		issuer, signer = authority.Leaf, authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, private.Public(), signer)
	ts.Check(err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	certificateText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	ts.Check(os.WriteFile(ts.MkAbs(key), keyText, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(certificate), certificateText, 0o600))
	made, err := tls.X509KeyPair(certificateText, keyText)
	ts.Check(err)
	return made
}

// get URL REGEXP asks until the answer, its status before it, matches, and prints
// it.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get URL REGEXP")
	}
	wanted, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for answer := ""; ; {
		if got, err := getOnce(ctx, args[0]); err == nil {
			answer = got
		}
		if wanted.MatchString(answer) {
			fmt.Fprint(ts.Stdout(), answer)
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("no answer of %s matches: %s", args[0], answer)
		case <-tick.C:
		}
	}
}

func getOnce(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return fmt.Sprintf("%s\n%s", response.Status, body), err
}

// silent ADDRESS [N] connects, N times, and says nothing until the script ends.
func silent(ts *testscript.TestScript, neg bool, args []string) {
	times := 1
	if len(args) == 2 {
		var err error
		times, err = strconv.Atoi(args[1])
		ts.Check(err)
		args = args[:1]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: silent ADDRESS [N]")
	}
	for range times {
		conn, err := net.Dial("tcp", args[0])
		ts.Check(err)
		ts.Defer(func() { conn.Close() })
	}
}
