package mls

import (
	"fmt"
	"io"
	"log/slog"
)

// Types that hold secrets print as their name, whatever the verb, so that no log or
// error message gives one away.

func redact(f fmt.State, name string) { _, _ = io.WriteString(f, "mls."+name+"(redacted)") }

// Format hides the keys of the group.
func (g *Group) Format(f fmt.State, _ rune) { redact(f, "Group") }

// LogValue hides the keys of the group.
func (g *Group) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(g)) }

// Format hides the keys of the epoch that the commit begins.
func (p *PendingCommit) Format(f fmt.State, _ rune) { redact(f, "PendingCommit") }

// LogValue hides the keys of the epoch that the commit begins.
func (p *PendingCommit) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format hides the keys of the epoch that the commit begins.
func (s *StagedCommit) Format(f fmt.State, _ rune) { redact(f, "StagedCommit") }

// LogValue hides the keys of the epoch that the commit begins.
func (s *StagedCommit) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Format hides the signer, which can be a private key.
func (id Identity) Format(f fmt.State, _ rune) { redact(f, "Identity") }

// LogValue hides the signer, which can be a private key.
func (id Identity) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(id)) }

// Format hides the content of the record.
func (r Record) Format(f fmt.State, _ rune) { redact(f, "Record") }

// LogValue hides the content of the record.
func (r Record) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// LogValue hides the private keys.
func (p *PrivateKeyPackage) LogValue() slog.Value { return slog.StringValue(p.String()) }
