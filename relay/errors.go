package relay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"sealpost/api"
)

// Errors of the relay itself; those of the store stand in store.go. Their text
// goes to clients.
var (
	errMalformed         = errors.New("the request is malformed")
	errUnauthenticated   = errors.New("the signature of the request is missing or wrong")
	errReplayed          = errors.New("the request was made before")
	errTooManyRequests   = errors.New("too many requests")
	errClockSkew         = errors.New("the clock of the device is too far from the server's")
	errTooLarge          = errors.New("the payload is over the limit of its kind")
	errTooManyRecipients = errors.New("the submit has more recipients than the server allows")
	errTooManyMembers    = errors.New("the group has more devices than the server allows")
	errReplaced          = errors.New("a newer connection of the device took over")
	errShutdown          = errors.New("the server is shutting down")
	errTooManyClaims     = errors.New("too many key packages were claimed")
)

// Errors of rates.
var (
	errConnectRate      = errors.New("too many connections from the address in a short time") // nobody is told
	errCallRate         = errors.New("too many calls of the device in a short time")
	errLookupRate       = errors.New("too many lookups of the device in a short time")
	errSubmitRate       = errors.New("too many submits of the device in a short time")
	errByteRate         = errors.New("too many bytes from the device in a short time")
	errAccountRate      = errors.New("too many submits of the account in a short time")
	errCommitRate       = errors.New("too many commits of the account in a short time")
	errRegistrationRate = errors.New("too many registrations from the address in a short time")
)

// answer is what a client is told about an error.
type answer struct {
	err    error
	code   codes.Code
	reason api.Reason
	retry  time.Duration // 0: the same again is of no use
	limit  string        // the limit that was hit, for the metrics; "": none
}

// answers maps every error that clients are told. What is not here is internal.
var answers = []answer{
	{errMalformed, codes.InvalidArgument, api.Reason_REASON_MALFORMED, 0, ""},
	{errUnauthenticated, codes.Unauthenticated, api.Reason_REASON_UNAUTHENTICATED, 0, ""},
	{errReplayed, codes.Unauthenticated, api.Reason_REASON_UNAUTHENTICATED, 0, ""},
	{errTooManyRequests, codes.ResourceExhausted, api.Reason_REASON_UNAUTHENTICATED, time.Minute, "nonces"},
	{errClockSkew, codes.Unauthenticated, api.Reason_REASON_CLOCK_SKEW, 0, ""},
	{errTooLarge, codes.InvalidArgument, api.Reason_REASON_TOO_LARGE, 0, "payload"},
	{errTooManyRecipients, codes.InvalidArgument, api.Reason_REASON_TOO_LARGE, 0, "recipients"},
	{errTooManyMembers, codes.InvalidArgument, api.Reason_REASON_TOO_LARGE, 0, "members"},
	{errReplaced, codes.Aborted, api.Reason_REASON_REPLACED, 0, ""},
	{errShutdown, codes.Unavailable, api.Reason_REASON_SHUTDOWN, time.Second, ""},
	{ErrInviteRequired, codes.PermissionDenied, api.Reason_REASON_INVITE_REQUIRED, 0, ""},
	{ErrInviteInvalid, codes.PermissionDenied, api.Reason_REASON_INVITE_INVALID, 0, ""},
	{ErrNameTaken, codes.AlreadyExists, api.Reason_REASON_NAME_TAKEN, 0, ""},
	{ErrDeviceTaken, codes.AlreadyExists, api.Reason_REASON_MALFORMED, 0, ""},
	{ErrTooManyDevices, codes.ResourceExhausted, api.Reason_REASON_TOO_LARGE, 0, "devices"},
	{ErrUnknownAccount, codes.NotFound, api.Reason_REASON_UNKNOWN_ACCOUNT, 0, ""},
	{ErrUnknownDevice, codes.Unauthenticated, api.Reason_REASON_UNKNOWN_DEVICE, 0, ""},
	{ErrUnknownRecipient, codes.NotFound, api.Reason_REASON_UNKNOWN_RECIPIENT, 0, ""},
	{ErrMailboxShare, codes.ResourceExhausted, api.Reason_REASON_MAILBOX_FULL, time.Minute, "mailbox_share"},
	{ErrMailboxFull, codes.ResourceExhausted, api.Reason_REASON_MAILBOX_FULL, time.Minute, "mailbox"},
	{ErrNotAMember, codes.PermissionDenied, api.Reason_REASON_NOT_A_MEMBER, 0, ""},
	{ErrStaleEpoch, codes.Aborted, api.Reason_REASON_STALE_EPOCH, 0, ""},
	{ErrTooManyKeyPackages, codes.ResourceExhausted, api.Reason_REASON_KEY_PACKAGE_LIMIT, 0, "key_packages"},
	{errTooManyClaims, codes.ResourceExhausted, api.Reason_REASON_KEY_PACKAGE_LIMIT, time.Hour, "claims"},
	{errCallRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Minute, "device_calls"},
	{errLookupRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Minute, "device_lookups"},
	{errSubmitRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Minute, "device_submits"},
	{errByteRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Minute, "device_bytes"},
	{errAccountRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Minute, "account_submits"},
	{errCommitRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Minute, "account_commits"},
	{errRegistrationRate, codes.ResourceExhausted, api.Reason_REASON_RATE_LIMITED, time.Hour, "address_registrations"},
	{ErrFull, codes.Unavailable, api.Reason_REASON_SERVER_FULL, 30 * time.Second, "disk"},
}

// A laterError is an error of the table with a time of its own to try again.
type laterError struct {
	error
	retry time.Duration
}

func (e laterError) Unwrap() error { return e.error }

// internalRetry is when a client tries again after something broke here.
const internalRetry = 5 * time.Second

func answerTo(err error) (answer, bool) {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			if later, ok := errors.AsType[laterError](err); ok {
				a.retry = later.retry
			}
			return a, true
		}
	}
	return answer{err, codes.Internal, api.Reason_REASON_INTERNAL, internalRetry, ""}, false
}

// toStatus returns what a call ends with. What the table does not know goes to
// the log, and the client gets a number to ask the operator about.
func (s *Server) toStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err() // nobody is there to read more
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err // of the transport
	}
	a, known := answerTo(err)
	text := a.err.Error()
	if !known {
		text = "internal error, request " + s.logInternal(err)
	}
	s.metrics.refused(s.metrics.callsFailed, a)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: a.reason.String(), Domain: api.ErrorDomain}}
	if a.retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(a.retry)})
	}
	told, err := status.New(a.code, text).WithDetails(details...)
	if err != nil {
		panic(err) // a code that is not OK and our own details
	}
	return told.Err()
}

// logInternal logs what broke and returns the number under which it stands there.
func (s *Server) logInternal(err error) string {
	var number [8]byte
	rand.Read(number[:]) // never fails (crypto/rand)
	request := hex.EncodeToString(number[:])
	s.metrics.internalErrors.Inc()
	s.log.Error("internal error", "request", request, "error", err)
	return request
}

// rejected is what a submit gets for an error.
func (s *Server) rejected(id []byte, err error) *api.ServerFrame {
	a, _ := answerTo(err)
	stale, _ := errors.AsType[StaleEpochError](err)
	var device []byte
	if at, ok := errors.AsType[RecipientError](err); ok {
		device = at.Device[:]
	}
	s.metrics.refused(s.metrics.rejected, a)
	return &api.ServerFrame{Frame: &api.ServerFrame_Rejected{Rejected: &api.Rejected{
		Id: id, Reason: a.reason, RetryAfterMs: uint64(a.retry.Milliseconds()), Epoch: stale.Current, Device: device,
	}}}
}
