package cli

import (
	"strings"
	"testing"
	"time"

	"sealpost/messenger"
)

func TestParseTarget(t *testing.T) {
	id := "conversation:00112233445566778899aabbccddeeff"
	tests := []struct {
		in, name, group, id string
		bad                 bool
	}{
		{in: "bob", name: "bob"},
		{in: "@Bob", name: "bob"},
		{in: "+walks", group: "walks"},
		{in: "+long walks", group: "long walks"},
		{in: "++", group: "+"},
		{in: id, id: id},
		{in: "", bad: true},
		{in: "+", bad: true},
		{in: "+ walks", bad: true},
		{in: "+walks ", bad: true},
		{in: "+a\x1bb", bad: true},
		{in: "+a\u202eb", bad: true},
		{in: "+\xff", bad: true},
		{in: "+" + strings.Repeat("a", messenger.MaxNameLen+1), bad: true},
		{in: "b b", bad: true},
		{in: "bob@host", bad: true},
		{in: "conversation:", bad: true},
		{in: strings.ToUpper(id), bad: true},
		{in: id + "0", bad: true},
		{in: " bob", bad: true},
		{in: "-x", bad: true},
	}
	for _, test := range tests {
		got, err := parseTarget(test.in)
		if (err != nil) != test.bad {
			t.Errorf("%q: %v", test.in, err)
		}
		if test.bad {
			continue
		}
		if string(got.name) != test.name || got.group != test.group || (test.id != "" && got.id.String() != test.id) {
			t.Errorf("%q is %+v", test.in, got)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	tests := map[string]time.Duration{
		"off": 0, "30s": 30 * time.Second, "90m": 90 * time.Minute, "8h": 8 * time.Hour, "7d": 7 * 24 * time.Hour, "4w": 28 * 24 * time.Hour,
		"0s": -1, "": -1, "d": -1, "0d": -1, "-1d": -1, "1.5s": -1, "500ms": -1, "99999999w": -1, "7": -1, "ever": -1,
	}
	for in, want := range tests {
		got, err := parseExpiry(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("parseExpiry(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"30s": 30 * time.Second, "1m": time.Minute, "1m30s": 90 * time.Second, "1h": time.Hour, "10h": 10 * time.Hour, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "26h": 26 * time.Hour,
	} {
		if got := duration(d); got != want {
			t.Errorf("%v shows as %q, want %q", d, got, want)
		}
	}
}
