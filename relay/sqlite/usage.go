package sqlite

import "github.com/ncruces/go-sqlite3"

// usage is an amount of envelopes and of bytes of their payloads.
type usage struct {
	rows  int
	bytes int64
}

func (u usage) plus(v usage) usage { return usage{u.rows + v.rows, u.bytes + v.bytes} }

// within tells whether it is no more than some percent of a limit.
func (u usage) within(limit usage, percent int) bool {
	part := float64(percent) / 100 // no product of limits that overflows
	return float64(u.rows) <= float64(limit.rows)*part && float64(u.bytes) <= float64(limit.bytes)*part
}

// A holding is what a mailbox holds, and of which accounts. Of whom an envelope is
// stands only in memory, so that a copy of the disk does not tell who writes to
// whom: shares begin anew with the process.
type holding struct {
	usage
	of map[int64]share // by account
}

// A share is what a mailbox holds of one account, and never less: it counts
// envelopes without a list of them, in two parts, of which the older is forgotten
// when its last envelope is gone.
type share struct {
	older, newer         usage
	olderLast, newerLast int64 // sequence numbers
}

func (s share) all() usage { return s.older.plus(s.newer) }

// without returns what is left when all up to a sequence number is gone.
func (s share) without(upto int64) share {
	switch {
	case upto >= s.newerLast:
		return share{}
	case upto >= s.olderLast:
		return share{older: s.newer, olderLast: s.newerLast, newerLast: s.newerLast}
	default:
		return s
	}
}

// usages are what mailboxes hold, loaded when first needed.
type usages struct {
	holdings map[int64]*holding // by mailbox
	size     int                // holdings and shares
}

// maxUsages bounds the mailboxes and shares in memory to some 100 MB.
const maxUsages = 1 << 19

func (u *usages) clear() { u.holdings, u.size = make(map[int64]*holding), 0 }

// bound forgets some mailboxes when there are too many, whichever they are: nobody
// can choose whose shares begin anew.
func (u *usages) bound() {
	for mailbox, held := range u.holdings {
		if u.size <= maxUsages {
			return
		}
		u.size -= 1 + len(held.of)
		delete(u.holdings, mailbox)
	}
}

// add notes an envelope of an account that comes into a mailbox.
func (u *usages) add(mailbox, account, sequence int64, more usage) {
	held := u.holdings[mailbox]
	if held == nil {
		return // it is counted when it is needed
	}
	held.usage = held.plus(more)
	s, known := held.of[account]
	if !known {
		u.size++
	}
	s.newer, s.newerLast = s.newer.plus(more), sequence
	held.of[account] = s
}

// gone notes that all of a mailbox up to a sequence number, and how much that is,
// is deleted.
func (u *usages) gone(mailbox, upto int64, gone usage) {
	held := u.holdings[mailbox]
	if held == nil {
		return
	}
	held.usage = usage{held.rows - gone.rows, held.bytes - gone.bytes}
	for account, s := range held.of {
		if s = s.without(upto); s == (share{}) {
			delete(held.of, account)
			u.size--
		} else {
			held.of[account] = s
		}
	}
}

// held returns what a mailbox holds.
func (s *Store) held(mailbox int64) (*holding, error) {
	if held, ok := s.usage.holdings[mailbox]; ok {
		return held, nil
	}
	held := &holding{of: make(map[int64]share)}
	err := s.writer.mailboxUsage.int(1, mailbox).each(func(row *sqlite3.Stmt) bool {
		held.usage = usage{row.ColumnInt(0), row.ColumnInt64(1)}
		return false
	})
	if err == nil {
		s.usage.holdings[mailbox] = held
		s.usage.size++
	}
	return held, err
}
