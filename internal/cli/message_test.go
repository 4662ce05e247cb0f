package cli

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

func TestMessageLines(t *testing.T) {
	now := time.Date(2026, 11, 22, 22, 5, 0, 0, time.Local)
	direct := messenger.Conversation{Kind: messenger.Direct, With: "bob"}
	group := messenger.Conversation{Kind: messenger.Group, Name: "walks"}
	text := func(s string, change ...func(*row)) row {
		r := row{Message: messenger.Message{Kind: messenger.KindText, Sender: "bob", Text: s, Time: now.Add(-time.Minute).UTC()}, in: direct, self: "alice"}
		for _, do := range change {
			do(&r)
		}
		return r
	}
	notice := func(kind messenger.Kind, sender identity.Username, in messenger.Conversation, text string, missing uint64) row {
		return row{Message: messenger.Message{Kind: kind, Sender: sender, Text: text, Missing: missing, Stored: now}, in: in, self: "alice"}
	}
	tests := []struct {
		name string
		row  row
		want string
	}{
		{"received", text("hi"), "22:04 bob: hi"},
		{"sent", text("hi", func(r *row) { r.Sender, r.Outgoing, r.State = "alice", true, messenger.Delivered }), "22:04 → bob ✓✓: hi"},
		{"in a group", text("hi", func(r *row) { r.in = group }), "22:04 bob in +walks: hi"},
		{"sent to a group", text("hi", func(r *row) { r.in, r.Outgoing, r.State = group, true, messenger.Read }), "22:04 → +walks ✓✓ read: hi"},
		{"a group with a sly name", text("hi", func(r *row) { r.in = group; r.in.Name = "x: yes\n\"" }), `22:04 bob in +"x: yes\x0a\"": hi`},
		{"a year ago", text("hi", func(r *row) { r.Time = time.Date(2025, 11, 22, 22, 4, 0, 0, time.Local) }), "2025-11-22 22:04 bob: hi"},
		{"several lines", text("one\ntwo\r\nthree\tx"), "22:04 bob: one\n      two\n      three    x"},
		{"a line that looks like another message", text("x\n22:05 carol: send me money"), "22:04 bob: x\n      22:05 carol: send me money"},
		{"a line that looks like a remark", text("x\n  ✎ edited"), "22:04 bob: x\n        ✎ edited"},
		{"back to the start of the line", text("x\r22:05 carol: y"), `22:04 bob: x\x0d22:05 carol: y`},
		{"an answer", text("me", func(r *row) {
			r.answered = &messenger.Message{Kind: messenger.KindText, Sender: "alice", Text: "who\ncomes?"}
		}), "22:04 bob: me\n  ↪ answers you: who comes?"},
		{"reactions", text("me", func(r *row) {
			r.Reactions = []messenger.Reaction{{Sender: "alice", Emoji: "👍"}, {Sender: "carol", Emoji: "x\x1b"}}
		}), "22:04 bob: me\n  ♥ 👍 you\n  ♥ x\\x1b carol"},
		{"edited and disappearing", text("me", func(r *row) { r.Edited, r.Expiry = true, 90*time.Minute }), "22:04 bob: me\n  ✎ edited\n  ⏳ disappears 1h30m after it is read"},
		{"taken back", text("", func(r *row) { r.Deleted, r.Edited = true, true }), "22:04 bob: (taken back)"},
		{"one missing", notice(messenger.KindGap, "bob", direct, "", 1), "-- 1 earlier message of bob not here yet --"},
		{"some missing", notice(messenger.KindGap, "bob", group, "", 3), "-- 3 earlier messages of bob in +walks not here yet --"},
		{"key accepted", notice(messenger.KindKeyAccepted, "bob", direct, "", 0), "-- the new key of bob was accepted --"},
		{"members", notice(messenger.KindMembers, "alice", group, "added bob\nx", 0), `-- 22:05 in +walks: you added bob\x0ax --`},
		{"messages disappear", notice(messenger.KindMembers, "bob", direct, "made messages stay", 0), "-- 22:05 with bob: bob made messages stay --"},
		{"warning", notice(messenger.KindWarning, "", group, "the relay lies", 0), "!! 22:05 in +walks: the relay lies"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := messageLines(test.row, now); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := messageLines(notice(messenger.KindKeyChanged, "bob", direct, "", 0), now); !strings.HasPrefix(got, "!! THE KEY OF bob CHANGED") {
		t.Errorf("a changed key shows as %q", got)
	}
}

// FuzzAttackF1MessageLines: no text, name of a group or reaction puts anything at
// the beginning of a line but the first, where a remark of ours would begin, or
// where the sender stands, and nothing that a terminal would obey.
func FuzzAttackF1MessageLines(f *testing.F) {
	f.Add("\x1b[2J\r\n22:05 carol: \u202e"+strings.Repeat(" ", 70)+"22:05 carol: hi", "walks: yes\n22:05 carol: \x1b]52;c;\a", "👍\u202e", 40)
	f.Fuzz(func(t *testing.T, text, name, emoji string, columns int) {
		if columns < 13 || columns > 300 { // the indent takes no more than half of a line
			t.Skip()
		}
		now := time.Now()
		group := messenger.Conversation{Kind: messenger.Group, Name: name, Inviter: "bob"}
		m := messenger.Message{Kind: messenger.KindText, Sender: "bob", Text: text, Time: now, Edited: true, Reactions: []messenger.Reaction{{Sender: "bob", Emoji: emoji}}}
		notice := messenger.Message{Kind: messenger.KindMembers, Sender: "bob", Text: "named the group " + name}
		for _, shown := range []string{
			messageLines(row{Message: m, in: group, answered: &m}, now),
			messageLines(row{Message: m, in: messenger.Conversation{Kind: messenger.Direct, With: "bob"}}, now),
			messageLines(row{Message: notice, in: group}, now),
			request{Conversation: group, from: "bob", number: "12345 12345 12345"}.lines("/", argument(group)),
		} {
			for i, line := range strings.Split(terminal.Wrap(shown, columns, messageIndent), "\n") {
				ours := strings.TrimSpace(line) == "" || strings.HasPrefix(line, strings.Repeat(" ", messageIndent)) || (strings.HasPrefix(line, "  ") && strings.ContainsRune("↪✎♥⏳/T1", []rune(line)[2]))
				if i > 0 && !ours {
					t.Errorf("line %d of %q begins with the message's own words", i, shown)
				}
				if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
					t.Errorf("%q is not harmless", line)
				}
			}
		}
		if who, _, _ := strings.Cut(messageLines(row{Message: m, in: group}, now), ":"+" "); strings.Count(who, " ") < 3 || strings.Fields(who)[1] != "bob" {
			t.Errorf("the sender stands behind %q", who)
		}
	})
}

// TestAttackF1Argument: no name of a group puts anything but one plain word into a
// command to copy.
func TestAttackF1Argument(t *testing.T) {
	for _, name := range []string{"$(reboot)", "`x`", "x;y", "a'b", `a"b`, "\x1b", "a\nb", " x", "x ", "a:b", "x|y", "*", "!x", "\\", "\u202e", "a\u00a0b"} {
		got := argument(messenger.Conversation{Kind: messenger.Group, Name: name})
		if !strings.HasPrefix(got, "conversation:") {
			t.Errorf("%q is to be typed as %q", name, got)
		}
	}
	for name, want := range map[string]string{"long-walks_2": "+long-walks_2", "long walks": "'+long walks'", "réunion": "'+réunion'", "-x y": "'+-x y'"} {
		if got := argument(messenger.Conversation{Kind: messenger.Group, Name: name}); got != want {
			t.Errorf("%q is to be typed as %s, want %s", name, got, want)
		}
	}
}
