package messenger

import (
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// withMigrations has the schema go on for the time of a test.
func withMigrations(t *testing.T, more ...string) {
	t.Helper()
	released := migrations
	migrations = append(slices.Clone(released), more...)
	t.Cleanup(func() { migrations = released })
}

func TestMigrationsGoForward(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	p.say(in, "from the old version")
	p.stop()
	t.Run("broken", func(t *testing.T) {
		withMigrations(t, "ALTER TABLE contacts ADD COLUMN half TEXT; CREATE TABLE contacts (x)")
		if c, err := Open(testContext(t), p.options); err == nil {
			t.Errorf("opened: %v", c.Close())
		}
	})
	p.restart() // nothing of it is left
	wantRows(t, p, in, "from the old version")
	p.stop()
	withMigrations(t, "ALTER TABLE contacts ADD COLUMN motto TEXT NOT NULL DEFAULT 'none'", "UPDATE contacts SET motto = 'new'")
	wantFindings(t, p.options, map[string]FindingState{"database": Repaired})
	p.restart()
	var (
		motto   string
		version int
	)
	if err := p.store.reader.QueryRow("SELECT motto FROM contacts").Scan(&motto); err != nil || motto != "new" {
		t.Errorf("got %q, %v", motto, err)
	}
	if err := p.store.reader.QueryRow("PRAGMA user_version").Scan(&version); err != nil || version != len(migrations) {
		t.Errorf("version %d, %v", version, err)
	}
	p.say(in, "from the new one")
	wantRows(t, p, in, "from the old version", "from the new one")
}

// prepared returns how many statements the one connection of the writer keeps.
func (s *store) prepared(t *testing.T) int {
	t.Helper()
	conn, err := s.writer.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := 0
	if err := conn.Raw(func(c any) error {
		n = len(c.(*cachingConn).prepared)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatementsAreKept(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	p.say(in, "one")
	before := p.store.prepared(t)
	for range 20 {
		p.say(in, "again")
	}
	if after := p.store.prepared(t); after != before || before == 0 {
		t.Errorf("%d statements became %d", before, after)
	}
	for i := range 2 * maxPrepared {
		var got int
		if err := p.store.writer.QueryRow(fmt.Sprint("SELECT ?1 + ", i), 1).Scan(&got); err != nil || got != i+1 {
			t.Fatalf("got %d, %v", got, err)
		}
	}
	if n := p.store.prepared(t); n != maxPrepared {
		t.Errorf("%d statements are kept", n)
	}
	p.say(in, "after all of them")
}

// A statement that is in use is not lent a second time, and one that failed or was left
// half read can be used again.
func TestStatementInsideOfItself(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	for _, text := range numbered(3) {
		p.say(in, text)
	}
	const query = "SELECT id FROM messages WHERE id > ? ORDER BY id"
	err := p.store.write(t.Context(), func(tx *sql.Tx) error {
		for range 2 {
			outer, err := tx.Query(query, 0)
			if err != nil {
				return err
			}
			defer outer.Close()
			pairs := 0
			for outer.Next() {
				var id, next int
				if err := outer.Scan(&id); err != nil {
					return err
				}
				if err := tx.QueryRow(query, id).Scan(&next); err == nil && next == id+1 {
					pairs++
				}
			}
			if err := outer.Err(); err != nil || pairs != 2 {
				t.Errorf("%d pairs, %v", pairs, err)
			}
		}
		const insert = "INSERT INTO seen (message_id) VALUES (?)"
		if _, err := tx.Exec(insert, []byte{1}); err != nil {
			return err
		}
		if _, err := tx.Exec(insert, []byte{1}); err == nil {
			t.Error("the same twice")
		}
		_, err := tx.Exec(insert, []byte{2})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestManyReadAndWriteAtOnce(t *testing.T) {
	p := shelf(t)
	in := p.meets("bob")
	const each = 20
	var all sync.WaitGroup
	for range 2 * readers {
		all.Go(func() {
			for range each {
				if _, err := p.Send(testContext(t), in, "at once"); err != nil {
					t.Error(err)
				}
				for _, read := range []func() error{
					func() error { _, err := p.Search(testContext(t), "once", &in, 5); return err },
					func() error { _, err := p.Messages(testContext(t), in, 5); return err },
					func() error { _, err := p.Conversations(testContext(t)); return err },
				} {
					if err := read(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if n := len(p.texts(in)); n != 2*readers*each {
		t.Errorf("%d texts", n)
	}
}
