package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"
)

// JSON returns a show function for [Run] that writes each step as one line.
func JSON(w io.Writer) func(Step) error {
	encoder := json.NewEncoder(w)
	return func(step Step) error { return encoder.Encode(step) }
}

// Widths of the screen, in columns.
const (
	maxWidth     = 96
	diagramWidth = 60 // what the drawing needs
	hexShown     = 48 // bytes of a long value
)

// A Screen shows steps on a terminal.
type Screen struct {
	Out   io.Writer
	Width int  // columns
	Color bool // use colours
	// Safe makes text harmless for the terminal.
	Safe func(string) string
	// Wait is called after each step, if it is not nil.
	Wait func() error
}

var colors = map[Party]string{Alice: "2", Relay: "3", Bob: "6"} // ANSI green, yellow, cyan

func (s *Screen) style() lipgloss.Style { return lipgloss.NewStyle() }

func (s *Screen) paint(style lipgloss.Style, text string) string {
	if !s.Color {
		return text
	}
	return style.Render(text)
}

func (s *Screen) party(p Party, text string) string {
	return s.paint(s.style().Bold(true).Foreground(lipgloss.Color(colors[p])), text)
}

func (s *Screen) faint(text string) string { return s.paint(s.style().Faint(true), text) }

// width is how many columns are used.
func (s *Screen) width() int { return max(20, min(s.Width, maxWidth)) }

// Show prints one step.
func (s *Screen) Show(step Step) error {
	title := fmt.Sprintf("%d. %s", step.Number, step.Title)
	var b strings.Builder
	b.WriteString("\n" + s.paint(s.style().Bold(true), lipgloss.Wrap(title, s.width(), "")) + "\n\n")
	if step.Flow != nil {
		b.WriteString(s.diagram(*step.Flow) + "\n\n")
	}
	b.WriteString(lipgloss.Wrap(step.Told, s.width(), "") + "\n\n")
	for _, fact := range step.Facts {
		b.WriteString(s.fact(fact))
	}
	if _, err := io.WriteString(s.Out, b.String()); err != nil {
		return err
	}
	if s.Wait != nil {
		return s.Wait()
	}
	return nil
}

// fact prints who, what, and below it the value and the note.
func (s *Screen) fact(f Fact) string {
	const margin = 2
	label := fmt.Sprintf("%-5s", f.Who)
	indent := strings.Repeat(" ", margin+len(label)+1)
	if s.width() < diagramWidth {
		indent = strings.Repeat(" ", 2*margin)
	}
	room := s.width() - len(indent)

	name, value := f.Name+": ", s.value(f)
	if strings.HasSuffix(f.Name, "?") {
		name = f.Name + " "
	}
	var lines []string
	if lipgloss.Width(name+value) <= room {
		lines = append(lines, s.faint(name)+s.emphasis(f, value))
	} else {
		for _, line := range splitLines(lipgloss.Wrap(strings.TrimSpace(name), room, "")) {
			lines = append(lines, s.faint(line))
		}
		for _, line := range splitLines(lipgloss.Wrap(value, room, "")) {
			lines = append(lines, s.emphasis(f, line))
		}
	}
	if f.Note != "" {
		for _, line := range splitLines(lipgloss.Wrap(f.Note, room, "")) {
			lines = append(lines, s.faint(line))
		}
	}
	first := strings.Repeat(" ", margin) + s.party(f.Who, label) + " "
	if s.width() < diagramWidth {
		return first + "\n" + indent + strings.Join(lines, "\n"+indent) + "\n"
	}
	return first + strings.Join(lines, "\n"+indent) + "\n"
}

func splitLines(s string) []string { return strings.Split(s, "\n") }

// value is what the screen shows of a value: of long bytes, their beginning.
func (s *Screen) value(f Fact) string {
	if !f.Hex {
		return s.Safe(f.Value)
	}
	shown, rest := f.Value, ""
	if len(shown) > 2*hexShown {
		shown, rest = shown[:2*hexShown], "…"
	}
	var b strings.Builder
	for i := 0; i < len(shown); i += 4 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(shown[i:min(i+4, len(shown))])
	}
	unit := "bytes"
	if len(f.Value) == 2 {
		unit = "byte"
	}
	return fmt.Sprintf("%s%s (%d %s)", b.String(), rest, len(f.Value)/2, unit)
}

// emphasis makes answers stand out.
func (s *Screen) emphasis(f Fact, text string) string {
	if f.Verdict == "" {
		return text
	}
	return s.paint(s.style().Bold(true), text)
}

// diagram draws the three parties with an arrow between two of them.
func (s *Screen) diagram(flow Flow) string {
	if s.width() < diagramWidth {
		line := fmt.Sprintf("%s → %s: %s", s.party(flow.From, string(flow.From)), s.party(flow.To, string(flow.To)), flow.Label)
		return lipgloss.Wrap(line, s.width(), "")
	}
	boxes := make([]string, 0, 3)
	for _, p := range []Party{Alice, Relay, Bob} {
		style := s.style().Border(lipgloss.RoundedBorder()).Width(9).Align(lipgloss.Center)
		if s.Color {
			style = style.BorderForeground(lipgloss.Color(colors[p]))
		}
		boxes = append(boxes, style.Render(s.party(p, string(p))))
	}
	return lipgloss.JoinHorizontal(lipgloss.Center, "  ", boxes[0], s.arrow(flow, Alice, Relay), boxes[1], s.arrow(flow, Relay, Bob), boxes[2])
}

// arrow draws what travels between two neighbours, or the room for it.
func (s *Screen) arrow(flow Flow, left, right Party) string {
	const length = 15
	line := strings.Repeat("─", (length-len(flow.Label)-3)/2)
	rest := strings.Repeat("─", length-len(flow.Label)-3-len([]rune(line)))
	switch {
	case flow.From == left && flow.To == right:
		return s.party(left, line+" "+flow.Label+" "+rest+"▶")
	case flow.From == right && flow.To == left:
		return s.party(right, "◀"+line+" "+flow.Label+" "+rest)
	default:
		return strings.Repeat(" ", length)
	}
}
