-- Times are milliseconds since 1970 UTC.

-- Who the profile belongs to, with every private key. One row.
CREATE TABLE profile (
	id            INTEGER PRIMARY KEY CHECK (id = 1),
	server        TEXT    NOT NULL,
	fingerprint   BLOB    NOT NULL,
	trust         TEXT    NOT NULL,
	invite        BLOB,             -- the code to register with, kept for a server that went back to a backup
	account_seed  BLOB    NOT NULL,
	device_seed   BLOB    NOT NULL,
	message_key   BLOB    NOT NULL,
	file_identity TEXT    NOT NULL,
	device_record BLOB    NOT NULL, -- as registered
	registered    INTEGER NOT NULL  -- whether the server said so
) STRICT;

CREATE TABLE contacts (
	id          INTEGER PRIMARY KEY,
	username    TEXT    NOT NULL UNIQUE,
	account_key BLOB    NOT NULL, -- the pinned one
	pinned_at   INTEGER NOT NULL,
	verified    INTEGER NOT NULL DEFAULT 0,
	new_key     BLOB              -- seen under the name, not accepted
) STRICT;

-- Devices that the pinned key of their contact vouches for.
CREATE TABLE devices (
	contact    INTEGER NOT NULL REFERENCES contacts,
	device_key BLOB    NOT NULL,
	record     BLOB,                       -- as the directory lists it now; NULL if it does not
	sent       INTEGER NOT NULL DEFAULT 0, -- counter of the last text to it
	received   INTEGER NOT NULL DEFAULT 0, -- highest counter of a text from it
	PRIMARY KEY (contact, device_key)
) STRICT, WITHOUT ROWID;

-- The rows of conversations, shown in the order of (position, counter).
CREATE TABLE messages (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	contact    INTEGER NOT NULL REFERENCES contacts,
	position   INTEGER NOT NULL,           -- grows with id; a late message gets that of the gap it fills
	counter    INTEGER NOT NULL DEFAULT 0,
	kind       INTEGER NOT NULL,
	outgoing   INTEGER NOT NULL DEFAULT 0,
	message_id BLOB,                       -- texts only
	text       TEXT    NOT NULL DEFAULT '',
	sent_at    INTEGER NOT NULL,
	stored_at  INTEGER NOT NULL,
	state      INTEGER NOT NULL DEFAULT 0, -- ours only
	relayed    INTEGER NOT NULL DEFAULT 0, -- ours only: the relay took it for at least one device
	reason     TEXT    NOT NULL DEFAULT '',
	missing    INTEGER NOT NULL DEFAULT 0, -- gaps only
	unread     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX messages_by_place ON messages (contact, position, counter);
CREATE INDEX messages_unread ON messages (id) WHERE unread;
CREATE UNIQUE INDEX messages_ours ON messages (message_id) WHERE outgoing;

-- Counters of texts that have not come, though later ones have.
CREATE TABLE gaps (
	contact    INTEGER NOT NULL REFERENCES contacts,
	device_key BLOB    NOT NULL,
	first      INTEGER NOT NULL,
	last       INTEGER NOT NULL,
	message    INTEGER NOT NULL REFERENCES messages,
	PRIMARY KEY (contact, device_key, first)
) STRICT, WITHOUT ROWID;

-- What has come in, for ever: a replay is known by it.
CREATE TABLE seen (
	device_key BLOB NOT NULL,
	message_id BLOB NOT NULL,
	PRIMARY KEY (device_key, message_id)
) STRICT, WITHOUT ROWID;

-- What still has to be submitted, in order for each device.
CREATE TABLE outbox (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	contact   INTEGER NOT NULL REFERENCES contacts,
	device_id BLOB    NOT NULL,
	submit_id BLOB    NOT NULL UNIQUE,
	message   INTEGER REFERENCES messages, -- NULL for receipts
	payload   BLOB    NOT NULL,            -- sealed; a repeat sends these very bytes
	due_at    INTEGER NOT NULL DEFAULT 0   -- not before
) STRICT;

CREATE INDEX outbox_by_device ON outbox (device_id, id);
CREATE INDEX outbox_by_message ON outbox (message);

CREATE TABLE quarantine (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	hash        BLOB    NOT NULL UNIQUE,   -- SHA-256 of the payload
	size        INTEGER NOT NULL,
	reason      TEXT    NOT NULL,
	username    TEXT    NOT NULL DEFAULT '',
	account_key BLOB,                      -- held: shown when this key is accepted for the name
	payload     BLOB,                      -- held only
	received_at INTEGER NOT NULL
) STRICT;

CREATE INDEX quarantine_held ON quarantine (username, account_key) WHERE payload IS NOT NULL;
