package content

import (
	"fmt"
	"strconv"
)

// StatusContentType is the media type of a status report.
const StatusContentType = "application/mimi-message-status"

// Status is what became of a message (draft-mahy-mimi-message-status-01, section
// "Delivery Reporting and Read Receipts"). Numbers that are not known are kept.
type Status uint8

// Statuses of the draft.
const (
	// StatusUnread: the person did not read it yet.
	StatusUnread Status = iota
	// StatusDelivered: a device of theirs received it.
	StatusDelivered
	// StatusRead: the person read it.
	StatusRead
	// StatusExpired: it expired, read or not.
	StatusExpired
	// StatusDeleted: it was deleted.
	StatusDeleted
	// StatusHidden: it was hidden, such as archived.
	StatusHidden
	// StatusError: its id is known, but it could not be received.
	StatusError
)

var statusNames = [...]string{"unread", "delivered", "read", "expired", "deleted", "hidden", "error"}

// String is the name in the draft, or the number.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return strconv.Itoa(int(s))
}

// MessageStatus is the status of one message.
type MessageStatus struct {
	ID     MessageID
	Status Status
}

// StatusReport lists what became of messages of one conversation, at most MaxElements;
// later entries come after earlier ones in time.
type StatusReport []MessageStatus

// wireStatus is PerMessageStatus of the draft's CDDL.
type wireStatus struct {
	_      struct{} `cbor:",toarray"`
	ID     []byte
	Status uint8
}

// Marshal encodes a report. It gives ErrMalformed where an id is zero or of an unknown
// hash algorithm, and ErrTooLarge for more than MaxElements.
func (r StatusReport) Marshal() ([]byte, error) {
	if len(r) > MaxElements {
		return nil, fmt.Errorf("%w: report on %d messages", ErrTooLarge, len(r))
	}
	wire := make([]wireStatus, len(r))
	for i, entry := range r {
		if _, err := messageID(entry.ID[:]); err != nil {
			return nil, err
		}
		wire[i] = wireStatus{ID: entry.ID[:], Status: uint8(entry.Status)}
	}
	return encode(wire), nil
}

// ParseStatusReport decodes a report. It gives ErrMalformed for bytes that Marshal would
// not have written.
func ParseStatusReport(data []byte) (StatusReport, error) {
	var wire []wireStatus
	if decoder.Unmarshal(data, &wire) != nil {
		return nil, malformed("not a status report")
	}
	report := make(StatusReport, len(wire))
	for i, entry := range wire {
		id, err := messageID(entry.ID)
		if err != nil {
			return nil, err
		}
		report[i] = MessageStatus{ID: id, Status: Status(entry.Status)}
	}
	again, err := report.Marshal()
	if err != nil {
		return nil, err
	}
	return report, compare(data, again)
}
