package cli

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"sealpost/messenger"
)

// TestInboxInterrupted: what ends the session may meet inbox --follow anywhere. Where
// that is a person, it is no error.
func TestInboxInterrupted(t *testing.T) {
	address, id, _ := startRelay(t)
	client, err := messenger.Create(t.Context(), messenger.Options{Dir: filepath.Join(t.TempDir(), "profile"), Unlock: messenger.KeyFile()},
		messenger.NewProfile{Username: "alice", Server: address, Fingerprint: id})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lost := errors.New("the line is lost")
	tests := []struct {
		name        string
		event       messenger.Event // after which the session ends, nil before any
		cause, want error
	}{
		{name: "by a person, at the start", cause: nil, want: nil},
		{name: "by a person, while a request is looked for", event: messenger.CaughtUp{}, cause: nil, want: nil},
		{name: "by the server, while a request is looked for", event: messenger.CaughtUp{}, cause: lost, want: lost},
		{name: "by a person, while a message is looked for", event: messenger.MessageReceived{}, cause: nil, want: nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			events := make(chan messenger.Event) // without room: what is taken from it is being looked at
			ended := make(chan error, 1)
			if test.event == nil {
				stop(test.cause)
			}
			p := inboxPrinter{inboxCommand: &inboxCommand{}, session: &session{Client: client, ctx: ctx, events: events}, out: io.Discard, stderr: io.Discard}
			go func() { ended <- p.follow() }()
			if test.event != nil {
				events <- test.event
				stop(test.cause)
			}
			if err := <-ended; !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}
