package messenger

import (
	"encoding/binary"
	"testing"

	"sealpost/content"
)

// A receipt that was sealed for an epoch which is over is sealed again with all that
// it said and what came since; and what is too much for one is said by the next.
func TestReceiptIsComposedAgain(t *testing.T) {
	_, _, bob, in := couple(t)
	bob.offline()
	id := func(n int) []byte {
		var id content.MessageID
		id[0] = 1 // the hash
		binary.BigEndian.PutUint32(id[1:], uint32(n))
		return id[:]
	}
	said := make(map[content.MessageID]content.Status)
	err := bob.commit(testContext(t), func(u *unit) error {
		v, err := bob.findConversation(u, u, in)
		if err != nil {
			return err
		}
		for n := range 10 {
			if err := owe(u, v.id, id(n), Delivered); err != nil {
				return err
			}
		}
		refused, err := composeReceipt(u, v.id)
		if err != nil {
			return err
		}
		for n := 5; n < content.MaxElements+5; n++ {
			if err := owe(u, v.id, id(n), Read); err != nil {
				return err
			}
		}
		if err := oweAgain(u, v.id, refused); err != nil {
			return err
		}
		for {
			body, err := composeReceipt(u, v.id)
			if err != nil || body == nil {
				return err
			}
			m, err := content.Parse(body)
			if err != nil {
				return err
			}
			for _, s := range m.View().Report {
				said[s.ID] = s.Status
			}
			waits := 0
			if err := u.QueryRowContext(u, "SELECT count(*) FROM outbox WHERE kind = ?", int(entryReceipt)).Scan(&waits); err != nil {
				return err
			}
			if waits != 1 {
				t.Errorf("%d receipts wait after a full one", waits)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range content.MaxElements + 5 {
		want := content.StatusRead
		if n < 5 {
			want = content.StatusDelivered
		}
		if got := said[content.MessageID(id(n))]; got != want {
			t.Errorf("of message %d the receipt says %v, want %v", n, got, want)
		}
	}
	if len(said) != content.MaxElements+5 {
		t.Errorf("the receipts tell of %d messages", len(said))
	}
}
