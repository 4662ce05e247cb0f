package sqlite_test

import (
	"encoding/base32"
	"errors"
	"testing"
	"time"

	"sealpost/relay/sqlite"
)

func TestInvites(t *testing.T) {
	dir := t.TempDir()
	_, closeStore := open(t, dir)
	defer closeStore()
	a := openAdmin(t, dir)
	now := time.Unix(9000, 0)
	invites := []sqlite.Invite{
		{Uses: 1, Note: "for carol"},
		{Uses: 5, Note: "for the club", Expires: now.Add(time.Hour)},
	}
	for i := range invites {
		code, err := a.AddInvite(invites[i], now.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		invites[i].ID, invites[i].Left, invites[i].Created = code.ID(), invites[i].Uses, now.Add(time.Duration(i)*time.Second)
		// Neither the code nor its text is on the disk: its hash is.
		hash := code.Hash()
		if !foundIn(t, dir, hash[:]) || foundIn(t, dir, code[5:]) || foundIn(t, dir, []byte(base32.StdEncoding.EncodeToString(code[5:]))) {
			t.Error("the database holds a code, or not its hash")
		}
	}
	list := func() (listed []sqlite.Invite) {
		if err := a.Invites(func(i sqlite.Invite) error { listed = append(listed, i); return nil }); err != nil {
			t.Fatal(err)
		}
		return listed
	}
	if got := list(); len(got) != 2 || got[0] != invites[0] || got[1] != invites[1] {
		t.Errorf("got %+v, want %+v", got, invites)
	}
	if err := a.RevokeInvite(invites[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := a.RevokeInvite(invites[0].ID); !errors.Is(err, sqlite.ErrNoInvite) {
		t.Errorf("revoked twice: %v", err)
	}
	if got := list(); len(got) != 1 || got[0] != invites[1] {
		t.Errorf("got %+v, want %+v", got, invites[1])
	}
}
