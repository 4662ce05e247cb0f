package relay_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/bench"
	"sealpost/relay"
)

// BenchmarkFloor is what the relay is measured against: a bare loop that does a
// relay's work. It has the relay's transport and pragmas, the same load
// generator, and one SQLite writer with group commit. A message is stored, then
// accepted, then delivered to its reader's stream, and deleted once the reader
// acknowledged it. One table and one index by mailbox hold it all: without the
// index nobody could find what to delete, or to read after a restart.
//
// Each frame goes out by itself. What the relay saves by sending frames together is
// part of what pays for the rest.
//
// It leaves out what makes a relay one to rely on: no directory and no
// authentication, no submit ids (a repeat is delivered twice), no payloads shared
// by several mailboxes, no limits, no bound on what a slow reader holds in memory,
// no reading from the disk, no sequence numbers that outlive a restart, no expiry
// and no clean end.
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
	dial := func(device identity.DeviceID) api.DeliveryStream {
		pin := pinned(identity.ServerIDOf(certificate.Leaf.RawSubjectPublicKeyInfo))
		conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(pin)))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		stream, err := api.Connect(metadata.AppendToOutgoingContext(b.Context(), api.MetadataDevice, string(device[:1])), conn)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := stream.Header(); err != nil { // the line is known
			b.Fatal(err)
		}
		return stream
	}
	pairs := make([]bench.Pair, benchPairs)
	for i := range pairs {
		sender, recipient := identity.DeviceID{'A' + byte(i)}, identity.DeviceID{'a' + byte(i)}
		pairs[i] = bench.Pair{Sender: dial(sender), Receiver: dial(recipient), Recipient: recipient}
	}
	b.ResetTimer()
	result, err := bench.Measure(b.Context(), benchLoad(b), pairs)
	if err != nil {
		b.Fatal(err)
	}
	reportSaturation(b, result)
}

type floor struct {
	api.UnimplementedDeliveryServer
	conn           *sqlite3.Conn
	insert, remove *sqlite3.Stmt
	queue          chan floorSubmit

	mu    sync.Mutex
	lines map[byte]chan *api.ServerFrame
	acks  map[byte]uint64
}

type floorSubmit struct {
	*api.Submit
	answers chan<- *api.ServerFrame
}

func startFloor(b *testing.B, path string) *floor {
	f := &floor{
		queue: make(chan floorSubmit, benchPairs*benchWindow),
		lines: make(map[byte]chan *api.ServerFrame), acks: make(map[byte]uint64),
	}
	query := url.Values{"_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)", "wal_autocheckpoint(16000)", "cache_size(-65536)",
	}}
	var err error
	if f.conn, err = sqlite3.Open((&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()); err != nil {
		b.Fatal(err)
	}
	err = f.conn.Exec(`CREATE TABLE entry (sequence INTEGER PRIMARY KEY, mailbox INTEGER, kind INTEGER, body BLOB);
		CREATE INDEX entry_mailbox ON entry(mailbox)`)
	if err != nil {
		b.Fatal(err)
	}
	if f.insert, _, err = f.conn.Prepare(`INSERT INTO entry (mailbox, kind, body) VALUES (?, ?, ?)`); err != nil {
		b.Fatal(err)
	}
	if f.remove, _, err = f.conn.Prepare(`DELETE FROM entry WHERE mailbox = ? AND sequence <= ?`); err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f.write(); err != nil {
			b.Errorf("writing: %v", err)
		}
	}()
	b.Cleanup(func() {
		close(f.queue)
		<-done
		f.insert.Close()
		f.remove.Close()
		f.conn.Close()
	})
	return f
}

func (f *floor) write() error {
	var batch []floorSubmit
	var sequences []uint64
	for first := range f.queue {
		batch = append(batch[:0], first)
		for range len(f.queue) {
			batch = append(batch, <-f.queue)
		}
		if err := f.conn.Exec(`BEGIN IMMEDIATE`); err != nil {
			return err
		}
		if err := f.deleteAcked(); err != nil {
			return err
		}
		sequences = sequences[:0]
		for _, s := range batch {
			f.insert.BindInt64(1, int64(s.Recipients[0][0]))
			f.insert.BindInt64(2, int64(s.Kind))
			f.insert.BindBlob(3, s.Payload)
			if err := f.insert.Exec(); err != nil {
				return err
			}
			sequences = append(sequences, uint64(f.conn.LastInsertRowID()))
		}
		if err := f.conn.Exec(`COMMIT`); err != nil {
			return err
		}
		for i, s := range batch {
			s.answers <- &api.ServerFrame{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: s.Id}}}
			f.line(s.Recipients[0][0]) <- &api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: &api.Envelope{
				Sequence: sequences[i], Kind: s.Kind, Payload: s.Payload,
			}}}
		}
	}
	return nil
}

func (f *floor) deleteAcked() error {
	f.mu.Lock()
	acks := f.acks
	f.acks = make(map[byte]uint64, len(acks))
	f.mu.Unlock()
	for mailbox, sequence := range acks {
		f.remove.BindInt64(1, int64(mailbox))
		f.remove.BindInt64(2, int64(sequence))
		if err := f.remove.Exec(); err != nil {
			return err
		}
	}
	return nil
}

func (f *floor) line(mailbox byte) chan *api.ServerFrame {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lines[mailbox]
}

func (f *floor) Connect(stream api.Delivery_ConnectServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	mailbox := md.Get(api.MetadataDevice)[0][0]
	out := make(chan *api.ServerFrame, benchWindow)
	f.mu.Lock()
	f.lines[mailbox] = out
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(stream.Context())
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	sending.Go(func() {
		for {
			select {
			case frame := <-out:
				stream.Send(&api.ServerFrames{Frames: []*api.ServerFrame{frame}})
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
		switch frame := frame.GetFrame().(type) {
		case *api.ClientFrame_Submit:
			f.queue <- floorSubmit{frame.Submit, out}
		case *api.ClientFrame_Ack:
			f.mu.Lock()
			f.acks[mailbox] = frame.Ack.GetSequence()
			f.mu.Unlock()
		default:
			return fmt.Errorf("an empty frame")
		}
	}
}
