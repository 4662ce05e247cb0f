// Package bench measures a relay under load: pairs of devices, one submitting
// and one receiving, over real TLS and onto a real disk, with payloads that mean
// nothing. The relay runs in the same process, so that what is measured includes
// the clients' own work.
package bench
