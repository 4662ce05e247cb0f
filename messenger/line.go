package messenger

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
	"sealpost/identity"
)

const (
	dialTimeout      = 15 * time.Second
	callTimeout      = 15 * time.Second
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 15 * time.Second
	maxFrame         = 5 << 20 // a handshake payload and its frame
	// maxFields is more than anything that a relay says at once has, with room for
	// fields of later versions.
	maxFields = api.MaxFrames * 16
)

// line is the connection to one server. It connects when somebody calls, and
// stays away when that did not work: when to try again is for the caller, see Run.
type line struct {
	server  string
	options []grpc.DialOption
	// refused is why the last handshake was given up: the server is not the right
	// one. gRPC itself hands out no more than a text.
	refused atomic.Pointer[error]

	turn   chan struct{} // holds one token; who has it owns the fields below
	conn   *grpc.ClientConn
	closed bool
}

func newLine(server string, id identity.ServerID, signer requestSigner, dial DialFunc) *line {
	l := &line{server: server, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	right := checkServer(server, id)
	check := func(state tls.ConnectionState) error {
		l.refused.Store(nil)
		err := right(state)
		if err != nil {
			l.refused.Store(&err)
		}
		return err
	}
	l.options = []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig(check))),
		grpc.WithContextDialer(dialOrTCP(dial)),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithPerRPCCredentials(signer),
		// gRPC would try again by itself, beside the pauses of Run.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Hour, Multiplier: 1, MaxDelay: time.Hour},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFrame), grpc.MaxCallSendMsgSize(maxFrame), grpc.ForceCodecV2(codec())),
	}
	return l
}

// codec keeps the server from filling the memory with few bytes that say much.
func codec() api.BoundedCodec {
	return api.NewBoundedCodec(func(proto.Message) int { return maxFrame }, maxFields)
}

func dialOrTCP(dial DialFunc) DialFunc {
	if dial != nil {
		return dial
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
}

// connect returns the connection once it is up. The error is
// [*ServerChangedError] or [*CertificateError], wraps [ErrServerUnavailable], or is that of ctx.
func (l *line) connect(ctx context.Context) (*grpc.ClientConn, error) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.closed {
		return nil, ErrClosed
	}
	if l.conn != nil && l.conn.GetState() == connectivity.Ready {
		return l.conn, nil
	}
	if l.conn != nil {
		_ = l.conn.Close() // it is broken
		l.conn = nil
	}
	conn, err := grpc.NewClient("passthrough:///"+l.server, l.options...)
	if err != nil {
		return nil, fmt.Errorf("preparing the line to the server: %w", err)
	}
	if err := l.await(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l.conn = conn
	return conn, nil
}

// await returns when a new connection is up or did not come up.
func (l *line) await(ctx context.Context, conn *grpc.ClientConn) error {
	waiting, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	l.refused.Store(nil)
	conn.Connect()
	for {
		switch state := conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			if refused := l.refused.Load(); refused != nil {
				return *refused
			}
			return fmt.Errorf("%w at %s", ErrServerUnavailable, l.server)
		default:
			if conn.WaitForStateChange(waiting, state) {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w at %s: it does not answer", ErrServerUnavailable, l.server)
		}
	}
}

func (l *line) close() error {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	l.closed = true
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

// explain turns an error of a call into one of this package's.
func (l *line) explain(err error) error {
	if err == nil {
		return nil
	}
	if refused := l.refused.Load(); refused != nil {
		return *refused
	}
	st := status.Convert(err)
	switch known, ok := reasonErrors[reasonOf(st)]; {
	case errors.Is(known, ErrTooOften):
		return tooOftenError{retryOf(st)}
	case ok:
		return known
	}
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.ResourceExhausted:
		return fmt.Errorf("%w: %s", ErrServerUnavailable, st.Message())
	default:
		return fmt.Errorf("%w: %s", ErrRefused, st.Message())
	}
}

// errKeyPackageLimit: the server gives out, or takes, no more key packages for now.
var errKeyPackageLimit = errors.New("the server limits key packages")

var errUnknownDevice = errors.New("the server does not know this device")

var reasonErrors = map[api.Reason]error{
	api.Reason_REASON_NAME_TAKEN:        ErrNameTaken,
	api.Reason_REASON_INVITE_REQUIRED:   ErrInviteRequired,
	api.Reason_REASON_INVITE_INVALID:    ErrInviteInvalid,
	api.Reason_REASON_UNKNOWN_ACCOUNT:   ErrUnknownRecipient,
	api.Reason_REASON_UNKNOWN_DEVICE:    errUnknownDevice,
	api.Reason_REASON_CLOCK_SKEW:        ErrClockSkew,
	api.Reason_REASON_REPLACED:          ErrReplaced,
	api.Reason_REASON_SHUTDOWN:          ErrServerUnavailable,
	api.Reason_REASON_KEY_PACKAGE_LIMIT: errKeyPackageLimit,
	api.Reason_REASON_RATE_LIMITED:      ErrTooOften,
}

func reasonOf(st *status.Status) api.Reason {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == api.ErrorDomain {
			return api.Reason(api.Reason_value[info.GetReason()])
		}
	}
	return api.Reason_REASON_UNSPECIFIED
}

// retryOf returns when the server may be asked again, and 0 where it does not say.
func retryOf(st *status.Status) time.Duration {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return min(max(info.GetRetryDelay().AsDuration(), 0), maxRetry)
		}
	}
	return 0
}

// maxRetry bounds what a server can say of when it may be asked again.
const maxRetry = 24 * time.Hour

// requestSigner signs every call anew, as this device and for one server.
type requestSigner struct {
	server identity.ServerID
	device identity.DeviceID
	key    identity.DevicePrivateKey
	clock  func() time.Time
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (s requestSigner) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	call, ok := credentials.RequestInfoFromContext(ctx)
	if !ok {
		return nil, errors.New("a call without a method cannot be signed")
	}
	request := identity.NewRequest(s.server, call.Method, s.device, s.clock())
	return map[string]string{
		api.MetadataDevice:    s.device.String(),
		api.MetadataTime:      strconv.FormatInt(request.Time.UnixMilli(), 10),
		api.MetadataNonce:     string(request.Nonce[:]),
		api.MetadataSignature: string(request.Sign(s.key)),
	}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: there is no
// way to call without TLS.
func (requestSigner) RequireTransportSecurity() bool { return true }
