package content

import (
	"fmt"
	"io"
	"log/slog"
)

// Types that hold what people say, or the keys of attachments, print as their name,
// whatever the verb, so that no log or error message gives them away.

func redact(f fmt.State, name string) { _, _ = io.WriteString(f, "content."+name+"(redacted)") }

// Format hides the message.
func (m Message) Format(f fmt.State, _ rune) { redact(f, "Message") }

// LogValue hides the message.
func (m Message) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(m)) }

// Format hides the part.
func (p NestedPart) Format(f fmt.State, _ rune) { redact(f, "NestedPart") }

// LogValue hides the part.
func (p NestedPart) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format hides the content.
func (p SinglePart) Format(f fmt.State, _ rune) { redact(f, "SinglePart") }

// LogValue hides the content.
func (p SinglePart) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format hides the key.
func (p ExternalPart) Format(f fmt.State, _ rune) { redact(f, "ExternalPart") }

// LogValue hides the key.
func (p ExternalPart) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format hides the content.
func (v View) Format(f fmt.State, _ rune) { redact(f, "View") }

// LogValue hides the content.
func (v View) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(v)) }
