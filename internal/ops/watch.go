package ops

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Watched is what a Watch shows.
type Watched struct {
	Metrics []prometheus.Collector
	Ready   func(context.Context) error // why the relay cannot serve now, or nil
	// Expires is when its certificate does; zero means that there is none.
	Expires func() time.Time
}

// A Watch answers HTTP for whoever watches the relay: /metrics for Prometheus,
// /healthz while the process lives, /readyz while the relay can serve. It knows
// no secret and asks for none: it belongs on a loopback address or a network of
// the operator's.
type Watch struct {
	server http.Server
	served chan error
}

// NewWatch serves on a listener until Close, which closes it.
func NewWatch(listener net.Listener, watched Watched) *Watch {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(CertificateMetric(watched.Expires))
	registry.MustRegister(watched.Metrics...)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := watched.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	w := &Watch{served: make(chan error, 1), server: http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10,
	}}
	go func() { w.served <- w.server.Serve(listener) }()
	return w
}

// CertificateMetric says when a certificate expires.
func CertificateMetric(expires func() time.Time) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_certificate_expires_timestamp_seconds",
		Help: "When the certificate in use expires, in seconds since 1970; 0: there is none yet.",
	}, func() float64 {
		if at := expires(); !at.IsZero() {
			return float64(at.Unix())
		}
		return 0
	})
}

func (w *Watched) ready(ctx context.Context) error {
	switch at := w.Expires(); {
	case at.IsZero():
		return errors.New("there is no certificate yet")
	case time.Now().After(at):
		return fmt.Errorf("the certificate expired on %s", at.Format(time.DateOnly))
	}
	return w.Ready(ctx)
}

// Close ends it at once: no answer is worth waiting for.
func (w *Watch) Close() error {
	err := w.server.Close()
	if served := <-w.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
