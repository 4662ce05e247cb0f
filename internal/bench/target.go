package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/identity"
)

// A Target is the relay that is measured. It must let everybody register.
type Target struct {
	Address string            // host and port
	ID      identity.ServerID // the key that it must have; see Fingerprint
	PID     int               // its process, where memory is to be measured; 0: not known
}

// Fingerprint returns the key that the relay at an address has, for those who
// have nothing to compare it with.
func Fingerprint(ctx context.Context, address string) (identity.ServerID, error) {
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // nothing is sent
		NextProtos:         []string{"h2"},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return identity.ServerID{}, fmt.Errorf("asking %s for its key: %w", address, err)
	}
	state := conn.(*tls.Conn).ConnectionState()
	return identity.ServerIDOf(state.PeerCertificates[0].RawSubjectPublicKeyInfo), conn.Close()
}

func (t Target) dial() (*grpc.ClientConn, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection pins the key instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if identity.ServerIDOf(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != t.ID {
				return errors.New("the relay has another key")
			}
			return nil
		},
	}
	return grpc.NewClient("passthrough:///"+t.Address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

// A device is a client of the relay.
type device struct {
	target Target
	id     identity.DeviceID
	key    identity.DevicePrivateKey
	record []byte

	conn   *grpc.ClientConn
	cancel context.CancelFunc
	stream api.DeliveryStream
}

func (t Target) newDevice(name string) (*device, error) {
	key := identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(identity.GenerateAccountKey(), identity.Username(name), key.Public(), identity.NewDeviceID(), time.Now())
	record, err := identity.SignDeviceRecord(key, certificate, "age1pq1test")
	if err != nil {
		return nil, err
	}
	return &device{target: t, id: certificate.DeviceID, key: key, record: record.Marshal()}, nil
}

func (d *device) signed(ctx context.Context, method string) context.Context {
	request := identity.NewRequest(d.target.ID, method, d.id, time.Now())
	return metadata.AppendToOutgoingContext(ctx,
		api.MetadataDevice, request.Device.String(),
		api.MetadataTime, strconv.FormatInt(request.Time.UnixMilli(), 10),
		api.MetadataNonce, string(request.Nonce[:]),
		api.MetadataSignature, string(request.Sign(d.key)))
}

// register makes n devices of new accounts, over one connection.
func (t Target) register(ctx context.Context, n int) ([]*device, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // its calls are over
	run := make([]byte, 6)
	rand.Read(run) // never fails (crypto/rand)
	devices := make([]*device, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range devices {
		group.Go(func() error {
			d, err := t.newDevice(fmt.Sprintf("bench-%x-%d", run, i))
			if err != nil {
				return err
			}
			devices[i] = d
			_, err = api.NewDirectoryClient(conn).Register(d.signed(ctx, api.Directory_Register_FullMethodName),
				&api.RegisterRequest{DeviceRecord: d.record})
			if err != nil {
				return fmt.Errorf("registering: %w", told(err))
			}
			return nil
		})
	}
	return devices, group.Wait()
}

// ErrRefused reports a relay that is there and does not do what the load asks for.
var ErrRefused = errors.New("the relay refused")

// told is what a relay said, without gRPC's words around it.
func told(err error) error {
	st := status.Convert(err)
	switch st.Code() {
	case codes.PermissionDenied, codes.ResourceExhausted:
		return fmt.Errorf("%w: %s", ErrRefused, st.Message())
	default:
		return errors.New(st.Message())
	}
}

// connect opens the line of a device, on a connection of its own, and returns
// when the relay answers on it.
func (d *device) connect(ctx context.Context) (err error) {
	if d.conn, err = d.target.dial(); err != nil {
		return err
	}
	ctx, d.cancel = context.WithCancel(ctx)
	d.stream, err = api.Connect(d.signed(ctx, api.Delivery_Connect_FullMethodName), d.conn)
	if err == nil {
		_, err = d.stream.Recv() // Hello
	}
	if err != nil {
		return fmt.Errorf("connecting: %w", told(err))
	}
	return nil
}

// close ends the line; it may never have begun.
func (d *device) close() {
	if d != nil && d.conn != nil {
		d.cancel()
		_ = d.conn.Close() // its stream is over
	}
}

// connectAtOnce is how many devices connect at the same time.
const connectAtOnce = 64

// connectAll connects devices and tells how long each took.
func connectAll(ctx context.Context, devices []*device, took func(time.Duration)) error {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(connectAtOnce)
	for _, d := range devices {
		group.Go(func() error {
			begin := time.Now()
			err := d.connect(ctx)
			mu.Lock()
			defer mu.Unlock()
			if took != nil {
				took(time.Since(begin))
			}
			return err
		})
	}
	return group.Wait()
}

func closeAll(devices []*device) {
	for _, d := range devices {
		d.close()
	}
}

// pairs registers and connects n pairs, which the second result ends.
func (t Target) pairs(ctx context.Context, n int) ([]Pair, func(), error) {
	devices, err := t.register(ctx, 2*n)
	if err != nil {
		return nil, nil, err
	}
	if err := connectAll(ctx, devices, nil); err != nil {
		closeAll(devices)
		return nil, nil, err
	}
	pairs := make([]Pair, n)
	for i := range pairs {
		sender, receiver := devices[2*i], devices[2*i+1]
		pairs[i] = Pair{Sender: sender.stream, Receiver: receiver.stream, Recipient: receiver.id, end: func() {
			sender.close()
			receiver.close()
		}}
	}
	return pairs, func() { closeAll(devices) }, nil
}

// A Pair is the lines of a device that submits and of the device that receives.
type Pair struct {
	Sender, Receiver api.DeliveryStream
	Recipient        identity.DeviceID // whose line Receiver is
	sealing          *sealing
	end              func() // cuts both; may be nil
}

func newSubmitID() []byte {
	id := make([]byte, api.SubmitIDSize)
	rand.Read(id) // never fails (crypto/rand)
	return id
}

// submit makes a submit that tells its time, counted from the start of the run.
func (p Pair) submit(size int, at time.Duration) (*api.Submit, error) {
	text := make([]byte, size)
	binary.BigEndian.PutUint64(text, uint64(at))
	payload, err := p.sealing.seal(text)
	return &api.Submit{Id: newSubmitID(), Recipients: [][]byte{p.Recipient[:]}, Kind: api.Kind_KIND_APPLICATION, Payload: payload}, err
}

func submittedAt(text []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint64(text))
}

func ack(stream api.DeliveryStream, sequence uint64) error {
	return stream.Send(&api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: sequence}}})
}

// processorTime returns what this process has used of the processors.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // a valid argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
