package identity

import (
	"regexp"
	"testing"
)

func TestSafetyNumber(t *testing.T) {
	alice, bob, mallory := GenerateAccountKey().Public(), GenerateAccountKey().Public(), GenerateAccountKey().Public()
	number := SafetyNumber(alice, bob)
	if !regexp.MustCompile(`^(\d{5} ){11}\d{5}$`).MatchString(number) {
		t.Errorf("%q is not 12 groups of 5 digits", number)
	}
	if other := SafetyNumber(bob, alice); other != number {
		t.Errorf("the two sides see %q and %q", number, other)
	}
	if SafetyNumber(alice, mallory) == number || SafetyNumber(mallory, bob) == number {
		t.Error("another key has the same number")
	}
}

// The number must never change from one version to the next: people compare it
// across versions.
func TestSafetyNumberIsStable(t *testing.T) {
	seed := make([]byte, SeedSize)
	a, err := AccountKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	seed[0] = 1
	b, err := AccountKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	const want = "08900 18908 91572 06815 05753 57552 01928 16123 65344 88177 14871 61691"
	if got := SafetyNumber(a.Public(), b.Public()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkSafetyNumber(b *testing.B) {
	alice, bob := GenerateAccountKey().Public(), GenerateAccountKey().Public()
	for b.Loop() {
		SafetyNumber(alice, bob)
	}
}
