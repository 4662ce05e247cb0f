package content

import (
	"errors"
	"time"
)

// Limits. Those of the draft are in its section "General handling" and in
// "CBOR Data Model and Encoding Restrictions".
const (
	// MaxMessage is the size of an encoded message in bytes. With it, a padded MLS
	// message stays within 64 KiB.
	MaxMessage = 60 << 10
	// MaxText is the size of a text in bytes: what is left of a message after 1 KiB for
	// everything else.
	MaxText = MaxMessage - 1<<10
	// MaxReaction is the size of a reaction in bytes. The longest emoji of Unicode 17
	// have about 40.
	MaxReaction = 64
	// MaxTopicID is the size of a topic id in bytes (draft).
	MaxTopicID = 4096
	// MaxParts is the number of parts of a message, nested ones included (draft).
	MaxParts = 1024
	// MaxPartDepth is the number of levels of parts, the body being the first (draft).
	MaxPartDepth = 4
	// MaxExtensionDepth is the number of levels of maps, arrays and tags in extensions,
	// the map of all extensions being the first (draft).
	MaxExtensionDepth = 4
	// MaxExtensionName is the size of a textual extension key in bytes (draft).
	MaxExtensionName = 255
	// MaxElements is the number of elements of any other list: a status report, an array
	// or a map in an extension.
	MaxElements = 1024
	// MaxExpiry is how far from now a message can expire (draft: a year).
	MaxExpiry = 366 * 24 * time.Hour
)

// maxNesting is the depth of arrays, maps and tags in an encoded message: itself, its
// body, and a list and a part for each further level of parts.
const maxNesting = 2 * MaxPartDepth

var (
	// ErrMalformed means that a message or a report breaks a rule of its format.
	ErrMalformed = errors.New("malformed content")
	// ErrTooLarge means that a message is larger than MaxMessage, or a text, reaction
	// or report than its own limit.
	ErrTooLarge = errors.New("content too large")
	// ErrText means that a text or reaction is empty or not UTF-8, or that a reaction
	// has control characters.
	ErrText = errors.New("not a text that can be sent")
	// ErrAddress means that a message names another sender or room than the ones that
	// it came from.
	ErrAddress = errors.New("message names another sender or room")
)
