package cli

import "testing"

func TestParseServer(t *testing.T) {
	tests := map[string]string{
		"":                         "127.0.0.1:7443",
		"chat.example.org":         "chat.example.org:7443",
		"chat.example.org:443":     "chat.example.org:443",
		"127.0.0.1:9":              "127.0.0.1:9",
		"::1":                      "[::1]:7443",
		"[::1]":                    "[::1]:7443",
		"[::1]:9":                  "[::1]:9",
		":443":                     "error",
		"host:":                    "error",
		"bob@host":                 "error",
		"https://chat.example.org": "error",
		"a b":                      "error",
		"a\x1b[31m":                "error",
	}
	for in, want := range tests {
		got, err := parseServer(in)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("parseServer(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}
