// Package messenger is the client that every front end stands on: one account
// on one device, its contacts, its conversations, its outbox, and the line to
// the relay. It has no screen.
//
// It promises:
//
//   - What [Client.Send] took is on disk when it returns. It goes out in order
//     per recipient, through reconnects and restarts, and the other side sees it
//     exactly once.
//   - What arrived is on disk before the relay is told to delete it, and is
//     shown once. What cannot be opened is put aside with a reason in words, and
//     stops nothing else.
//   - A message is shown under a name only if the account key pinned for that
//     name vouches for it. A changed key is never silent.
//   - Everything a profile keeps is in one encrypted file. Nothing that people
//     say is sent but sealed by MLS (RFC 9420); there is no path for plaintext.
//   - A device that cannot follow a conversation, for one because it is a copy
//     restored from a backup, notices, comes back by itself, and says what it may
//     have missed.
//
// The road of a message: [Client.Send] (send.go) writes it into the outbox
// (outbox.go); Run (run.go) seals and submits it (submit.go). What comes in is
// opened (receive.go, join.go) and shown (show.go). Changes of a group are actions
// (members.go, action.go); who may make them says policy.go; heal.go brings back
// who was lost.
//
// It does not format, colour or translate: text that other people wrote comes
// out as it came in, and the front end makes it harmless before it shows it.
//
// The methods of a [Client] may be called from several goroutines.
package messenger
