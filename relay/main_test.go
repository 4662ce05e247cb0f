package relay_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(tortureDir); dir != "" {
		tortureChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}
