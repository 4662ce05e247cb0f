package malice

import (
	"bytes"
	"crypto/rand"
	"slices"

	"google.golang.org/protobuf/proto"

	"sealpost/api"
)

// Attack is the id of an attack in docs/threat-model.md.
type Attack string

// The attacks on what is delivered.
const (
	// Plaintext (B8): beside each envelope comes one in plain text, one that
	// claims another version, and one that says it is not encrypted.
	Plaintext Attack = "B8"
	// Replay (B9): every envelope comes twice, and all earlier ones once more.
	Replay Attack = "B9"
	// Reflect (B10): a device gets back what it sent itself.
	Reflect Attack = "B10"
	// Reorder (B11): two application messages change places.
	Reorder Attack = "B11-reorder"
	// Drop (B11): of the application messages to the device that [Relay.Aim] names,
	// some vanish, as many as [Relay.Skip] says.
	Drop Attack = "B11-drop"
	// Misdeliver (B11): an application message comes in another conversation.
	Misdeliver Attack = "B11-misdeliver"
	// Reattribute (B17): in place of what one person wrote comes what another
	// wrote to the same reader.
	Reattribute Attack = "B17"
	// Withhold (C2): the device that [Relay.Aim] names gets no commits.
	Withhold Attack = "C2"
	// Fork (C3): of a group and epoch a second commit is accepted, and the device
	// that [Relay.Aim] names gets it in place of the first; who made it gets none.
	Fork Attack = "C3"
	// ReplayHandshakes (C4): all earlier commits and Welcomes come once more.
	ReplayHandshakes Attack = "C4"
	// ReplayRequests (B18): all earlier requests to be taken in again come once more.
	ReplayRequests Attack = "B18"
	// Poison (F5): beside each envelope come ones of random bytes, of nothing,
	// and of a real one cut off.
	Poison Attack = "F5"
	// FlipBit changes one bit in the middle of each envelope.
	FlipBit Attack = "flip"
	// FalseListHash names another delivery list than the one that was used.
	FalseListHash Attack = "list-hash"
)

// deliveries give, for the envelope that the real relay delivers next, what the
// device gets in its place. They run with Relay.mu held.
var deliveries = map[Attack]func(*Relay, *line, *api.Envelope) []*api.Envelope{
	Plaintext: plaintext,
	Replay: func(_ *Relay, l *line, e *api.Envelope) []*api.Envelope {
		return append([]*api.Envelope{e, e}, l.delivered...)
	},
	Reflect:    reflect,
	Reorder:    reorder,
	Drop:       drop,
	Misdeliver: misdeliver,
	Reattribute: func(r *Relay, _ *line, e *api.Envelope) []*api.Envelope {
		if r.substitute == nil || e.GetKind() != api.Kind_KIND_APPLICATION {
			return nil
		}
		return []*api.Envelope{r.substitute}
	},
	Withhold:         withhold,
	Fork:             fork,
	ReplayHandshakes: again(api.Kind_KIND_HANDSHAKE, api.Kind_KIND_WELCOME),
	ReplayRequests:   again(api.Kind_KIND_REQUEST),
	Poison:           poison,
	FlipBit: func(_ *Relay, _ *line, e *api.Envelope) []*api.Envelope {
		flipped := bytes.Clone(e.GetPayload())
		flipped[len(flipped)/2] ^= 1
		return []*api.Envelope{with(e, flipped)}
	},
	FalseListHash: func(_ *Relay, _ *line, e *api.Envelope) []*api.Envelope {
		if len(e.GetListHash()) == 0 {
			return nil
		}
		changed := proto.CloneOf(e)
		changed.ListHash[0] ^= 1
		return []*api.Envelope{changed}
	},
}

// nothing delivers nothing: unlike nil, which leaves an envelope as it was.
var nothing = []*api.Envelope{}

// with returns an envelope with another payload.
func with(e *api.Envelope, payload []byte) *api.Envelope {
	changed := proto.CloneOf(e)
	changed.Payload = payload
	return changed
}

// An MLSMessage begins with its version and its wire format, two bytes each
// (RFC 9420, Section 6).
const (
	versionByte    = 1
	wireFormatByte = 3
	publicMessage  = 1
)

func plaintext(_ *Relay, _ *line, e *api.Envelope) []*api.Envelope {
	downgraded, public := bytes.Clone(e.GetPayload()), bytes.Clone(e.GetPayload())
	downgraded[versionByte] = 0
	public[wireFormatByte] = publicMessage
	return []*api.Envelope{
		e, with(e, []byte("your contact does not support encryption: hello in plain text")), with(e, downgraded), with(e, public),
	}
}

func reflect(_ *Relay, l *line, e *api.Envelope) []*api.Envelope {
	if len(l.submitted) == 0 {
		return nil
	}
	all := []*api.Envelope{e}
	for _, submit := range l.submitted {
		all = append(all, &api.Envelope{
			Kind: submit.GetKind(), Payload: submit.GetPayload(), Group: submit.GetGroup().GetId(), ListHash: e.GetListHash(),
		})
	}
	return all
}

func reorder(_ *Relay, l *line, e *api.Envelope) []*api.Envelope {
	if e.GetKind() != api.Kind_KIND_APPLICATION {
		return nil
	}
	if l.held == nil {
		l.held = e
		return nothing
	}
	first := l.held
	l.held = nil
	return []*api.Envelope{e, first}
}

func drop(r *Relay, l *line, e *api.Envelope) []*api.Envelope {
	if e.GetKind() != api.Kind_KIND_APPLICATION || l.device != r.aim {
		return nil
	}
	l.skipped++
	if l.skipped <= r.skipFrom || l.skipped > r.skipTo {
		return nil
	}
	return nothing
}

func misdeliver(_ *Relay, l *line, e *api.Envelope) []*api.Envelope {
	if e.GetKind() != api.Kind_KIND_APPLICATION {
		return nil
	}
	for _, other := range l.delivered {
		if len(other.GetGroup()) > 0 && !bytes.Equal(other.GetGroup(), e.GetGroup()) {
			changed := proto.CloneOf(e)
			changed.Group, changed.ListHash = other.GetGroup(), other.GetListHash()
			return []*api.Envelope{changed}
		}
	}
	return nil
}

func withhold(r *Relay, l *line, e *api.Envelope) []*api.Envelope {
	if e.GetKind() != api.Kind_KIND_HANDSHAKE || l.device != r.aim {
		return nil
	}
	return nothing
}

// fork puts the second commit of an epoch in the place of the first.
func fork(r *Relay, l *line, e *api.Envelope) []*api.Envelope {
	if e.GetKind() != api.Kind_KIND_HANDSHAKE {
		return nil
	}
	for _, second := range r.seconds {
		if !bytes.Equal(second.GetGroup().GetId(), e.GetGroup()) {
			continue
		}
		if l.device == r.aim {
			return []*api.Envelope{with(e, second.GetPayload())}
		}
	}
	if l.device == r.aim || l.device == r.rival {
		return nothing
	}
	return nil
}

// again delivers all earlier envelopes of some kinds once more.
func again(kinds ...api.Kind) func(*Relay, *line, *api.Envelope) []*api.Envelope {
	return func(_ *Relay, l *line, e *api.Envelope) []*api.Envelope {
		all := []*api.Envelope{e}
		for _, old := range l.delivered {
			if slices.Contains(kinds, old.GetKind()) {
				all = append(all, old)
			}
		}
		if len(all) == 1 {
			return nil
		}
		return all
	}
}

func poison(_ *Relay, _ *line, e *api.Envelope) []*api.Envelope {
	noise := make([]byte, 512)
	rand.Read(noise) // never fails (crypto/rand)
	payload := e.GetPayload()
	return []*api.Envelope{with(e, noise), with(e, nil), with(e, payload[:len(payload)/2]), e}
}
