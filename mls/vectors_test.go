package mls

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// hexBytes is a byte string that JSON has in hexadecimal; nil where it has null.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode([]byte{}, text)
	return err
}

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// vectorFiles maps each file of test vectors, without its ending, to the check of
// one of its cases. The formats are those of mlswg/mls-implementations.
var vectorFiles = map[string]func(*testing.T, []byte) []error{
	"crypto-basics":                  cases(checkCryptoBasics),
	"deserialization":                cases(checkDeserialization),
	"key-schedule":                   cases(checkKeySchedule),
	"message-protection":             cases(checkMessageProtection),
	"messages":                       cases(checkMessages),
	"passive-client-handling-commit": cases(checkPassiveClient),
	"passive-client-random":          cases(checkPassiveClient),
	"passive-client-welcome":         cases(checkPassiveClient),
	"psk_secret":                     cases(checkPSKSecret),
	"secret-tree":                    cases(checkSecretTree),
	"transcript-hashes":              cases(checkTranscriptHashes),
	"tree-math":                      cases(checkTreeMath),
	"tree-operations":                cases(checkTreeOperations),
	"tree-validation":                cases(checkTreeValidation),
	"treekem":                        cases(checkTreeKEM),
	"welcome":                        cases(checkWelcome),
}

// cases makes a check of a whole file of the check of one case.
func cases[T any](check func(T) error) func(*testing.T, []byte) []error {
	return func(t *testing.T, data []byte) []error {
		var list []T
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatal(err)
		}
		results := make([]error, len(list))
		for i, v := range list {
			results[i] = check(v)
		}
		return results
	}
}

// vectorsFolder finds the official vectors.
func vectorsFolder(t *testing.T) string {
	for _, folder := range []string{os.Getenv("MLS_VECTORS"), "../../shared/mls-vectors"} {
		if folder == "" {
			continue
		}
		if _, err := os.Stat(folder); err == nil {
			return folder
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("official vectors are missing: set MLS_VECTORS")
	}
	t.Skip("no official vectors in ../shared/mls-vectors nor in MLS_VECTORS")
	return ""
}

// TestVectors runs the official test vectors of the MLS working group.
func TestVectors(t *testing.T) {
	for name := range vectorFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runVectorFile(t, vectorsFolder(t), name)
		})
	}
}

// TestOwnVectors runs vectors in the same formats for the suites of
// draft-ietf-mls-pq-ciphersuites, for which there are no official ones. They fix
// what this package does today; go test -run TestOwnVectors -update renews them.
func TestOwnVectors(t *testing.T) {
	if *update {
		writeOwnVectors(t)
	}
	for _, name := range ownVectorFiles {
		t.Run(name, func(t *testing.T) { runVectorFile(t, "testdata/vectors", name) })
	}
}

func runVectorFile(t *testing.T, folder, name string) {
	data, err := os.ReadFile(filepath.Join(folder, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("vector file is missing: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	passed, unsupported := 0, 0
	for i, err := range vectorFiles[name](t, data) {
		switch {
		case err == nil:
			passed++
		case errors.Is(err, errCurve448):
			unsupported++
		default:
			t.Errorf("case %d: %v", i, err)
		}
	}
	if passed == 0 {
		t.Error("no case passed")
	}
	t.Logf("%d cases passed, %d are of the unsupported suites 4 and 6 (X448, Ed448)", passed, unsupported)
}

// errCurve448 marks a case of the two suites that this package leaves out.
var errCurve448 = errors.New("cipher suite on Curve448")

func vectorSuite(cs CipherSuite) (*suite, error) {
	if cs == 4 || cs == 6 {
		return nil, errCurve448
	}
	return cs.suite()
}
