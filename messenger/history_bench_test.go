package messenger

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/identity"
)

// history is how many messages BenchmarkHistory has, unless SEALPOST_HISTORY says
// another number.
const history = 1_000_000

// longHistory is a profile with n messages in 200 conversations, half of them in one,
// one in fifty unread. Every text holds the word "the" and a dozen of 20,000 others, of
// which some are common and most are rare, as in a language.
func longHistory(b *testing.B, n int) (*person, []ConversationID) {
	b.Helper()
	p := shelf(b)
	var in []ConversationID
	for i := range 200 {
		in = append(in, p.meets(identity.Username(fmt.Sprint("friend", i))))
	}
	exec := func(statement string) {
		if _, err := p.store.writer.Exec(statement); err != nil {
			b.Fatal(err)
		}
	}
	exec("PRAGMA synchronous = OFF")
	exec("PRAGMA cache_size = -65536")
	exec("INSERT INTO messages_text (messages_text, rank) VALUES ('hashsize', 67108864)") // fewer parts to merge
	random := rand.New(rand.NewPCG(1, 2))
	words := rand.NewZipf(random, 1.2, 10, 20_000-1)
	const batch = 100_000
	for begin := 0; begin < n; begin += batch {
		err := p.commit(b.Context(), func(u *unit) error {
			insert, err := u.PrepareContext(u, `INSERT INTO messages (conversation, position, counter, kind, sender, outgoing, message_id, text, sent_at, stored_at, state, unread)
				VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)`)
			if err != nil {
				return err
			}
			defer insert.Close()
			seen, err := u.PrepareContext(u, "INSERT INTO seen (message_id) VALUES (?)")
			if err != nil {
				return err
			}
			defer seen.Close()
			for i := begin; i < min(n, begin+batch); i++ {
				v := 1
				if i%2 == 1 {
					v = 1 + random.IntN(len(in))
				}
				text := strings.Builder{}
				text.WriteString("the")
				for range 12 {
					text.WriteString(" w" + strconv.FormatUint(words.Uint64(), 36))
				}
				outgoing, state, sender := i%3 == 0, State(0), fmt.Sprint("friend", v-1)
				if outgoing {
					state, sender = Delivered, "alice"
				}
				// In order, to be fast here. Real ones are not.
				id := binary.BigEndian.AppendUint64([]byte{1}, uint64(i))
				id = append(id, make([]byte, len(MessageID{})-len(id))...)
				at := u.now.UnixMilli() + int64(i)
				if _, err := insert.ExecContext(u, v, i+1, i, sender, outgoing, id, text.String(), at, at, int(state), !outgoing && i%50 == 1); err != nil {
					return err
				}
				if _, err := seen.ExecContext(u, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	exec("INSERT INTO messages_text (messages_text, rank) VALUES ('hashsize', 1048576)")
	exec("PRAGMA synchronous = FULL")
	p.restart()
	return p, in
}

// BenchmarkHistory tells what things cost in a profile with a million messages. Building
// it takes a minute or two.
func BenchmarkHistory(b *testing.B) {
	n := history
	if set, err := strconv.Atoi(os.Getenv("SEALPOST_HISTORY")); err == nil {
		n = set
	}
	p, in := longHistory(b, n)
	// run reports the median beside the mean: the disk of a machine that others use is
	// late now and then.
	run := func(name string, do func(i int) error) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				begin := time.Now()
				if err := do(i); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		})
	}
	ctx := b.Context()
	run("last page", func(i int) error {
		page, err := p.Messages(ctx, in[i%2], 50)
		if err == nil && len(page) != 50 {
			err = fmt.Errorf("%d rows", len(page))
		}
		return err
	})
	run("page in the middle", func(int) error {
		_, err := p.MessagesBefore(ctx, in[0], RowID(n/2), 50)
		return err
	})
	run("conversations", func(int) error { _, err := p.Conversations(ctx); return err })
	run("unread", func(int) error { _, err := p.Unread(ctx); return err })
	for _, search := range []string{"the", "w1", "w7zz", "the w1 w2", "w9 wzz", "th", "nowhere"} {
		run("search "+search, func(int) error { _, err := p.Search(ctx, search, nil, 50); return err })
		run("search here "+search, func(int) error { _, err := p.Search(ctx, search, &in[7], 50); return err })
	}
	run("send", func(i int) error {
		_, err := p.Send(ctx, in[i%len(in)], fmt.Sprint("200 bytes of text, more or less, that somebody wrote to somebody else ", i))
		return err
	})
	run("read", func(int) error {
		unread, err := p.Messages(ctx, in[3], 1)
		if err == nil {
			err = p.MarkRead(ctx, unread[0].Row)
		}
		return err
	})
	run("open", func(int) error {
		if err := p.Close(); err != nil {
			return err
		}
		client, err := Open(ctx, p.options)
		if err == nil {
			p.attach(client)
		}
		return err
	})
}

// BenchmarkSendShort is sending in a profile that has no history.
func BenchmarkSendShort(b *testing.B) {
	p := shelf(b)
	in := p.meets("bob")
	for b.Loop() {
		if _, err := p.Send(b.Context(), in, "200 bytes of text, more or less, that somebody wrote to somebody else"); err != nil {
			b.Fatal(err)
		}
	}
}
