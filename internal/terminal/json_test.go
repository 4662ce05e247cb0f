package terminal

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

func FuzzJSONWriter(f *testing.F) {
	f.Add("\x1b]52;c;ZXZpbA==\x07 \u202e \x7f \u009b \U000e0041 \xff \"")
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		if err := json.NewEncoder(JSONWriter(&out)).Encode(s); err != nil {
			t.Fatal(err)
		}
		line, ended := strings.CutSuffix(out.String(), "\n")
		if !ended {
			t.Errorf("no line end: %q", out.String())
		}
		checkHarmless(t, line)
		var got string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); got != want && strings.Count(s, "\ufffd") == strings.Count(want, "\ufffd") {
			t.Errorf("read back %q, want %q", got, want)
		}
	})
}

func TestAttackF1Log(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(JSONWriter(&out), nil)).Info("hello", "name", "\x1b[31m\u202e\u009b")
	checkHarmless(t, strings.TrimSuffix(out.String(), "\n"))
	if !strings.Contains(out.String(), `\u001b[31m\u202e\u009b`) {
		t.Errorf("the log line is %q", out.String())
	}
}
