package messenger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"sealpost/identity"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

// shelf is a profile that knows no server, with a clock that stands.
func shelf(t testing.TB) *person {
	t.Helper()
	p := &person{t: t, options: Options{
		Dir: t.TempDir(), Unlock: KeyFile(), Clock: func() time.Time { return time.UnixMilli(1_800_000_000_000) },
	}}
	profile := NewProfile{Username: "alice", Server: "127.0.0.1:1", Fingerprint: identity.ServerID{1}}
	_, client, err := writeProfile(testContext(t), p.options, profile)
	if err != nil {
		t.Fatal(err)
	}
	if client.lock, err = lockProfile(p.options.Dir); err != nil {
		t.Fatal(err)
	}
	p.attach(client)
	t.Cleanup(p.stop)
	return p
}

// meets makes a conversation with somebody.
func (p *person) meets(name identity.Username) ConversationID {
	p.t.Helper()
	if err := p.commit(testContext(p.t), func(u *unit) error {
		if _, err := p.pin(u, listing{username: name, accountKey: identity.AccountKey{1}}); err != nil {
			return err
		}
		return p.openDirect(u, name)
	}); err != nil {
		p.t.Fatal(err)
	}
	return p.DirectID(name)
}

const hostile = "**bold** <script>alert(1)</script> [x](javascript:y)\n# no heading\n    no code\n1. no list\n- no item\n\n\x1b]52;c;aGk=\a\u202eevil\u2028 a\tb &amp; 👩‍👩‍👧 naïve"

// everyKind fills a conversation with rows of every kind.
func everyKind(t testing.TB, p *person) ConversationID {
	t.Helper()
	in := p.meets("bob")
	ids := make([]MessageID, 6)
	for i := range ids {
		ids[i] = MessageID{1, byte(i)} // the first byte names the hash
	}
	if err := p.commit(testContext(t), func(u *unit) error {
		v, err := p.findConversation(u, u, in)
		if err != nil {
			return err
		}
		at := u.now.UnixMilli()
		for _, r := range []messageRow{
			{kind: KindText, sender: "bob", id: &ids[0], text: hostile, sentAt: at},
			{kind: KindText, sender: "alice", outgoing: true, id: &ids[1], text: "answer", replyTo: ids[0], sentAt: at + 60_000},
			{kind: KindGap, sender: "bob", missing: 3, sentAt: at + 120_000},
			{kind: KindKeyChanged, sender: "bob", text: identity.AccountKey{2}.String(), sentAt: at},
			{kind: KindKeyAccepted, sender: "bob", text: identity.AccountKey{2}.String(), sentAt: at},
			{kind: KindMembers, sender: "bob", text: "named the group *x*", sentAt: at + 86_400_000},
			{kind: KindWarning, text: "the server plays tricks", sentAt: at + 86_400_000},
			{kind: KindText, sender: "bob", id: &ids[2], text: "burn after reading", ttl: 60, sentAt: at + 86_400_000},
			{kind: KindText, sender: "bob", id: &ids[3], text: "oops", sentAt: at + 86_400_000},
			{kind: KindText, sender: "alice", outgoing: true, id: &ids[4], text: "to nothing", replyTo: MessageID{1, 99}, sentAt: at + 86_400_000},
			{kind: KindText, sender: "alice", outgoing: true, id: &ids[5], text: "to what burns", replyTo: ids[2], sentAt: at + 86_400_000},
		} {
			if _, err := addRow(u, v, r); err != nil {
				return err
			}
		}
		edited := "answer, edited"
		m, err := findMessage(u, v, ids[1])
		if err == nil {
			err = replaceText(u, m.Row, &edited)
		}
		if err != nil {
			return err
		}
		if m, err = findMessage(u, v, ids[3]); err == nil {
			err = replaceText(u, m.Row, nil)
		}
		if err != nil {
			return err
		}
		if err := addReaction(u, ids[0], "alice", "👍", MessageID{1, 98}); err != nil {
			return err
		}
		return changeStates(u, "state = ?, reason = ? WHERE message_id = ?", int(Failed), "the server calls it malformed", ids[5][:])
	}); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestExport(t *testing.T) {
	p := shelf(t)
	in := everyKind(t, p)
	for name, format := range map[string]ExportFormat{"export.jsonl": ExportJSON, "export.md": ExportMarkdown} {
		var out bytes.Buffer
		if err := p.Export(testContext(t), in, format, &out); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.Bytes())
		for _, r := range out.String() {
			if r != '\n' && r != '\u200d' && !unicode.IsGraphic(r) {
				t.Errorf("%s holds %U", name, r)
			}
		}
		if strings.Contains(out.String(), "burn") && strings.Contains(out.String(), "after reading") {
			t.Errorf("%s keeps what disappears", name)
		}
	}
	if err := p.Export(testContext(t), ConversationID{1}, ExportJSON, io.Discard); !errors.Is(err, ErrUnknownConversation) {
		t.Errorf("got %v", err)
	}
	full := errors.New("full")
	if err := p.Export(testContext(t), in, ExportJSON, failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// What is exported as JSON is what was said, to the byte.
func TestExportIsFaithful(t *testing.T) {
	p := shelf(t)
	in := everyKind(t, p)
	var out bytes.Buffer
	if err := p.Export(testContext(t), in, ExportJSON, &out); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(&out)
	var header ExportHeader
	if err := decoder.Decode(&header); err != nil || header.Version != 1 || header.Conversation != in {
		t.Errorf("got %+v, %v", header, err)
	}
	all, err := p.Messages(testContext(t), in, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		var row ExportRow
		if err := decoder.Decode(&row); err != nil {
			t.Fatal(err)
		}
		if row.Kind != m.Kind.String() || row.Sender != m.Sender || (m.Expiry == 0 && row.Text != m.Text) || !row.Time.Equal(m.Time) || row.Missing != m.Missing {
			t.Errorf("%+v became %+v", m, row)
		}
	}
	if decoder.More() {
		t.Error("there is more")
	}
}

// Rows that vanish while an export goes on do not end it, and memory holds a page.
func TestExportGoesOnWhenRowsVanish(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	const n = 3*exportPage + 10
	for _, text := range numbered(n) {
		p.say(in, text)
	}
	var out bytes.Buffer
	w := writerFunc(func(b []byte) (int, error) {
		if out.Len() == 0 {
			if _, err := p.store.writer.Exec("DELETE FROM outbox; DELETE FROM messages WHERE id BETWEEN 200 AND 300"); err != nil {
				t.Fatal(err)
			}
		}
		return out.Write(b)
	})
	if err := p.Export(testContext(t), in, ExportJSON, w); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); !strings.Contains(out.String(), fmt.Sprint("text ", n-1)) || lines <= n-101 || lines > n+1 {
		t.Errorf("%d lines of %d", lines, n)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(b []byte) (int, error) { return w(b) }

func FuzzEscapeMarkdown(f *testing.F) {
	for _, seed := range []string{hostile, "a\n\n\nb", "\\", "    x", "12) y", "===\n---", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := escapeMarkdown(text)
		for _, r := range got {
			if r != '\n' && !isInert(r) {
				t.Fatalf("%q became %q", text, got)
			}
		}
		for line := range strings.SplitSeq(got, "\n") {
			if line != strings.TrimSpace(line) || strings.ContainsAny(firstOf(line), "#>+-=<&*_`~|[") {
				t.Fatalf("%q begins markup in %q", line, text)
			}
		}
	})
}

func firstOf(line string) string { return line[:min(len(line), 1)] }

func BenchmarkExport(b *testing.B) {
	p := shelf(b)
	in := p.meets("bob")
	for _, text := range numbered(2000) {
		p.say(in, text)
	}
	for b.Loop() {
		if err := p.Export(context.Background(), in, ExportJSON, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func TestExportRefusesARequest(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	if _, err := p.store.writer.Exec("UPDATE conversations SET state = ?", int(Request)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.Export(testContext(t), in, ExportMarkdown, &out); !errors.Is(err, ErrNotAccepted) || out.Len() != 0 {
		t.Errorf("got %v, %q", err, out.String())
	}
}
