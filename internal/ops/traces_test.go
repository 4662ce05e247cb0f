package ops

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A fakeCollector takes spans.
type fakeCollector struct {
	collector.UnimplementedTraceServiceServer
	requests chan *collector.ExportTraceServiceRequest
}

func (c *fakeCollector) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.requests <- r
	return &collector.ExportTraceServiceResponse{}, nil
}

// serveGRPC serves until stop, which returns when every call is over.
func serveGRPC(t *testing.T, register func(*grpc.Server), options ...grpc.ServerOption) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.WaitForHandlers(true))...)
	register(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	stop = func() {
		server.Stop()
		<-done
	}
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// TestTraces sends a span to a collector, with the method and without the
// addresses.
func TestTraces(t *testing.T) {
	c := &fakeCollector{requests: make(chan *collector.ExportTraceServiceRequest, 1)}
	address, _ := serveGRPC(t, func(s *grpc.Server) { collector.RegisterTraceServiceServer(s, c) })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	traces, err := NewTraces(ctx, slog.New(slog.DiscardHandler))
	if err != nil || traces == nil {
		t.Fatalf("no traces: %v", err)
	}
	served, stop := serveGRPC(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, health.NewServer()) }, traces.ServerOptions()...)
	conn, err := grpc.NewClient(served, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	stop() // the span ends after the answer went out
	traces.Close(ctx)
	var text string
	select {
	case request := <-c.requests:
		text = request.String()
	case <-ctx.Done():
		t.Fatal("no span came")
	}
	if !strings.Contains(text, "grpc.health.v1.Health/Check") || !strings.Contains(text, "rpc.") {
		t.Errorf("the span says %s", text)
	}
	if strings.Contains(text, "127.0.0.1") {
		t.Errorf("an address reached the collector: %s", text)
	}
}

func TestTracesAreOff(t *testing.T) {
	for name, variables := range map[string]map[string]string{
		"nothing set": {},
		"disabled":    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		"no exporter": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range variables {
				t.Setenv(k, v)
			}
			traces, err := NewTraces(t.Context(), slog.New(slog.DiscardHandler))
			if traces != nil || err != nil || len(traces.ServerOptions()) != 0 {
				t.Errorf("got %v, %v", traces, err)
			}
		})
	}
}

// What asks for traces that cannot be sent is a mistake that the start tells of.
func TestTracesThatCannotBeSent(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "127.0.0.1:4317",
		"OTEL_EXPORTER_OTLP_PROTOCOL":        "http/protobuf",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(name, value)
			_, err := NewTraces(t.Context(), slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), value) {
				t.Errorf("got %v", err)
			}
		})
	}
}
