package ops

import (
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// What the service manager is told; see sd_notify(3).
const (
	Serving  = daemon.SdNotifyReady
	Stopping = daemon.SdNotifyStopping
)

// Notify tells the service manager, where one listens, how the service is. A
// manager that does not listen is no reason to stop.
func Notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Inherited returns the listening sockets that the service manager handed over
// (sd_listen_fds(3)), once; none if it did not. The caller closes them.
func Inherited() ([]net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("taking the sockets of the service manager: %w", err)
	}
	for _, l := range listeners {
		if l == nil {
			return nil, errors.New("a socket of the service manager is no listening stream")
		}
	}
	return listeners, nil
}
