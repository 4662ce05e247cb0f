package mls

import (
	"flag"
	"testing"
)

var update = flag.Bool("update", false, "renew the vectors in testdata")

var ownVectorFiles = []string{}

func writeOwnVectors(t *testing.T) {}
