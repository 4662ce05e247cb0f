package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sealpost/api"
)

func TestUnknownErrorsStayInTheLog(t *testing.T) {
	var log bytes.Buffer
	s := &Server{log: slog.New(slog.NewTextHandler(&log, nil)), metrics: NewMetrics()}
	err := s.toStatus(t.Context(), errors.New("the disk at /secret is full"))
	told := status.Convert(err)
	if told.Code() != codes.Internal || strings.Contains(told.String(), "secret") {
		t.Fatalf("the client is told %v", told)
	}
	request := told.Message()[strings.LastIndex(told.Message(), " ")+1:]
	if len(request) != 16 || !strings.Contains(log.String(), request) || !strings.Contains(log.String(), "/secret") {
		t.Fatalf("the log does not explain request %q: %s", request, &log)
	}
	if info := told.Details()[0].(*errdetails.ErrorInfo); info.Reason != api.Reason_REASON_INTERNAL.String() || info.Domain != api.ErrorDomain {
		t.Fatalf("the details are %v", info)
	}
	if retry := told.Details()[1].(*errdetails.RetryInfo); retry.RetryDelay.AsDuration() != internalRetry {
		t.Fatalf("try again in %v", retry.RetryDelay.AsDuration())
	}
}

// TestEveryReasonIsGiven keeps the table and the wire together: a reason that no
// error has would be a promise that the relay does not keep.
func TestEveryReasonIsGiven(t *testing.T) {
	given := map[api.Reason]bool{api.Reason_REASON_UNSPECIFIED: true, api.Reason_REASON_INTERNAL: true}
	for _, a := range answers {
		given[a.reason] = true
		if got, known := answerTo(a.err); !known || got != a {
			t.Errorf("%v is answered as %+v", a.err, got)
		}
	}
	for number, name := range api.Reason_name {
		if !given[api.Reason(number)] {
			t.Errorf("no error has the reason %s", name)
		}
	}
}
