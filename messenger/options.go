package messenger

import (
	"context"
	"log/slog"
	"net"
	"time"

	"sealpost/identity"
	"sealpost/mls"
)

// A DialFunc opens a connection to host:port.
type DialFunc func(ctx context.Context, address string) (net.Conn, error)

// Options say how to open a profile.
type Options struct {
	Dir    string           // the profile's directory, see [ProfileDir]
	Unlock Unlocker         // how the database key is protected
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged. No key, text or name is logged
	Dial   DialFunc         // nil: TCP

	tuning *tuning // nil: defaultTuning
}

// tuning is what tests change, to be fast or to watch.
type tuning struct {
	suite                               mls.CipherSuite // of every group and key package
	stockSize, lowStock                 int             // see their constants
	receiptDelay, coverDelay, helpDelay time.Duration
	// sealed hears of each message as it is sealed, and for whom; nil: nobody.
	sealed func(MessageID, []memberDevice)
}

var defaultTuning = tuning{
	suite: mls.DefaultCipherSuite, stockSize: stockSize, lowStock: lowStock,
	receiptDelay: receiptDelay, coverDelay: coverDelay, helpDelay: helpDelay,
}

// NewProfile says whom to make a profile for, and at which server.
type NewProfile struct {
	Username    identity.Username
	Server      string            // host:port
	Fingerprint identity.ServerID // who the server is, see [IdentifyServer]; its key, as the person confirmed it, or its name
	Trust       TrustPolicy
	Invite      *identity.InviteCode // nil: none; the profile keeps it
}

// An Account is who a profile belongs to.
type Account struct {
	Username    identity.Username
	AccountKey  identity.AccountKey
	DeviceID    identity.DeviceID
	Server      string // host:port
	Fingerprint identity.ServerID
	Trust       TrustPolicy
	// FileRecipient is the age recipient that files for this account are
	// encrypted to.
	FileRecipient string
}
