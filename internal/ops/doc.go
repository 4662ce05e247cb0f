// Package ops is what surrounds a relay that runs as a service: certificates that
// are renewed while it runs, metrics and health for whoever watches it, traces,
// and the words with the service manager.
//
// Nothing that it shows names a person, a device or an address.
package ops
