package cli

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

func TestMessageLines(t *testing.T) {
	now := time.Date(2026, 11, 22, 22, 5, 0, 0, time.Local)
	text := func(s string) messenger.Message {
		return messenger.Message{Kind: messenger.KindText, With: "bob", Text: s, Time: now.Add(-time.Minute).UTC()}
	}
	outgoing := text("hi")
	outgoing.Outgoing, outgoing.State = true, messenger.Delivered
	old := text("hi")
	old.Time = time.Date(2025, 11, 22, 22, 4, 0, 0, time.Local)
	tests := []struct {
		name    string
		message messenger.Message
		want    string
	}{
		{"received", text("hi"), "22:04 bob: hi"},
		{"sent", outgoing, "22:04 → bob ✓✓: hi"},
		{"a year ago", old, "2025-11-22 22:04 bob: hi"},
		{"several lines", text("one\ntwo\r\nthree\tx"), "22:04 bob: one\n      two\n      three    x"},
		{"a line that looks like another message", text("x\n22:05 carol: send me money"), "22:04 bob: x\n      22:05 carol: send me money"},
		{"back to the start of the line", text("x\r22:05 carol: y"), `22:04 bob: x\x0d22:05 carol: y`},
		{"one missing", messenger.Message{Kind: messenger.KindGap, With: "bob", Missing: 1}, "-- 1 earlier message of bob not here yet --"},
		{"some missing", messenger.Message{Kind: messenger.KindGap, With: "bob", Missing: 3}, "-- 3 earlier messages of bob not here yet --"},
		{"key accepted", messenger.Message{Kind: messenger.KindKeyAccepted, With: "bob"}, "-- the new key of bob was accepted --"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := messageLines(test.message, now); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := messageLines(messenger.Message{Kind: messenger.KindKeyChanged, With: "bob"}, now); !strings.HasPrefix(got, "!! THE KEY OF bob CHANGED") {
		t.Errorf("a changed key shows as %q", got)
	}
}

// FuzzAttackF1MessageLines: no text puts anything at the beginning of a line
// but the first, and nothing that a terminal would obey.
func FuzzAttackF1MessageLines(f *testing.F) {
	f.Add("\x1b[2J\r\n22:05 carol: \u202e"+strings.Repeat(" ", 70)+"22:05 carol: hi", 40)
	f.Fuzz(func(t *testing.T, text string, columns int) {
		if columns < 13 || columns > 300 { // the indent takes no more than half of a line
			t.Skip()
		}
		now := time.Now()
		shown := terminal.Wrap(messageLines(messenger.Message{Kind: messenger.KindText, With: "bob", Text: text, Time: now}, now), columns, messageIndent)
		for i, line := range strings.Split(shown, "\n") {
			if i > 0 && !strings.HasPrefix(line, strings.Repeat(" ", messageIndent)) {
				t.Errorf("line %d of %q begins with the message's own words", i, shown)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
				t.Errorf("%q is not harmless", line)
			}
		}
	})
}
