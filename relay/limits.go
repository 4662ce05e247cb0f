package relay

import (
	"fmt"
	"reflect"
	"time"

	"sealpost/api"
)

// Limits bounds what clients may ask of a relay. Over a limit a client gets an
// error that says so; nothing is dropped in silence. The help is what sealpost
// server --help says of each.
type Limits struct {
	MaxMessage   int `help:"Bytes of an application message or a request."`
	MaxHandshake int `help:"Bytes of a handshake payload with its Welcome."`
	Recipients   int `help:"Recipients of one submit."`
	Members      int `help:"Devices of one group."`
	// GroupRetention bounds what groups leave on the disk for ever. A member of one that
	// was forgotten makes it known again by a commit.
	GroupRetention time.Duration `help:"How long a group is remembered in which nobody writes."`
	Devices        int           `help:"Devices of one account."`

	MailboxRows  int   `help:"Envelopes in one mailbox."`
	MailboxBytes int64 `help:"Bytes of payload in one mailbox."`
	// MailboxShare keeps one account from filling a mailbox for everybody else.
	MailboxShare int `help:"Percent of a mailbox that envelopes of one account may take."`
	// Retention is also how long the id of a submit is remembered, at least: where many
	// came, they are forgotten together, after at most twice that.
	Retention time.Duration `help:"How long an envelope waits to be fetched."`

	KeyPackages        int           `help:"Key packages that a device has in stock."`
	KeyPackageLifetime time.Duration `help:"How long a key package waits to be claimed."`
	// Claims and ClaimsOfOne keep anybody from draining a stock.
	Claims      int `help:"Key packages that an account may claim in an hour."`
	ClaimsOfOne int `help:"Key packages of one and the same account among them."`

	// A stranger is the peer of a connection on which no call with a valid signature
	// was made. Connections count by address, or IPv6 network of 64 bits.
	Connections        int           `help:"Open connections."`
	AddressConnections int           `help:"Open connections from one address, or IPv6 network of 64 bits."`
	AddressConnects    int           `help:"Connections that one address opens in a minute."`
	StrangerTime       time.Duration `help:"How long a connection may be open before its first call with a valid signature."`
	StrangerBytes      int           `help:"Bytes that a connection takes in before its first call with a valid signature."`
	IdleTime           time.Duration `help:"How long a connection without a call stays open."`
	HeaderBytes        int           `help:"Bytes in the header of a call."`

	DeviceCalls          int `help:"Calls of a device in a minute, its connections for envelopes among them."`
	DeviceLookups        int `help:"Names that a device looks up in an hour."`
	DeviceSubmits        int `help:"Submits of a device in a minute."`
	DeviceBytes          int `help:"Bytes that a device submits in a minute."`
	AccountSubmits       int `help:"Submits of all devices of an account in a minute."`
	AccountCommits       int `help:"Commits of all devices of an account in an hour."`
	AddressRegistrations int `help:"Registrations from one address, or IPv6 network of 64 bits, in an hour."`

	ClockSkew time.Duration `help:"How far the time of a request may be from the relay's."`
	// Nonces is how many requests are remembered against replay within twice the
	// clock skew, and NoncesPerDevice how many of one device; over them requests
	// are refused until older ones are forgotten. The first few of each registered
	// device do not depend on Nonces.
	Nonces          int `help:"Requests that are remembered against replay."`
	NoncesPerDevice int `help:"Requests of one device that are remembered."`

	// LineBytes bounds what one connection has in memory in each direction:
	// submits that are not answered yet, and envelopes that are not sent yet. One
	// payload passes even if it is larger.
	LineBytes int `help:"Bytes that one connection holds in memory in each direction."`
	// QueueBytes bounds the submits of all connections that are not on disk yet.
	QueueBytes int `help:"Bytes of submits that wait for the disk."`
}

// DefaultLimits returns the limits of a relay that nobody has set otherwise.
func DefaultLimits() Limits {
	return Limits{
		MaxMessage:           api.DefaultMaxMessage,
		MaxHandshake:         api.DefaultMaxHandshake,
		Recipients:           5000,
		Members:              1000,
		GroupRetention:       365 * 24 * time.Hour,
		Devices:              32,
		MailboxRows:          10_000,
		MailboxBytes:         256 << 20,
		MailboxShare:         25,
		Retention:            30 * 24 * time.Hour,
		KeyPackages:          100,
		KeyPackageLifetime:   75 * 24 * time.Hour,
		Claims:               1200,
		ClaimsOfOne:          20,
		Connections:          20_000,
		AddressConnections:   1000,
		AddressConnects:      1200,
		StrangerTime:         30 * time.Second,
		StrangerBytes:        64 << 10,
		IdleTime:             5 * time.Minute,
		HeaderBytes:          8 << 10,
		DeviceCalls:          600,
		DeviceLookups:        2000,
		DeviceSubmits:        6000,
		DeviceBytes:          64 << 20,
		AccountSubmits:       12_000,
		AccountCommits:       2000,
		AddressRegistrations: 120,
		ClockSkew:            5 * time.Minute,
		Nonces:               1 << 18,
		NoncesPerDevice:      1 << 14,
		LineBytes:            256 << 10,
		QueueBytes:           64 << 20,
	}
}

// check refuses limits under which nothing would work.
func (l Limits) check() error {
	for field, value := range reflect.ValueOf(l).Fields() {
		if value.Int() <= 0 {
			return fmt.Errorf("the limit %s is not positive", field.Name)
		}
	}
	return nil
}

// mailboxShare is 0 where one account may fill a mailbox.
func (l Limits) mailboxShare() int {
	if l.MailboxShare >= 100 {
		return 0
	}
	return l.MailboxShare
}

// maxPayload returns the limit for a kind, and 0 for an unknown one.
func (l Limits) maxPayload(kind api.Kind) int {
	switch kind {
	case api.Kind_KIND_APPLICATION, api.Kind_KIND_REQUEST:
		return l.MaxMessage
	case api.Kind_KIND_HANDSHAKE:
		return l.MaxHandshake
	default:
		return 0
	}
}

// maxFrame is the size of the largest frame that can be valid: a submit, or a
// whole stock of key packages.
func (l Limits) maxFrame() int {
	const perDevice, rest = 2 + 16, 1 << 10
	submit := max(l.MaxMessage, l.MaxHandshake) + max(l.Recipients, 2*l.Members)*perDevice
	return max(submit+rest, l.maxPublication())
}

// maxPublication is the size of the largest whole stock of key packages.
func (l Limits) maxPublication() int {
	const perKeyPackage, rest = 8, 1 << 10
	return (l.KeyPackages+1)*(maxKeyPackage+perKeyPackage) + rest
}

// maxFields is how many fields a request can have, with those of the messages in
// it.
func (l Limits) maxFields() int {
	const rest = 32
	return max(l.Recipients, 2*l.Members, l.KeyPackages+1) + rest
}
