package messenger

import (
	"context"
	"errors"
	"slices"
	"time"

	"sealpost/identity"
)

// Times after which messages disappear in a simulation.
var simulatedExpiries = []time.Duration{0, 30 * time.Second, 2 * time.Minute, longestExpiry}

const longestExpiry = 10 * time.Minute

// read has a person look at what came to a device.
func (w *world) read(d *device) {
	if d.client == nil {
		return
	}
	ctx := context.Background()
	unread, err := d.client.Unread(ctx)
	w.must(err)
	var rows []RowID
	for _, m := range unread {
		rows = append(rows, m.Row)
	}
	err = d.client.MarkRead(ctx, rows...)
	w.log("%s: reads %d rows: %v", d.name, len(rows), err)
	for _, m := range unread {
		switch {
		case m.Kind != KindText:
		case err == nil:
			d.shown[m.ID]++
		default: // it crashed, before or after it was written
			d.maybeShown[m.ID] = true
		}
	}
}

// showed says whether a person may have seen a message at a device.
func (d *device) showed(id MessageID) bool { return d.shown[id] > 0 || d.maybeShown[id] }

// block has a device block somebody, or take that back.
func (w *world) block(d *device) {
	other := w.pick()
	if d.client == nil || other == d {
		return
	}
	change, what := d.client.Block, "blocks"
	if d.blocked[other.name] != nil {
		change, what = d.client.Unblock, "unblocks"
	}
	w.log("%s: %s %s: %v", d.name, what, other.name, change(context.Background(), other.name))
}

// unblockAll ends all blocks.
func (w *world) unblockAll() {
	for _, d := range w.devices {
		all, err := d.client.Contacts(context.Background())
		w.must(err)
		for _, k := range all {
			if k.Blocked {
				w.must(d.client.Unblock(context.Background(), k.Username))
			}
		}
	}
}

// observe holds against every device that runs what is so at every moment: nothing is
// there whose time is over, and nothing comes from who is blocked.
func (w *world) observe() {
	for _, d := range w.devices {
		if d.client == nil || d.crash.dead() {
			continue
		}
		var overdue int
		w.must(d.client.store.reader.QueryRow("SELECT count(*) FROM messages WHERE expires_at > 0 AND expires_at < ?",
			time.Now().Add(-time.Second).UnixMilli()).Scan(&overdue))
		if overdue > 0 {
			w.t.Errorf("seed %d: at %s, the time of %d messages is over", w.seed, d.name, overdue)
		}
		w.watchBlocks(d)
	}
	for _, m := range w.sent {
		if !m.expiring || m.accepted || m.by.client == nil {
			continue
		}
		own, err := m.by.client.Message(context.Background(), m.id)
		m.accepted = err == nil && own.State >= Accepted && own.State != Failed
	}
}

// watchBlocks remembers what was there of somebody when it was blocked, and finds what
// was not.
func (w *world) watchBlocks(d *device) {
	all, err := d.client.Contacts(context.Background())
	w.must(err)
	for _, k := range all {
		if !k.Blocked {
			delete(d.blocked, k.Username)
			continue
		}
		d.everBlocked = true
		now := w.textsOf(d, k.Username)
		before := d.blocked[k.Username]
		if before == nil {
			d.blocked[k.Username] = append(now, MessageID{}) // never nil
			continue
		}
		for _, id := range now {
			if !slices.Contains(before, id) {
				w.t.Errorf("seed %d: %s has %v of %s, whom it blocked before", w.seed, d.name, id, k.Username)
			}
		}
	}
}

func (w *world) textsOf(d *device, sender identity.Username) (ids []MessageID) {
	for _, in := range w.all {
		rows, err := d.client.Messages(context.Background(), in, 0)
		if errors.Is(err, ErrUnknownConversation) {
			continue
		}
		w.must(err)
		for _, m := range rows {
			if m.Kind == KindText && m.Sender == sender {
				ids = append(ids, m.ID)
			}
		}
	}
	return ids
}

// checkShown: nothing is shown twice.
func (w *world) checkShown() {
	for _, d := range w.devices {
		for id, n := range d.shown {
			if n > 1 && !d.restored {
				w.t.Errorf("seed %d: %s showed %v %d times", w.seed, d.name, id, n)
			}
		}
	}
}

// checkGone: once everybody has read everything and its time is over, nothing is left on
// any disk of what was to disappear.
func (w *world) checkGone() {
	time.Sleep(longestExpiry + time.Second)
	w.sweep()
	for _, d := range w.devices {
		var left int
		w.must(d.client.store.reader.QueryRow("SELECT count(*) FROM messages m JOIN conversations v ON v.id = m.conversation WHERE m.ttl > 0 AND v.state != ?",
			int(Request)).Scan(&left)) // nobody reads a request
		if left > 0 {
			w.t.Errorf("seed %d: %s still has %d messages that were to disappear", w.seed, d.name, left)
		}
	}
}
