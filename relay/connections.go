package relay

import (
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

// connections are those that are open, from Accept on. gRPC ends only those that
// have come to serve calls, and would wait for the others when it stops.
type connections struct {
	metrics *Metrics

	mu     sync.Mutex
	open   map[*connection]struct{}
	ending bool
}

// A connection is one that is counted until it is closed.
type connection struct {
	net.Conn
	all *connections
	// secure is set when the TLS handshake is done. all.mu guards it.
	secure bool
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.all.forget(c)
	return c.Conn.Close()
}

func (cs *connections) add(raw net.Conn) *connection {
	c := &connection{Conn: raw, all: cs}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.ending {
		_ = raw.Close() // gRPC finds out
	}
	cs.open[c] = struct{}{}
	cs.metrics.connections.Inc()
	cs.metrics.connectionsAccepted.Inc()
	return c
}

func (cs *connections) forget(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, open := cs.open[c]; open {
		delete(cs.open, c)
		cs.metrics.connections.Dec()
	}
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
	if c, ok := raw.(*connection); ok && err == nil {
		c.all.mu.Lock()
		c.secure = true
		c.all.mu.Unlock()
	}
	return conn, info, err
}
