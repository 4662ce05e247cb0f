package ops

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
)

// Traces sends a span of every call to an OpenTelemetry collector.
type Traces struct {
	provider *trace.TracerProvider
	log      *slog.Logger
}

// NewTraces returns nil unless the environment asks for traces: with
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, and neither
// OTEL_SDK_DISABLED nor OTEL_TRACES_EXPORTER against it. The other OTEL_
// variables count as well; the protocol is OTLP over gRPC.
func NewTraces(ctx context.Context, log *slog.Logger) (*Traces, error) {
	if !tracesWanted() {
		return nil, nil
	}
	if err := checkTraces(); err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are not sent", "error", err) }))
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing traces: %w", err)
	}
	return &Traces{trace.NewTracerProvider(trace.WithBatcher(namelessExporter{exporter})), log}, nil
}

func tracesWanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// checkTraces refuses what the library would pass over in silence, with traces that
// then go nowhere, or elsewhere.
func checkTraces() error {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		endpoint := os.Getenv(name)
		u, err := url.Parse(endpoint)
		if endpoint != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
			return fmt.Errorf("%s in the environment is %q: it has to be a URL such as http://127.0.0.1:4317", name, endpoint)
		}
	}
	name := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if os.Getenv(name) == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	if protocol := os.Getenv(name); protocol != "" && protocol != "grpc" {
		return fmt.Errorf("%s in the environment is %q: traces are sent by grpc alone", name, protocol)
	}
	return nil
}

// ServerOptions are for the relay.
func (t *Traces) ServerOptions() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	// A client's own trace is not gone on with: it would choose what is sampled.
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.provider),
		otelgrpc.WithPropagators(propagation.NewCompositeTextMapPropagator()),
	))}
}

// Close sends what is left, until ctx ends.
func (t *Traces) Close(ctx context.Context) {
	if t == nil {
		return
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last traces are lost", "error", err)
	}
}

// namelessExporter leaves of a span only what names nobody: who connects from
// where does not reach the collector.
type namelessExporter struct{ trace.SpanExporter }

// ExportSpans implements trace.SpanExporter.
func (e namelessExporter) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	nameless := make([]trace.ReadOnlySpan, len(spans))
	for i, span := range spans {
		nameless[i] = namelessSpan{span}
	}
	return e.SpanExporter.ExportSpans(ctx, nameless)
}

type namelessSpan struct{ trace.ReadOnlySpan }

// Attributes implements trace.ReadOnlySpan: what was called, and how it ended.
func (s namelessSpan) Attributes() []attribute.KeyValue {
	return slices.DeleteFunc(slices.Clone(s.ReadOnlySpan.Attributes()), func(a attribute.KeyValue) bool {
		return !strings.HasPrefix(string(a.Key), "rpc.")
	})
}
