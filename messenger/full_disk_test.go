package messenger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// bound stops the database from growing beyond what it has and some pages more,
// as a full disk does. Less than none lifts the bound.
func (p *person) bound(pages int) {
	p.t.Helper()
	ctx, limit, now := testContext(p.t), 1<<30, 0
	if err := p.store.writer.QueryRowContext(ctx, "PRAGMA page_count").Scan(&now); err != nil {
		p.t.Fatal(err)
	}
	if pages >= 0 {
		limit = now + pages
	}
	if err := p.store.writer.QueryRowContext(ctx, fmt.Sprint("PRAGMA max_page_count = ", limit)).Scan(&now); err != nil {
		p.t.Fatal(err)
	}
}

func TestFullDiskLosesNothing(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	in := alice.direct(bob)
	long := strings.Repeat("x", 20<<10)
	alice.online()
	bob.online()
	alice.await(alice.send(bob, "one"), Delivered)
	bob.offline()
	alice.await(alice.send(bob, long), Accepted)
	alice.await(alice.send(bob, "three"), Accepted)
	bob.bound(2)
	if err := bob.Run(testContext(t)); !errors.Is(err, ErrStore) {
		t.Fatalf("running on a full disk: %v", err)
	}
	if _, err := bob.Send(testContext(t), in, long); !errors.Is(err, ErrStore) {
		t.Fatalf("writing on a full disk: %v", err)
	}
	bob.bound(-1)
	bob.online()
	bob.until("all came", func() bool { return slices.Equal(bob.texts(in), []string{"one", long, "three"}) })
	wantRows(t, bob, in, "one", long, "three")
	alice.await(alice.send(bob, "goes on"), Delivered)
}
