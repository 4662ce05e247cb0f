package content

import (
	"fmt"
	"time"
)

// Expiration is when a message is to be deleted by those who got it (draft, sections
// "Message Behavior Fields" and "Expiring"). It is a wish: nobody can enforce it.
type Expiration struct {
	// Relative says that Seconds count from when the message is read. Otherwise they
	// count from 1970, UTC.
	Relative bool
	// Seconds is at most MaxExpiry where Relative.
	Seconds uint32
}

// Deadline is when the message that was read at a given time is to be deleted.
func (e Expiration) Deadline(read time.Time) time.Time {
	if e.Relative {
		return read.Add(time.Duration(e.Seconds) * time.Second)
	}
	return time.Unix(int64(e.Seconds), 0)
}

// Check gives ErrMalformed for an expiration that is more than MaxExpiry in the past or
// in the future, which most likely is malicious (draft, section "General handling").
func (e Expiration) Check(now time.Time) error {
	if distance := e.Deadline(now).Sub(now); distance > MaxExpiry || distance < -MaxExpiry {
		return malformed("expiration is too far from now")
	}
	return nil
}

// check is what can be seen without a clock.
func (e *Expiration) check() error {
	if e == nil || !e.Relative {
		return nil
	}
	return e.Check(time.Time{})
}

// wireExpiration is Expiration of the draft's CDDL.
type wireExpiration struct {
	_        struct{} `cbor:",toarray"`
	Relative bool
	Time     uint32
}

func (e *Expiration) wire() *wireExpiration {
	if e == nil {
		return nil
	}
	return &wireExpiration{Relative: e.Relative, Time: e.Seconds}
}

func (w *wireExpiration) expiration() *Expiration {
	if w == nil {
		return nil
	}
	return &Expiration{Relative: w.Relative, Seconds: w.Time}
}

// expiry is a relative expiration, in whole seconds, rounded up.
func expiry(d time.Duration) (*Expiration, error) {
	if d <= 0 || d > MaxExpiry {
		return nil, fmt.Errorf("%w: expiry of %v is not between 1s and %v", ErrMalformed, d, MaxExpiry)
	}
	return &Expiration{Relative: true, Seconds: uint32((d + time.Second - 1) / time.Second)}, nil
}
