package messenger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

const (
	// maxUnknown bounds the groups that are kept in mind though we are not in them; the
	// oldest goes first.
	maxUnknown = 200
	// maxAsking bounds the requests for them that wait for the relay's answer: they fit
	// into the windows of the line, see maxFlying.
	maxAsking = 8
	// maxFriends and maxLookups bound whom they go to, and how many of these are looked
	// up for it.
	maxFriends = 250
	maxLookups = 50
)

// noteUnknown keeps in mind that the relay delivers what belongs to a group that this
// device does not know. Unless a Welcome comes, and if the device was restored from a
// backup, the members are asked to take it in.
func noteUnknown(u *unit, groupID []byte) error {
	if len(groupID) != groupIDSize {
		return nil // no group of ours
	}
	_, err := u.ExecContext(u, "INSERT INTO unknown_groups (group_id, seen_at) VALUES (?, ?) ON CONFLICT DO NOTHING", groupID, u.now.UnixMilli())
	if err == nil {
		_, err = u.ExecContext(u, "DELETE FROM unknown_groups WHERE group_id IN (SELECT group_id FROM unknown_groups ORDER BY seen_at DESC LIMIT -1 OFFSET ?)", maxUnknown)
	}
	if err != nil {
		return fmt.Errorf("noting an unknown group: %w", err)
	}
	return nil
}

// noteUnwanted has nobody asked to take us into a group, since we were invited and
// refused. Where members were asked, one who may invite may answer yet.
func noteUnwanted(u *unit, groupID []byte) error {
	if err := noteUnknown(u, groupID); err != nil {
		return err
	}
	if _, err := u.ExecContext(u, "UPDATE unknown_groups SET unwanted = 1 WHERE group_id = ? AND asked = 0", groupID); err != nil {
		return fmt.Errorf("noting an unwanted group: %w", err)
	}
	return nil
}

// An unknownGroup is a row of the unknown groups.
type unknownGroup struct {
	id     []byte
	seenAt time.Time
	asked  int
}

// takeUnknown removes a group from the unknown ones, for it is joined now. It
// returns nil if it was none.
func takeUnknown(u *unit, groupID []byte) (*unknownGroup, error) {
	var (
		seen int64
		g    = unknownGroup{id: groupID}
	)
	err := u.QueryRowContext(u, "DELETE FROM unknown_groups WHERE group_id = ? RETURNING seen_at, asked", groupID).Scan(&seen, &g.asked)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("joining an unknown group: %w", err)
	}
	g.seenAt = fromMilli(seen)
	return &g, nil
}

// askUnknown has a restored copy ask the members of unknown groups to take it in, with
// growing pauses. The relay knows who of our contacts are among them. Other profiles do
// not ask: whoever puts a device into a group would learn that it is there.
func (s *session) askUnknown(ctx context.Context) error {
	if !s.drained {
		return nil
	}
	now := s.clock()
	var restoredAt int64
	if err := s.store.reader.QueryRowContext(ctx, "SELECT restored_at FROM profile").Scan(&restoredAt); err != nil {
		return s.storeFailure(ctx, err)
	}
	if fromMilli(restoredAt).Add(strayAge).Before(now) {
		return nil
	}
	var due []unknownGroup
	err := s.read(ctx, `SELECT group_id, asked, asked_at FROM unknown_groups n WHERE NOT unwanted AND seen_at <= ?
		AND NOT EXISTS (SELECT 1 FROM held h WHERE h.group_id = n.group_id)`,
		[]any{now.Add(-patience).UnixMilli()}, func(scan func(...any) error) error {
			var (
				g       unknownGroup
				askedAt int64
			)
			err := scan(&g.id, &g.asked, &askedAt)
			if g.asked == 0 || !fromMilli(askedAt).Add(pauseAfter(g.asked)).After(now) {
				due = append(due, g)
			}
			return err
		})
	if err != nil {
		return err
	}
	if due = due[:min(len(due), max(0, maxAsking-len(s.asking)))]; len(due) == 0 {
		return nil
	}
	friends, err := s.friends(ctx)
	if err != nil {
		return err
	}
	for _, g := range due {
		if err := s.askFor(ctx, g, friends); err != nil {
			return err
		}
	}
	return nil
}

// friends returns devices of accepted contacts. Nobody else is asked: a stranger does
// not learn that we are there.
func (s *session) friends(ctx context.Context) ([]identity.DeviceID, error) {
	known := make(map[identity.Username][]identity.DeviceID)
	err := s.read(ctx, `SELECT DISTINCT k.username, m.device_id FROM contacts k
		LEFT JOIN members m ON m.username = k.username AND m.account_key = k.account_key
		WHERE k.accepted AND NOT k.blocked`, nil, func(scan func(...any) error) error {
		var (
			name identity.Username
			id   []byte
		)
		err := scan(&name, &id)
		devices := known[name] // none yet of a contact that is in no group
		if len(id) == len(identity.DeviceID{}) {
			devices = append(devices, identity.DeviceID(id))
		}
		known[name] = devices
		return err
	})
	if err != nil {
		return nil, err
	}
	var friends []identity.DeviceID
	lookups := 0
	for name, devices := range known {
		if len(devices) == 0 && lookups < maxLookups {
			lookups++
			devices = s.contactDevices(ctx, name)
		}
		friends = append(friends, devices...)
	}
	slices.SortFunc(friends, compareIDs)
	friends = slices.Compact(friends)
	return friends[:min(len(friends), maxFriends)], nil
}

// contactDevices returns what the directory says now about a contact, if it is its pinned key
// that says so.
func (s *session) contactDevices(ctx context.Context, name identity.Username) (devices []identity.DeviceID) {
	l, err := s.lookup(ctx, name)
	if err != nil {
		s.log.Info("a contact is not asked", "error", err)
		return nil
	}
	known, err := s.knownContact(ctx, name)
	if err != nil || known == nil || known.AccountKey != l.accountKey {
		return nil
	}
	for _, d := range l.devices {
		devices = append(devices, d.Certificate.DeviceID)
	}
	return devices
}

// askFor submits one request. A lost one is made up for by the next.
func (s *session) askFor(ctx context.Context, g unknownGroup, friends []identity.DeviceID) error {
	submit := &api.Submit{
		Id: make([]byte, api.SubmitIDSize), Kind: api.Kind_KIND_REQUEST, Group: &api.GroupEpoch{Id: g.id},
		Recipients: deviceIDs(joinIDs(friends)), Payload: marshalAsk(&s.self, g.id, 0, s.clock()),
	}
	rand.Read(submit.Id) // never fails (crypto/rand)
	err := s.commit(ctx, func(u *unit) error {
		if _, err := u.ExecContext(u, "UPDATE unknown_groups SET asked = asked + 1, asked_at = ? WHERE group_id = ?", u.now.UnixMilli(), g.id); err != nil {
			return fmt.Errorf("asking to be taken in again: %w", err)
		}
		return noteSubmit(u, submit.GetId())
	})
	if err != nil || len(friends) == 0 {
		return err
	}
	s.log.Debug("the members of an unknown group are asked", "asked", g.asked)
	s.asking[string(submit.GetId())] = g.id
	if err := s.stream.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: submit}}); err != nil {
		return s.sendFailed(ctx)
	}
	return nil
}

// asked takes the relay's answer to a request for an unknown group. Where we are not
// among those it delivers to, there is nothing to wait for.
func (s *session) asked(ctx context.Context, submitID []byte, reason api.Reason) error {
	groupID, waits := s.asking[string(submitID)]
	delete(s.asking, string(submitID))
	if !waits || reason != api.Reason_REASON_NOT_A_MEMBER {
		return nil
	}
	return s.commit(ctx, func(u *unit) error {
		unknown, err := takeUnknown(u, groupID)
		if err != nil || unknown == nil {
			return err // it is joined by now
		}
		if _, err := u.ExecContext(u, "DELETE FROM strays WHERE group_id = ?", groupID); err != nil {
			return fmt.Errorf("forgetting an unknown group: %w", err)
		}
		return nil
	})
}
