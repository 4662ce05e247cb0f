package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// A localRelay is a relay in this process, on a loopback address.
type localRelay struct {
	server  *relay.Server
	address string
	stop    func() error
}

// roomyMailbox lets receivers fall behind, which is measured rather than refused.
const roomyMailbox = 10_000_000

// unlimited is a rate that no load reaches.
const unlimited = 1 << 30

func startRelay(dir string) (*localRelay, error) {
	var cleanup func() error
	if dir == "" {
		made, err := os.MkdirTemp("", "sealpost-bench-")
		if err != nil {
			return nil, err
		}
		dir, cleanup = made, func() error { return os.RemoveAll(made) }
	} else {
		cleanup = func() error { return nil }
	}
	r, err := serve(dir)
	if err != nil {
		return nil, errors.Join(err, cleanup())
	}
	stop := r.stop
	r.stop = func() error { return errors.Join(stop(), cleanup()) }
	return r, nil
}

func serve(dir string) (*localRelay, error) {
	store, err := sqlite.Open(dir)
	if err != nil {
		return nil, err
	}
	server, listener, err := listen(dir, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return &localRelay{server: server, address: listener.Addr().String(), stop: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(server.Shutdown(ctx), <-served, store.Close())
	}}, nil
}

func listen(dir string, store relay.Store) (*relay.Server, net.Listener, error) {
	certificate, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	limits := relay.DefaultLimits()
	limits.MailboxRows, limits.MailboxBytes = roomyMailbox, roomyMailbox*api.DefaultMaxMessage
	limits.DeviceSubmits, limits.AccountSubmits, limits.DeviceBytes = unlimited, unlimited, unlimited
	limits.DeviceCalls, limits.AddressRegistrations = unlimited, unlimited
	limits.Connections, limits.AddressConnections, limits.AddressConnects = unlimited, unlimited, unlimited
	server, err := relay.New(relay.Config{Store: store, Certificate: certificate, Limits: limits})
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return server, listener, nil
}

// A Pair is the lines of a device that submits and of the device that receives.
type Pair struct {
	Sender, Receiver Stream
	Recipient        identity.DeviceID // whose line Receiver is
}

// A pair is a Pair and what it takes to end it.
type pair struct {
	Pair
	conns  []*grpc.ClientConn
	cancel context.CancelFunc
}

func (r *localRelay) connectPairs(ctx context.Context, n int) (pairs []*pair, err error) {
	for i := range n {
		p := &pair{}
		ctx, cancel := context.WithCancel(ctx)
		p.cancel = cancel
		pairs = append(pairs, p)
		p.Sender, _, err = r.connect(ctx, p, fmt.Sprintf("sender-%d", i))
		if err == nil {
			p.Receiver, p.Recipient, err = r.connect(ctx, p, fmt.Sprintf("receiver-%d", i))
		}
		if err != nil {
			for _, p := range pairs {
				p.close()
			}
			return nil, err
		}
	}
	return pairs, nil
}

func (p *pair) close() {
	p.cancel()
	for _, conn := range p.conns {
		_ = conn.Close() // its stream is over
	}
}

// connect registers a new device and opens its line.
func (r *localRelay) connect(ctx context.Context, p *pair, name string) (Stream, identity.DeviceID, error) {
	key := identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(identity.GenerateAccountKey(), identity.Username(name), key.Public(), identity.NewDeviceID(), time.Now())
	record, err := identity.SignDeviceRecord(key, certificate, "age1pq1test")
	if err != nil {
		return nil, identity.DeviceID{}, err
	}
	conn, err := grpc.NewClient("passthrough:///"+r.address, grpc.WithTransportCredentials(credentials.NewTLS(r.tls())))
	if err != nil {
		return nil, identity.DeviceID{}, err
	}
	p.conns = append(p.conns, conn)
	signed := func(method string) context.Context {
		request := identity.NewRequest(r.server.ID(), method, certificate.DeviceID, time.Now())
		return metadata.AppendToOutgoingContext(ctx,
			api.MetadataDevice, request.Device.String(),
			api.MetadataTime, strconv.FormatInt(request.Time.UnixMilli(), 10),
			api.MetadataNonce, string(request.Nonce[:]),
			api.MetadataSignature, string(request.Sign(key)))
	}
	_, err = api.NewDirectoryClient(conn).Register(signed(api.Directory_Register_FullMethodName),
		&api.RegisterRequest{DeviceRecord: record.Marshal()})
	if err != nil {
		return nil, identity.DeviceID{}, fmt.Errorf("registering: %w", err)
	}
	stream, err := api.NewDeliveryClient(conn).Connect(signed(api.Delivery_Connect_FullMethodName))
	return stream, certificate.DeviceID, err
}

// tls pins the relay's key.
func (r *localRelay) tls() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection pins the key instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if identity.ServerIDOf(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != r.server.ID() {
				return errors.New("the relay has another key")
			}
			return nil
		},
	}
}

// submit makes a submit that tells its time, counted from the start of the run.
func (p Pair) submit(size int, at time.Duration) *api.Submit {
	payload := make([]byte, size)
	binary.BigEndian.PutUint64(payload, uint64(at))
	id := make([]byte, api.SubmitIDSize)
	rand.Read(id) // never fails (crypto/rand)
	return &api.Submit{Id: id, Recipients: [][]byte{p.Recipient[:]}, Kind: api.Kind_KIND_APPLICATION, Payload: payload}
}

func submittedAt(payload []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint64(payload))
}

func (p Pair) ack(sequence uint64) error {
	return p.Receiver.Send(&api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: sequence}}})
}

// ProcessorTime returns what this process has used of the processors.
func ProcessorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // a valid argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
