package malice

import (
	"bytes"
	"crypto/rand"
	"slices"

	"sealpost/api"
)

// Attack is the id of an attack in docs/threat-model.md.
type Attack string

// The attacks that a relay can run.
const (
	// SwapKey (A2): Lookup of the victim answers with a device of the enemy's
	// own making under the victim's name.
	SwapKey Attack = "A2"
	// WrongAccount (A15): Lookup of the victim answers with the genuine record
	// of another account.
	WrongAccount Attack = "A15"
	// Plaintext (B8): beside each envelope comes one in plain text and one that
	// claims a lower version.
	Plaintext Attack = "B8"
	// Replay (B9): every envelope comes twice, and all earlier ones once more.
	Replay Attack = "B9"
	// Reflect (B10): a device gets back what it sent itself.
	Reflect Attack = "B10"
	// Reorder (B11): two envelopes change places.
	Reorder Attack = "B11-reorder"
	// Drop (B11): an envelope in the middle vanishes.
	Drop Attack = "B11-drop"
	// Reattribute (B17): in place of what one person wrote comes what another
	// wrote to the same reader.
	Reattribute Attack = "B17"
	// Poison (F5): beside each envelope come ones of random bytes, of nothing,
	// and of a real one cut off.
	Poison Attack = "F5"
	// FlipBit changes one bit in the middle of each envelope.
	FlipBit Attack = "flip"
)

// wireAttacks give, for the envelope that the real relay delivers next, the
// payloads that the device gets in its place. They run with Relay.mu held.
var wireAttacks = map[Attack]func(*Relay, *line, []byte) [][]byte{
	Plaintext: func(_ *Relay, _ *line, payload []byte) [][]byte {
		downgraded := bytes.Clone(payload)
		if len(downgraded) > 0 {
			downgraded[0] = 0
		}
		return [][]byte{payload, []byte("your contact does not support encryption: hello in plain text"), downgraded}
	},
	Replay: func(_ *Relay, l *line, payload []byte) [][]byte {
		return append([][]byte{payload, payload}, l.delivered...)
	},
	Reflect: func(_ *Relay, l *line, payload []byte) [][]byte {
		return append([][]byte{payload}, l.submitted...)
	},
	Reorder: func(_ *Relay, l *line, payload []byte) [][]byte {
		if l.held == nil {
			l.held = payload
			return nil
		}
		first := l.held
		l.held = nil
		return [][]byte{payload, first}
	},
	Drop: func(_ *Relay, l *line, payload []byte) [][]byte {
		if len(l.delivered) == 1 {
			return nil
		}
		return [][]byte{payload}
	},
	Reattribute: func(r *Relay, _ *line, payload []byte) [][]byte {
		if r.substitute == nil {
			return [][]byte{payload}
		}
		return [][]byte{r.substitute}
	},
	Poison: func(_ *Relay, _ *line, payload []byte) [][]byte {
		noise := make([]byte, 512)
		rand.Read(noise) // never fails (crypto/rand)
		return [][]byte{noise, {}, payload[:len(payload)/2], payload}
	},
	FlipBit: func(_ *Relay, _ *line, payload []byte) [][]byte {
		flipped := bytes.Clone(payload)
		if len(flipped) > 0 {
			flipped[len(flipped)/2] ^= 1
		}
		return [][]byte{flipped}
	},
}

// lookup changes the directory's answer about the victim.
func (r *Relay) lookup(request *api.LookupRequest, response *api.LookupResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.GetUsername() != r.victim || (!r.on[SwapKey] && !r.on[WrongAccount]) {
		return
	}
	response.DeviceRecords = slices.Clone(r.records)
}
