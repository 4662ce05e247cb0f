package messenger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"sealpost/content"
	"sealpost/identity"
	"sealpost/mls"
)

// descriptorExtension is the type of the extension of the GroupContext that says
// what a group is for (RFC 9420, Section 17.3: private use).
const descriptorExtension mls.ExtensionType = 0xF501

// Limits of a descriptor.
const (
	// MaxNameLen is the length of the longest name of a group, in bytes.
	MaxNameLen        = 128
	maxAdmins         = 1000
	maxDescriptorSize = 64 << 10
)

// A descriptor says which conversation an MLS group belongs to. All members agree on
// it, as on everything in the GroupContext, and the relay does not see it. It is
// CBOR in deterministic encoding.
type descriptor struct {
	Kind         ConversationKind `cbor:"1,keyasint"`
	Conversation []byte           `cbor:"2,keyasint"`
	// Incarnation grows with the MLS groups of a conversation. The highest is the one
	// that is written to; of two equal ones that with the smaller group id.
	Incarnation uint32   `cbor:"3,keyasint"`
	Name        string   `cbor:"4,keyasint,omitempty"`
	Admins      []string `cbor:"5,keyasint,omitempty"` // ascending
	Expiry      uint32   `cbor:"6,keyasint,omitempty"` // seconds
}

var (
	descriptorEncoding = must(cbor.CoreDetEncOptions().EncMode())
	descriptorDecoding = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, MaxArrayElements: maxAdmins, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // fixed options, tested
	}
	return v
}

var errDescriptor = errors.New("malformed description of a group")

func parseDescriptor(b []byte) (*descriptor, error) {
	d := new(descriptor)
	if len(b) > maxDescriptorSize {
		return nil, errDescriptor
	}
	if err := descriptorDecoding.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("%w: %w", errDescriptor, err)
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	canonical, err := descriptorEncoding.Marshal(d)
	if err != nil || string(canonical) != string(b) {
		return nil, fmt.Errorf("%w: another encoding", errDescriptor)
	}
	return d, nil
}

func (d *descriptor) check() error {
	switch {
	case d.Kind != Direct && d.Kind != Group,
		len(d.Conversation) != len(ConversationID{}),
		time.Duration(d.Expiry)*time.Second > content.MaxExpiry,
		len(d.Admins) > maxAdmins,
		d.Kind == Direct && (d.Name != "" || d.Admins != nil),
		d.Kind == Group && !isName(d.Name):
		return errDescriptor
	}
	for i, name := range d.Admins {
		if canonical, err := identity.ParseUsername(name); err != nil || string(canonical) != name {
			return errDescriptor
		}
		if i > 0 && d.Admins[i-1] >= name {
			return errDescriptor
		}
	}
	return nil
}

// isName refuses what would break a line or hide in it.
func isName(name string) bool {
	return name != "" && len(name) <= MaxNameLen && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
	})
}

func (d *descriptor) extensions() ([]mls.Extension, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	b, err := descriptorEncoding.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encoding the description of a group: %w", err)
	}
	return []mls.Extension{{ExtensionType: descriptorExtension, ExtensionData: b}}, nil
}

func findDescriptor(extensions []mls.Extension) (*descriptor, error) {
	b, ok := mls.FindExtension(extensions, descriptorExtension)
	if !ok || len(extensions) != 1 {
		return nil, errDescriptor
	}
	return parseDescriptor(b)
}

// isAdmin says whether an account may change the group. Where no administrator is
// left among the members, everybody may.
func (d *descriptor) isAdmin(name identity.Username, isMember func(identity.Username) bool) bool {
	if slices.Contains(d.Admins, string(name)) {
		return true
	}
	return !slices.ContainsFunc(d.Admins, func(admin string) bool { return isMember(identity.Username(admin)) })
}

func (d *descriptor) withAdmin(name identity.Username, admin bool) *descriptor {
	next := *d
	next.Admins = slices.DeleteFunc(slices.Clone(d.Admins), func(a string) bool { return a == string(name) })
	if admin {
		next.Admins = append(next.Admins, string(name))
		slices.Sort(next.Admins)
	}
	return &next
}

// descriptorOf reads what is kept of a group's descriptor beside its MLS state.
func descriptorOf(ctx context.Context, q querier, group int64) (*descriptor, error) {
	var b []byte
	if err := q.QueryRowContext(ctx, "SELECT descriptor FROM groups WHERE id = ?", group).Scan(&b); err != nil {
		return nil, fmt.Errorf("reading the description of a group: %w", err)
	}
	return parseDescriptor(b)
}
