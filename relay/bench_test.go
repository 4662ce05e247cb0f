package relay_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/bench"
	"sealpost/relay"
)

// The load of both benchmarks.
const (
	benchPairs  = 16
	benchWindow = 256
	benchSize   = 300
)

// BenchmarkSaturation is the relay, 1:1: every message is accepted, delivered
// and acknowledged.
func BenchmarkSaturation(b *testing.B) {
	result, err := bench.Run(b.Context(), bench.Config{
		Pairs: benchPairs, Messages: max(b.N, benchPairs), Size: benchSize, Window: benchWindow, Dir: b.TempDir(),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(result.AcceptedPerSecond, "msg/s")
	b.ReportMetric(result.DeliveredPerSecond, "delivered/s")
	b.ReportMetric(float64(result.CPUPerMessage.Nanoseconds())/1e3, "cpu-µs/msg")
}

// BenchmarkLatency is the relay at 1,000 messages a second.
func BenchmarkLatency(b *testing.B) {
	result, err := bench.Run(b.Context(), bench.Config{
		Pairs: benchPairs, Messages: max(b.N, benchPairs), Size: benchSize, Window: benchWindow, Rate: 1000, Dir: b.TempDir(),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(result.P50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(result.P99.Microseconds()), "p99-µs")
}

// BenchmarkFloor is what the relay is measured against: the same transport and
// the same load onto one SQLite writer with group commit. There is no directory,
// no authentication and no mailbox, and nothing is delivered.
func BenchmarkFloor(b *testing.B) {
	certificate, err := relay.LoadOrCreateCertificate(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	f := startFloor(b, filepath.Join(b.TempDir(), "floor.db"))
	server := grpc.NewServer(relay.TransportOptions(certificate, relay.DefaultLimits())...)
	api.RegisterDeliveryServer(server, f)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Stop()
	pin := pinned(identity.ServerIDOf(certificate.Leaf.RawSubjectPublicKeyInfo))
	streams := make([]bench.Stream, benchPairs)
	for i := range streams {
		conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(pin)))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		if streams[i], err = api.NewDeliveryClient(conn).Connect(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	messages := max(b.N, benchPairs)
	b.ResetTimer()
	cpu := bench.ProcessorTime()
	var group errgroup.Group
	for i, stream := range streams {
		group.Go(func() error {
			return bench.Pipeline(stream, (messages+i)/benchPairs, benchWindow, func(int) (*api.Submit, error) {
				s := &api.Submit{Id: make([]byte, api.SubmitIDSize), Recipients: [][]byte{make([]byte, 16)},
					Kind: api.Kind_KIND_APPLICATION, Payload: make([]byte, benchSize)}
				rand.Read(s.Id)
				return s, nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64((bench.ProcessorTime()-cpu).Nanoseconds())/1e3/float64(messages), "cpu-µs/msg")
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "msg/s")
}

type floor struct {
	api.UnimplementedDeliveryServer
	queue chan floorSubmit
}

type floorSubmit struct {
	payload []byte
	id      []byte
	answers chan<- []byte
}

func startFloor(b *testing.B, path string) *floor {
	f := &floor{queue: make(chan floorSubmit, benchPairs*benchWindow)}
	query := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(16000)", "cache_size(-65536)"}}
	conn, err := sqlite3.Open((&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		b.Fatal(err)
	}
	if err := conn.Exec(`CREATE TABLE entry (sequence INTEGER PRIMARY KEY, mailbox INTEGER, body BLOB)`); err != nil {
		b.Fatal(err)
	}
	insert, _, err := conn.Prepare(`INSERT INTO entry (mailbox, body) VALUES (?, ?)`)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.write(b, conn, insert)
	}()
	b.Cleanup(func() {
		close(f.queue)
		<-done
		insert.Close()
		conn.Close()
	})
	return f
}

func (f *floor) write(b *testing.B, conn *sqlite3.Conn, insert *sqlite3.Stmt) {
	var batch []floorSubmit
	for first := range f.queue {
		batch = append(batch[:0], first)
		for range len(f.queue) {
			batch = append(batch, <-f.queue)
		}
		if err := conn.Exec(`BEGIN IMMEDIATE`); err != nil {
			b.Error(err)
		}
		for _, s := range batch {
			insert.BindInt64(1, 1)
			insert.BindBlob(2, s.payload)
			if err := insert.Exec(); err != nil {
				b.Error(err)
			}
		}
		if err := conn.Exec(`COMMIT`); err != nil {
			b.Error(err)
		}
		for _, s := range batch {
			s.answers <- s.id
		}
	}
}

func (f *floor) Connect(stream api.Delivery_ConnectServer) error {
	answers := make(chan []byte, benchWindow)
	var sending sync.WaitGroup
	ctx, cancel := context.WithCancel(stream.Context())
	defer sending.Wait()
	defer cancel()
	sending.Go(func() {
		for {
			select {
			case id := <-answers:
				stream.Send(&api.ServerFrame{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: id}}})
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		frame, err := stream.Recv()
		if err != nil {
			return nil
		}
		f.queue <- floorSubmit{frame.GetSubmit().GetPayload(), frame.GetSubmit().GetId(), answers}
	}
}
