package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// A group is what the writer keeps in memory of one.
type group struct {
	number int64 // 0 until it is stored
	epoch  uint64
	usedAt int64 // when somebody wrote, in seconds since 1970, to the day
	list   deliveryList
	behind *group // what is stored, where a commit shows that it is out of date
}

// A deliveryList is that of one epoch of a group.
type deliveryList struct {
	number    int64 // 0 until it is stored
	hash      []byte
	devices   []identity.DeviceID // ascending
	mailboxes []int64             // of these devices
}

// maxCachedMembers bounds the groups in memory to some 25 MB.
const maxCachedMembers = 1 << 20

// groupCache knows groups by id. It belongs to the writer.
type groupCache struct {
	groups  map[string]*group
	members int
}

func (c *groupCache) put(id string, g *group) {
	if c.groups == nil || c.members+len(g.list.devices) > maxCachedMembers {
		c.clear()
	}
	c.groups[id] = g
	c.members += len(g.list.devices)
}

func (c *groupCache) clear() { c.groups, c.members = make(map[string]*group), 0 }

// submitToGroup delivers to the delivery list and, with a commit, moves the group
// on. Where it refuses, nothing is changed.
func (w *batchWrite) submitToGroup(key submissionKey, s *relay.Submission) error {
	g, err := w.groupOf(s)
	if err != nil {
		return err
	}
	mailboxes, err := w.listeners(s, g)
	if err != nil {
		return err
	}
	s.ListHash = g.list.hash
	if s.Commit != nil {
		return w.commit(key, s, g, mailboxes)
	}
	w.remember(key)
	if err := w.use(g); err != nil {
		return fmt.Errorf("noting that a group is used: %w", err)
	}
	s.FirstSequence, err = w.deliver(envelope{s.Kind, s.Payload, g.list.number}, mailboxes)
	return err
}

// use notes once a day that somebody writes in a group.
func (w *batchWrite) use(g *group) error {
	const day = 24 * 60 * 60
	now := w.batch.At.Unix()
	if now-g.usedAt < day {
		return nil
	}
	g.usedAt = now
	return w.writer.useGroup.int(1, now).int(2, g.number).exec()
}

// listeners sets the recipients to the delivery list without the sender, or for a
// request to those of them who are on it, and returns their mailboxes, all with room.
// Whom a commit removes is left out where there is none: nobody could remove a device
// with a full mailbox otherwise.
func (w *batchWrite) listeners(s *relay.Submission, g *group) ([]int64, error) {
	var asked map[identity.DeviceID]bool
	if s.Kind == api.Kind_KIND_REQUEST {
		asked = make(map[identity.DeviceID]bool, len(s.Recipients))
		for _, device := range s.Recipients {
			asked[device] = true
		}
	}
	mailboxes := make([]int64, 0, len(g.list.devices))
	s.Recipients = make([]identity.DeviceID, 0, len(g.list.devices))
	for i, device := range g.list.devices {
		if device == s.Sender || (asked != nil && !asked[device]) {
			continue
		}
		err := w.room(device, g.list.mailboxes[i], usage{1, int64(len(s.Payload))})
		if errors.Is(err, relay.ErrMailboxFull) && s.Commit != nil && !contains(s.Commit.Members, device) {
			continue
		}
		if err != nil {
			return nil, err
		}
		mailboxes = append(mailboxes, g.list.mailboxes[i])
		s.Recipients = append(s.Recipients, device)
	}
	return mailboxes, nil
}

// groupOf returns the group of a submission in the epoch that this one is for.
func (w *batchWrite) groupOf(s *relay.Submission) (*group, error) {
	g, err := w.group(s.Group.ID)
	if err != nil {
		return nil, err
	}
	ahead := s.Commit != nil && len(s.Commit.Welcomed) == 0
	if g == nil {
		if ahead && s.Group.Epoch > 0 {
			return w.restored(s, &group{})
		}
		return w.newGroup(s)
	}
	if _, found := g.list.find(s.Sender); !found {
		return nil, relay.ErrNotAMember
	}
	if ahead && s.Group.Epoch > g.epoch {
		return w.restored(s, g)
	}
	if g.epoch != s.Group.Epoch && s.Kind != api.Kind_KIND_REQUEST {
		return nil, relay.StaleEpochError{Current: g.epoch}
	}
	return g, nil
}

// restored takes a commit's word for which epoch a group is in, and that its
// members are those of the commit: the store comes from a backup.
func (w *batchWrite) restored(s *relay.Submission, behind *group) (*group, error) {
	list, err := w.resolve(s.Group.ID, s.Group.Epoch, s.Commit.Members)
	return &group{number: behind.number, epoch: s.Group.Epoch, list: list, behind: behind}, err
}

// newGroup is a group before its first commit: its founder is alone.
func (w *batchWrite) newGroup(s *relay.Submission) (*group, error) {
	if s.Commit == nil || s.Group.Epoch != 0 {
		return nil, relay.ErrNotAMember
	}
	list, err := w.resolve(s.Group.ID, 0, []identity.DeviceID{s.Sender})
	return &group{list: list}, err
}

// group returns a group, nil if there is none.
func (w *batchWrite) group(id string) (*group, error) {
	if g, ok := w.groups.groups[id]; ok {
		return g, nil
	}
	var g *group
	var list int64
	var devices []identity.DeviceID
	err := w.writer.group.blob(1, []byte(id)).each(func(row *sqlite3.Stmt) bool {
		g = &group{number: row.ColumnInt64(0), epoch: uint64(row.ColumnInt64(1)), usedAt: row.ColumnInt64(4)}
		list = row.ColumnInt64(2)
		for device := range slices.Chunk(row.ColumnRawBlob(3), len(identity.DeviceID{})) {
			devices = append(devices, identity.DeviceID(device))
		}
		return false
	})
	if err != nil || g == nil {
		return nil, err
	}
	if g.list, err = w.resolve(id, g.epoch, devices); err != nil {
		return nil, fmt.Errorf("reading a group: %w", err)
	}
	g.list.number = list
	w.groups.put(id, g)
	return g, nil
}

// resolve makes a list of devices, which must be registered.
func (w *batchWrite) resolve(group string, epoch uint64, devices []identity.DeviceID) (deliveryList, error) {
	hash := identity.DeliveryListHash([]byte(group), epoch, devices)
	l := deliveryList{hash: hash[:], devices: devices, mailboxes: make([]int64, len(devices))}
	var err error
	for i, device := range devices {
		if l.mailboxes[i], err = w.recipient(device); err != nil {
			return deliveryList{}, err
		}
	}
	return l, nil
}

func (l *deliveryList) find(device identity.DeviceID) (int, bool) {
	return slices.BinarySearchFunc(l.devices, device, func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) })
}

func contains(ascending []identity.DeviceID, device identity.DeviceID) bool {
	_, found := (&deliveryList{devices: ascending}).find(device)
	return found
}

// commit delivers a commit to mailboxes, which have room for it, and begins the
// next epoch.
func (w *batchWrite) commit(key submissionKey, s *relay.Submission, g *group, mailboxes []int64) (err error) {
	next := &group{epoch: g.epoch + 1, usedAt: w.batch.At.Unix()}
	if next.list, err = w.resolve(s.Group.ID, next.epoch, s.Commit.Members); err != nil {
		return err
	}
	welcomed, err := w.welcomed(s, g, next)
	if err != nil {
		return err
	}
	w.remember(key)
	if g.behind != nil {
		if err := w.beginEpoch(s.Group.ID, g.behind, g); err != nil {
			return fmt.Errorf("catching up with a group: %w", err)
		}
		g.behind = nil
	}
	if s.FirstSequence, err = w.deliver(envelope{s.Kind, s.Payload, g.list.number}, mailboxes); err != nil {
		return err
	}
	if err := w.beginEpoch(s.Group.ID, g, next); err != nil {
		return fmt.Errorf("beginning an epoch: %w", err)
	}
	s.Commit.ListHash = next.list.hash
	s.Commit.FirstSequence, err = w.deliver(envelope{api.Kind_KIND_WELCOME, s.Commit.Welcome, next.list.number}, welcomed)
	return err
}

// welcomed returns the mailboxes that get the Welcome, all with room for it and,
// where they get that too, for the commit.
func (w *batchWrite) welcomed(s *relay.Submission, g, next *group) ([]int64, error) {
	mailboxes := make([]int64, len(s.Commit.Welcomed))
	for i, device := range s.Commit.Welcomed {
		at, found := next.list.find(device)
		if !found {
			return nil, errors.New("a device that is no member is welcomed")
		}
		mailboxes[i] = next.list.mailboxes[at]
		more := usage{1, int64(len(s.Commit.Welcome))}
		if _, both := g.list.find(device); both {
			more = usage{2, more.bytes + int64(len(s.Payload))}
		}
		if err := w.room(device, mailboxes[i], more); err != nil {
			return nil, err
		}
	}
	return mailboxes, nil
}

// beginEpoch stores what comes after old. The list of old stays as long as
// entries from before the next sequence number name it.
func (w *batchWrite) beginEpoch(id string, old, next *group) error {
	if old.list.number != 0 {
		if err := w.writer.endList.int(1, w.next).int(2, old.list.number).exec(); err != nil {
			return err
		}
	}
	if err := w.writer.addList.blob(1, []byte(id)).blob(2, next.list.hash).exec(); err != nil {
		return err
	}
	next.list.number = w.writer.conn.LastInsertRowID()
	members := make([]byte, 0, len(next.list.devices)*len(identity.DeviceID{}))
	for _, device := range next.list.devices {
		members = append(members, device[:]...)
	}
	if old.number == 0 {
		if err := w.writer.addGroup.blob(1, []byte(id)).int(2, int64(next.epoch)).int(3, next.list.number).blob(4, members).int(5, next.usedAt).exec(); err != nil {
			return err
		}
		next.number = w.writer.conn.LastInsertRowID()
	} else {
		next.number = old.number
		if err := w.writer.setGroup.int(1, int64(next.epoch)).int(2, next.list.number).blob(3, members).int(4, next.usedAt).int(5, old.number).exec(); err != nil {
			return err
		}
	}
	w.groups.put(id, next)
	return nil
}
