package relay

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// connections are those that are open, from Accept on. gRPC ends only those that
// have come to serve calls, and would wait for the others when it stops.
type connections struct {
	metrics *Metrics
	limits  Limits
	clock   func() time.Time
	rates   *rates[netip.Prefix]

	mu     sync.Mutex
	open   map[*connection]struct{}
	count  map[netip.Prefix]int // of those that are open
	ending bool
}

func newConnections(s *Server) connections {
	return connections{
		metrics: s.metrics,
		limits:  s.limits,
		clock:   s.clock,
		rates:   newRates[netip.Prefix](errConnectRate, s.limits.AddressConnects, time.Minute),
		open:    make(map[*connection]struct{}),
		count:   make(map[netip.Prefix]int),
	}
}

// A connection is one that is counted until it is closed. Its peer is a stranger
// until it made a call with a valid signature, and may do little until then.
type connection struct {
	net.Conn
	all     *connections
	address netip.Prefix
	// secure is set when the TLS handshake is done. all.mu guards it.
	secure bool

	known    atomic.Bool
	hurry    atomic.Pointer[time.Timer] // closes the connection of one who stays a stranger
	received atomic.Int64               // bytes while the peer was a stranger
	refused  atomic.Int32               // calls with a wrong signature
	ended    atomic.Bool                // for a limit
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.all.forget(c)
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.known.Load() && c.received.Add(int64(n)) > int64(c.all.limits.StrangerBytes) {
		c.end("stranger_bytes")
	}
	return n, err
}

// connectionLimits are those for which a connection is closed, as metrics call them.
var connectionLimits = []string{
	"connections", "address_connections", "address_connects", "stranger_time", "stranger_bytes", "refused_calls",
}

// end closes the connection for a limit; whoever uses it finds out.
func (c *connection) end(limit string) {
	if c.ended.CompareAndSwap(false, true) {
		c.all.metrics.limitHit(limit)
		_ = c.Conn.Close()
	}
}

// authenticated notes whether a call on the connection had a valid signature.
func (c *connection) authenticated(valid bool) {
	switch {
	case valid && c.known.CompareAndSwap(false, true):
		c.stopHurry()
	case !valid && c.refused.Add(1) == maxRefused:
		c.end("refused_calls")
	}
}

func (c *connection) stopHurry() {
	if timer := c.hurry.Swap(nil); timer != nil {
		timer.Stop()
	}
}

// maxRefused is how many calls of one connection may have a wrong signature. To
// check one costs more than to send it.
const maxRefused = 16

// add takes a connection in, or closes it where there are too many.
func (cs *connections) add(raw net.Conn) *connection {
	c := &connection{Conn: raw, all: cs, address: addressOf(raw.RemoteAddr())}
	c.hurry.Store(time.AfterFunc(cs.limits.StrangerTime, func() {
		if !c.known.Load() {
			c.end("stranger_time")
		}
	}))
	limit := ""
	if cs.rates.take(cs.clock(), c.address) != nil {
		limit = "address_connects"
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch {
	case cs.ending:
		_ = raw.Close() // gRPC finds out
	case len(cs.open) >= cs.limits.Connections:
		limit = "connections"
	case cs.count[c.address] >= cs.limits.AddressConnections:
		limit = "address_connections"
	}
	if limit != "" {
		c.end(limit)
	}
	cs.open[c] = struct{}{}
	cs.count[c.address]++
	cs.metrics.connections.Inc()
	cs.metrics.connectionsAccepted.Inc()
	return c
}

func (cs *connections) forget(c *connection) {
	c.stopHurry()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, open := cs.open[c]; open {
		delete(cs.open, c)
		if cs.count[c.address]--; cs.count[c.address] == 0 {
			delete(cs.count, c.address)
		}
		cs.metrics.connections.Dec()
	}
}

func (cs *connections) len() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

// cut closes those in their TLS handshake, who cannot have asked for anything
// yet, or all of them. New ones are closed at once from then on.
func (cs *connections) cut(all bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.ending = true
	for c := range cs.open {
		if all || !c.secure {
			_ = c.Conn.Close() // whoever uses it finds out and calls Close
		}
	}
}

// listen counts what a listener accepts.
func (cs *connections) listen(l net.Listener) net.Listener { return &countingListener{l, cs} }

type countingListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l *countingListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.add(raw), nil
}

// noticing are TLS credentials that notice when a handshake is done.
type noticing struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (n noticing) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := n.TransportCredentials.ServerHandshake(raw)
	c, ok := raw.(*connection)
	if err != nil || !ok {
		return conn, info, err
	}
	c.all.mu.Lock()
	c.secure = true
	c.all.mu.Unlock()
	tlsInfo, _ := info.(credentials.TLSInfo) // there is no other kind
	return conn, connectionInfo{tlsInfo.CommonAuthInfo, c, tlsInfo.State.Version, tlsInfo.State.CurveID}, nil
}

// A connectionInfo is what a call knows of its connection. All that was agreed on in
// the TLS handshake would be half a kilobyte that nobody asks for.
type connectionInfo struct {
	credentials.CommonAuthInfo
	connection *connection
	version    uint16
	curve      tls.CurveID
}

// Negotiated returns the version of TLS and the key exchange that were agreed on.
func (i connectionInfo) Negotiated() (version uint16, curve tls.CurveID) { return i.version, i.curve }

// AuthType implements credentials.AuthInfo.
func (connectionInfo) AuthType() string { return "tls" }

// noteSignature tells the connection of a call whether its signature was valid.
func noteSignature(ctx context.Context, valid bool) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(connectionInfo); ok {
			info.connection.authenticated(valid)
		}
	}
}
