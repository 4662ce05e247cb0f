package cli

import (
	"fmt"
	"strings"
	"time"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

// messageIndent is what the second and further lines of a message begin with:
// nothing in it can look like the first line of another one.
const messageIndent = 6

// messageLines shows a row of a conversation to a person.
func messageLines(m messenger.Message, now time.Time) string {
	name := terminal.Printable(string(m.With))
	switch m.Kind {
	case messenger.KindGap:
		return fmt.Sprintf("-- %d earlier %s of %s not here yet --", m.Missing, plural(m.Missing, "message", "messages"), name)
	case messenger.KindKeyChanged:
		return fmt.Sprintf("!! THE KEY OF %s CHANGED. They set up anew, or somebody stands in between: "+
			"compare the safety number before you accept it. Nothing is sent to them until then.", name)
	case messenger.KindKeyAccepted:
		return fmt.Sprintf("-- the new key of %s was accepted --", name)
	}
	who := name
	if m.Outgoing {
		who = "→ " + name
		if m.State != 0 { // of one just written, the prompt shows the mark
			who += " " + mark(m.State)
		}
	}
	text := strings.ReplaceAll(terminal.PrintableText(m.Text), "\n", "\n"+strings.Repeat(" ", messageIndent))
	return fmt.Sprintf("%s %s: %s", clock(m.Time, now), who, text)
}

// mark is how far a message of ours has come, in one sign.
func mark(state messenger.State) string {
	switch state {
	case messenger.Accepted:
		return "✓"
	case messenger.Delivered:
		return "✓✓"
	case messenger.Failed:
		return "✗"
	}
	return "…"
}

// clock shows a time of today by the clock, and others with their date.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

func plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
