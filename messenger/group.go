package messenger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"sealpost/identity"
	"sealpost/mls"
)

// A groupState says what can be done with an MLS group.
type groupState int

const (
	groupNew  groupState = iota + 1 // made by us; the relay has not accepted it yet
	groupLive                       // messages come and go
	groupLost                       // we cannot follow it any more, and asked to be taken in again
	groupGone                       // we left it, were removed, or it was replaced by another
)

// A group is a row of the groups.
type group struct {
	id           int64
	conversation int64
	groupID      []byte
	incarnation  uint32
	state        groupState
	epoch        uint64
	awaited      uint64
	awaitedAt    time.Time
	failures     int
	askedAt      time.Time
	asked        int
	sent         int
	renewedAt    time.Time
}

const selectGroups = `SELECT id, conversation, group_id, incarnation, state, epoch, awaited, awaited_at, failures, asked_at, asked, sent, renewed_at FROM groups `

func scanGroup(scan func(...any) error) (*group, error) {
	var (
		g                         group
		awaitedAt, asked, renewed int64
	)
	err := scan(&g.id, &g.conversation, &g.groupID, &g.incarnation, &g.state, &g.epoch, &g.awaited, &awaitedAt, &g.failures, &asked, &g.asked, &g.sent, &renewed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a group: %w", err)
	}
	g.awaitedAt, g.askedAt, g.renewedAt = fromMilli(awaitedAt), fromMilli(asked), fromMilli(renewed)
	return &g, nil
}

func findGroup(ctx context.Context, q querier, groupID []byte) (*group, error) {
	return scanGroup(q.QueryRowContext(ctx, selectGroups+"WHERE group_id = ?", groupID).Scan)
}

func groupByRow(ctx context.Context, q querier, id int64) (*group, error) {
	return scanGroup(q.QueryRowContext(ctx, selectGroups+"WHERE id = ?", id).Scan)
}

// currentGroup returns the group that a conversation writes to, nil if it has none:
// everybody in it comes to the same one, whoever made it.
func currentGroup(ctx context.Context, q querier, conversation int64) (*group, error) {
	return scanGroup(q.QueryRowContext(ctx, selectGroups+"WHERE conversation = ? AND state = ? ORDER BY incarnation DESC, group_id LIMIT 1",
		conversation, int(groupLive)).Scan)
}

// lastGroup returns the group that a conversation writes to, or the one that we are
// waiting to come back to; nil if it has neither.
func lastGroup(ctx context.Context, q querier, conversation int64) (*group, error) {
	return scanGroup(q.QueryRowContext(ctx, selectGroups+"WHERE conversation = ? AND state IN (?, ?) ORDER BY state, incarnation DESC, group_id LIMIT 1",
		conversation, int(groupLive), int(groupLost)).Scan)
}

// newestGroup returns the last group that a conversation had, whatever became of it,
// and its descriptor; nil if it had none.
func newestGroup(ctx context.Context, q querier, conversation int64) (*group, *descriptor, error) {
	g, err := scanGroup(q.QueryRowContext(ctx, selectGroups+"WHERE conversation = ? ORDER BY incarnation DESC, group_id LIMIT 1", conversation).Scan)
	if err != nil || g == nil {
		return nil, nil, err
	}
	d, err := descriptorOf(ctx, q, g.id)
	return g, d, err
}

// setGroupState changes it, and forgets the secrets of a group that is gone.
func (c *Client) setGroupState(u *unit, g *group, state groupState) error {
	if _, err := u.ExecContext(u, "UPDATE groups SET state = ?, changed_at = ?, failures = 0, awaited = 0 WHERE id = ?", int(state), u.now.UnixMilli(), g.id); err != nil {
		return fmt.Errorf("changing the state of a group: %w", err)
	}
	g.state, g.awaited, g.failures = state, 0, 0
	if state != groupGone && state != groupLost {
		return nil
	}
	// What was sealed for it will not be opened by anybody.
	if err := unsealAll(u, "grp = ?", g.id); err != nil {
		return err
	}
	if state == groupGone {
		if _, err := u.ExecContext(u, "DELETE FROM records WHERE grp = ?", g.id); err != nil {
			return fmt.Errorf("leaving a group: %w", err)
		}
	}
	return nil
}

// dropGroup forgets a group as if it had never been.
func (c *Client) dropGroup(u *unit, g *group) error {
	c.groups.forget(g.id)
	if err := unsealAll(u, "grp = ?", g.id); err != nil {
		return err
	}
	if _, err := u.ExecContext(u, "DELETE FROM groups WHERE id = ?", g.id); err != nil {
		return fmt.Errorf("dropping a group: %w", err)
	}
	return nil
}

// groups are the MLS groups in memory. Only the goroutine of Run touches them.
type groups struct {
	client *mls.Client
	self   *self
	open   map[int64]*mls.Group
}

// identity returns what this device presents itself with.
func (s *self) identity() mls.Identity {
	return mls.Identity{
		Credential: mls.BasicCredential(s.record.Certificate.Marshal()),
		Signer:     ed25519.NewKeyFromSeed(s.deviceKey.Seed()),
	}
}

func leafOptions() mls.LeafOptions {
	return mls.LeafOptions{SupportedExtensions: []mls.ExtensionType{descriptorExtension}}
}

func newGroups(s *self, clock func() time.Time, suite mls.CipherSuite) (*groups, error) {
	client, err := mls.NewClient(authenticator{s}, mls.Config{Time: clock, CipherSuites: []mls.CipherSuite{suite}})
	if err != nil {
		return nil, fmt.Errorf("preparing MLS: %w", err)
	}
	return &groups{client: client, self: s, open: make(map[int64]*mls.Group)}, nil
}

// load returns a group from memory or from the store. After an error in what follows
// it has to be forgotten, since memory is then ahead of the disk.
func (gs *groups) load(ctx context.Context, q querier, id int64) (*mls.Group, error) {
	if g, ok := gs.open[id]; ok {
		return g, nil
	}
	var failure error
	g, err := gs.client.LoadGroup(readRecords(ctx, q, id, &failure), gs.self.identity().Signer)
	if failure != nil {
		return nil, failure
	}
	if err != nil {
		return nil, fmt.Errorf("loading a group: %w", err)
	}
	gs.open[id] = g
	return g, nil
}

func (gs *groups) forget(id int64) { delete(gs.open, id) }

func readRecords(ctx context.Context, q querier, id int64, failure *error) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		rows, err := q.QueryContext(ctx, "SELECT key, value FROM records WHERE grp = ?", id)
		if err != nil {
			*failure = fmt.Errorf("reading a group: %w", err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var key, value []byte
			if err := rows.Scan(&key, &value); err != nil {
				*failure = fmt.Errorf("reading a group: %w", err)
				return
			}
			if !yield(key, value) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			*failure = fmt.Errorf("reading a group: %w", err)
		}
	}
}

// saveGroup writes what changed of a group.
func saveGroup(u *unit, id int64, g *mls.Group) error {
	return g.Save(func(records []mls.Record) error {
		for _, r := range records {
			var err error
			if r.Value == nil {
				_, err = u.ExecContext(u, "DELETE FROM records WHERE grp = ? AND key = ?", id, r.Key)
			} else {
				_, err = u.ExecContext(u, "INSERT INTO records (grp, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", id, r.Key, r.Value)
			}
			if err != nil {
				return fmt.Errorf("saving a group: %w", err)
			}
		}
		return nil
	})
}

// An authenticator believes a leaf that carries a device certificate for its
// signature key. Whether the account key in it is the right one for the name is for
// those to decide who know the contacts.
type authenticator struct{ self *self }

// ValidateCredential implements mls.AuthenticationService.
func (a authenticator) ValidateCredential(check mls.CredentialCheck) error {
	certificate, err := certificateOf(check.Credential, check.SignatureKey)
	if err != nil {
		return err
	}
	ours := a.self.record.Certificate
	sameDevice := certificate.DeviceID == ours.DeviceID
	switch {
	case sameDevice != (certificate.DeviceKey == ours.DeviceKey):
		return errors.New("a leaf mixes our device with another")
	case (certificate.Username == ours.Username) != (certificate.AccountKey == ours.AccountKey):
		return errors.New("a leaf mixes our account with another")
	}
	return nil
}

// ValidateSuccessor implements mls.AuthenticationService.
func (a authenticator) ValidateSuccessor(check mls.CredentialCheck) error {
	next, err := certificateOf(check.Credential, check.SignatureKey)
	if err != nil {
		return err
	}
	before, err := certificateOf(check.Previous.Credential, check.Previous.SignatureKey)
	if err != nil {
		return err
	}
	if next.DeviceID != before.DeviceID || next.AccountKey != before.AccountKey || next.Username != before.Username {
		return errors.New("a leaf becomes another device's")
	}
	return nil
}

func certificateOf(credential mls.Credential, signatureKey []byte) (identity.Certificate, error) {
	if credential.CredentialType != mls.CredentialTypeBasic {
		return identity.Certificate{}, errors.New("a credential that holds no certificate")
	}
	certificate, err := identity.ParseCertificate(credential.Identity)
	if err != nil {
		return identity.Certificate{}, fmt.Errorf("reading the certificate in a leaf: %w", err)
	}
	if !bytes.Equal(certificate.DeviceKey[:], signatureKey) {
		return identity.Certificate{}, errors.New("the certificate in a leaf is for another key")
	}
	return certificate, nil
}

// keepMembers writes down who is in a group now.
func keepMembers(u *unit, id int64, members []memberDevice) error {
	if _, err := u.ExecContext(u, "DELETE FROM members WHERE grp = ?", id); err != nil {
		return fmt.Errorf("storing the members of a group: %w", err)
	}
	return addMembers(u, id, members)
}

func addMembers(u *unit, id int64, members []memberDevice) error {
	for _, m := range members {
		if _, err := u.ExecContext(u, "INSERT INTO members (grp, device_id, device_key, leaf, username, account_key, since) VALUES (?, ?, ?, ?, ?, ?, ?)",
			id, m.deviceID[:], m.deviceKey[:], int64(m.leaf), string(m.username), m.accountKey[:], u.now.UnixMilli()); err != nil {
			return fmt.Errorf("storing a member of a group: %w", err)
		}
	}
	return nil
}

// updateMembers writes down what a commit changed of who is in a group.
func updateMembers(u *unit, id int64, ch *change) error {
	for _, m := range ch.removed {
		if _, err := u.ExecContext(u, "DELETE FROM members WHERE grp = ? AND device_id = ?", id, m.deviceID[:]); err != nil {
			return fmt.Errorf("storing the members of a group: %w", err)
		}
	}
	for _, m := range ch.renewed {
		if _, err := u.ExecContext(u, "UPDATE members SET leaf = ?, since = ?, helped_at = 0 WHERE grp = ? AND device_id = ?",
			int64(m.leaf), u.now.UnixMilli(), id, m.deviceID[:]); err != nil {
			return fmt.Errorf("storing the members of a group: %w", err)
		}
	}
	return addMembers(u, id, ch.added)
}

// A memberDevice is a row of the members.
type memberDevice struct {
	deviceID   identity.DeviceID
	deviceKey  identity.DeviceKey
	leaf       mls.LeafIndex
	username   identity.Username
	accountKey identity.AccountKey
}

func listMembers(ctx context.Context, q querier, group int64) ([]memberDevice, error) {
	rows, err := q.QueryContext(ctx, "SELECT device_id, device_key, leaf, username, account_key FROM members WHERE grp = ? ORDER BY device_id", group)
	if err != nil {
		return nil, fmt.Errorf("reading the members of a group: %w", err)
	}
	defer rows.Close()
	var all []memberDevice
	for rows.Next() {
		var (
			m                           memberDevice
			device, deviceKey, accountK []byte
		)
		if err := rows.Scan(&device, &deviceKey, &m.leaf, &m.username, &accountK); err != nil {
			return nil, fmt.Errorf("reading the members of a group: %w", err)
		}
		if len(device) != len(m.deviceID) || len(deviceKey) != len(m.deviceKey) || len(accountK) != len(m.accountKey) {
			return nil, fmt.Errorf("reading the members of a group: %w", ErrDamaged)
		}
		m.deviceID, m.deviceKey, m.accountKey = identity.DeviceID(device), identity.DeviceKey(deviceKey), identity.AccountKey(accountK)
		all = append(all, m)
	}
	return all, rows.Err()
}

func devicesOf(members []memberDevice) []identity.DeviceID {
	ids := make([]identity.DeviceID, len(members))
	for i, m := range members {
		ids[i] = m.deviceID
	}
	return ids
}

// beginEpoch notes that a group is in an epoch now, and the delivery list of it.
func (c *Client) beginEpoch(u *unit, g *group, epoch uint64, devices []identity.DeviceID) error {
	hash := identity.DeliveryListHash(g.groupID, epoch, devices)
	for _, statement := range []struct {
		query string
		args  []any
	}{
		{"UPDATE epochs SET ended_at = ? WHERE grp = ? AND ended_at = 0", []any{u.now.UnixMilli(), g.id}},
		{"INSERT INTO epochs (grp, epoch, list_hash) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET list_hash = excluded.list_hash, ended_at = 0", []any{g.id, int64(epoch), hash[:]}},
		{"DELETE FROM epochs WHERE grp = ? AND epoch < ?", []any{g.id, int64(epoch) - mls.MaxPastEpochs}},
		{"UPDATE groups SET epoch = ?1, failures = 0, awaited = iif(awaited <= ?1, 0, awaited) WHERE id = ?2", []any{int64(epoch), g.id}},
	} {
		if _, err := u.ExecContext(u, statement.query, statement.args...); err != nil {
			return fmt.Errorf("beginning an epoch: %w", err)
		}
	}
	g.epoch, g.failures = epoch, 0
	if g.awaited <= epoch {
		g.awaited = 0
	}
	u.wakes = true
	return nil
}
