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
	file_identity TEXT    NOT NULL,
	device_record BLOB    NOT NULL,            -- as registered
	registered    INTEGER NOT NULL,            -- whether the server said so
	cursor        INTEGER NOT NULL DEFAULT 0,  -- the last envelope that was taken in
	restored_at   INTEGER NOT NULL DEFAULT 0,  -- when it was last found to be an older copy of itself
	receipts      INTEGER NOT NULL DEFAULT 3   -- which ones are sent, see ReceiptPolicy
) STRICT;

CREATE TABLE contacts (
	id          INTEGER PRIMARY KEY,
	username    TEXT    NOT NULL UNIQUE,
	account_key BLOB    NOT NULL, -- the pinned one
	pinned_at   INTEGER NOT NULL,
	verified    INTEGER NOT NULL DEFAULT 0,
	new_key     BLOB,             -- seen under the name, not accepted
	accepted    INTEGER NOT NULL DEFAULT 0, -- the person writes to it, or took its request
	blocked     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE conversations (
	id         INTEGER PRIMARY KEY,
	public_id  BLOB    NOT NULL UNIQUE,
	kind       INTEGER NOT NULL,
	state      INTEGER NOT NULL,
	contact    INTEGER UNIQUE REFERENCES contacts, -- of a direct one: the other person
	inviter    TEXT    NOT NULL DEFAULT '',        -- who brought us in; empty if we made it
	name       TEXT    NOT NULL DEFAULT '',
	expiry     INTEGER NOT NULL DEFAULT 0,         -- seconds after which messages disappear; 0 for never
	sent       INTEGER NOT NULL DEFAULT 0,         -- counter of our last message
	created_at INTEGER NOT NULL,
	active_at  INTEGER NOT NULL                    -- of the last row
) STRICT;

-- MLS groups. A conversation moves to another one when it cannot go on in the old.
CREATE TABLE groups (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation INTEGER NOT NULL REFERENCES conversations,
	group_id     BLOB    NOT NULL UNIQUE,
	incarnation  INTEGER NOT NULL,
	descriptor   BLOB    NOT NULL,           -- as in the GroupContext
	state        INTEGER NOT NULL,
	epoch        INTEGER NOT NULL,
	awaited      INTEGER NOT NULL DEFAULT 0, -- an epoch that others are in and we are not; 0 for none
	awaited_at   INTEGER NOT NULL DEFAULT 0, -- since when
	failures     INTEGER NOT NULL DEFAULT 0, -- messages of this epoch that did not open
	asked_at     INTEGER NOT NULL DEFAULT 0, -- when the members were asked to take us in again
	asked        INTEGER NOT NULL DEFAULT 0, -- how often
	sent         INTEGER NOT NULL DEFAULT 0, -- messages since our last commit
	renewed_at   INTEGER NOT NULL,           -- when that was
	changed_at   INTEGER NOT NULL            -- when the state last changed
) STRICT;

CREATE INDEX groups_by_conversation ON groups (conversation, state, incarnation);

-- What mls keeps of each group.
CREATE TABLE records (
	grp   INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
	key   BLOB    NOT NULL,
	value BLOB    NOT NULL,
	PRIMARY KEY (grp, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
	grp         INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
	device_id   BLOB    NOT NULL,
	device_key  BLOB    NOT NULL,
	leaf        INTEGER NOT NULL,
	username    TEXT    NOT NULL,
	account_key BLOB    NOT NULL,
	since       INTEGER NOT NULL, -- when the leaf came, as far as we saw
	asked_at    INTEGER NOT NULL DEFAULT 0, -- when it last asked to be taken in again, by its own clock
	helped_at   INTEGER NOT NULL DEFAULT 0, -- and when we began to help, if it has not come back yet
	PRIMARY KEY (grp, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_name ON members (username);

-- Delivery lists of the epochs in which messages can still be opened.
CREATE TABLE epochs (
	grp       INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
	epoch     INTEGER NOT NULL,
	list_hash BLOB    NOT NULL,
	alarmed   INTEGER NOT NULL DEFAULT 0, -- the person was told that the relay used another
	ended_at  INTEGER NOT NULL DEFAULT 0, -- 0 for the current one
	PRIMARY KEY (grp, epoch)
) STRICT, WITHOUT ROWID;

-- The rows of conversations, shown in the order of (position, counter).
CREATE TABLE messages (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation INTEGER NOT NULL REFERENCES conversations,
	position     INTEGER NOT NULL,           -- grows with id; a late message gets that of the gap it fills
	counter      INTEGER NOT NULL DEFAULT 0,
	kind         INTEGER NOT NULL,
	sender       TEXT    NOT NULL DEFAULT '', -- empty for a notice
	outgoing     INTEGER NOT NULL DEFAULT 0,
	message_id   BLOB,                       -- texts only
	text         TEXT    NOT NULL DEFAULT '',
	reply_to     BLOB,
	edited_at    INTEGER NOT NULL DEFAULT 0,
	deleted      INTEGER NOT NULL DEFAULT 0, -- taken back; the text is gone
	ttl          INTEGER NOT NULL DEFAULT 0, -- seconds from reading to disappearing; 0 for never
	expires_at   INTEGER NOT NULL DEFAULT 0, -- set when it was read
	sent_at      INTEGER NOT NULL,
	stored_at    INTEGER NOT NULL,
	state        INTEGER NOT NULL DEFAULT 0, -- ours only
	reason       TEXT    NOT NULL DEFAULT '',
	missing      INTEGER NOT NULL DEFAULT 0, -- gaps only
	unread       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX messages_by_place ON messages (conversation, position, counter);
CREATE INDEX messages_unread ON messages (conversation, id) WHERE unread;
CREATE INDEX messages_expiring ON messages (expires_at) WHERE expires_at > 0;
CREATE UNIQUE INDEX messages_by_id ON messages (message_id) WHERE message_id IS NOT NULL;

-- What is searched: the words of texts, and one that no keyboard has for the
-- conversation, so that a search in one does not look at those of all others. Short
-- beginnings of words have indexes of their own: common ones are in most texts.
CREATE VIEW searchable AS SELECT id, char(57344) || conversation || ' ' || text AS words FROM messages WHERE kind = 1;
CREATE VIRTUAL TABLE messages_text USING fts5(words, content = searchable, content_rowid = id, prefix = '1 2 3',
	tokenize = 'unicode61 remove_diacritics 2');
-- The words of what was deleted do not stay in the index.
INSERT INTO messages_text (messages_text, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER messages_text_insert AFTER INSERT ON messages WHEN new.kind = 1 BEGIN
	INSERT INTO messages_text (rowid, words) VALUES (new.id, char(57344) || new.conversation || ' ' || new.text);
END;
CREATE TRIGGER messages_text_delete AFTER DELETE ON messages WHEN old.kind = 1 BEGIN
	INSERT INTO messages_text (messages_text, rowid, words) VALUES ('delete', old.id, char(57344) || old.conversation || ' ' || old.text);
END;
CREATE TRIGGER messages_text_update AFTER UPDATE OF text ON messages WHEN old.kind = 1 BEGIN
	INSERT INTO messages_text (messages_text, rowid, words) VALUES ('delete', old.id, char(57344) || old.conversation || ' ' || old.text);
	INSERT INTO messages_text (rowid, words) VALUES (new.id, char(57344) || new.conversation || ' ' || new.text);
END;

CREATE TABLE reactions (
	target      BLOB    NOT NULL, -- a message id
	sender      TEXT    NOT NULL,
	emoji       TEXT    NOT NULL,
	reaction_id BLOB    NOT NULL UNIQUE,
	PRIMARY KEY (target, sender, emoji)
) STRICT, WITHOUT ROWID;

-- Edits and deletions of messages that have not come yet.
CREATE TABLE early (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation INTEGER NOT NULL REFERENCES conversations,
	target       BLOB    NOT NULL,
	sender       TEXT    NOT NULL,
	text         TEXT,             -- NULL for a deletion
	sent_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX early_by_target ON early (target);

-- Who confirmed a message of ours, and how.
CREATE TABLE receipts (
	message  INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
	username TEXT    NOT NULL,
	state    INTEGER NOT NULL,
	PRIMARY KEY (message, username)
) STRICT, WITHOUT ROWID;

-- What we have to confirm.
CREATE TABLE owed (
	conversation INTEGER NOT NULL REFERENCES conversations,
	message_id   BLOB    NOT NULL,
	state        INTEGER NOT NULL,
	PRIMARY KEY (conversation, message_id)
) STRICT, WITHOUT ROWID;

-- Counters of texts that have not come, though later ones have.
CREATE TABLE gaps (
	conversation INTEGER NOT NULL REFERENCES conversations,
	device_id    BLOB    NOT NULL,
	first        INTEGER NOT NULL,
	last         INTEGER NOT NULL,
	message      INTEGER NOT NULL REFERENCES messages,
	PRIMARY KEY (conversation, device_id, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
	conversation INTEGER NOT NULL REFERENCES conversations,
	device_id    BLOB    NOT NULL,
	received     INTEGER NOT NULL, -- highest counter of a text from it
	PRIMARY KEY (conversation, device_id)
) STRICT, WITHOUT ROWID;

-- What has come in, for ever: a repeat is known by it.
CREATE TABLE seen (
	message_id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What still has to be submitted, in order for each queue.
CREATE TABLE outbox (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation INTEGER NOT NULL REFERENCES conversations,
	queue        INTEGER NOT NULL,           -- conversation * 4 + lane
	kind         INTEGER NOT NULL,
	submit_id    BLOB    NOT NULL UNIQUE,
	message      INTEGER REFERENCES messages, -- whose state it decides
	message_id   BLOB,
	counter      INTEGER NOT NULL DEFAULT 0, -- of a text, given when it is first sealed
	body         BLOB    NOT NULL,           -- content or an action, in the clear
	sent_at      INTEGER NOT NULL,
	grp          INTEGER REFERENCES groups,  -- sealed for this group
	epoch        INTEGER NOT NULL DEFAULT 0,
	sealed       BLOB,                       -- a repeat submits these very bytes
	welcome      BLOB,
	members      BLOB,                       -- device ids of the epoch that begins
	welcomed     BLOB,
	due_at       INTEGER NOT NULL DEFAULT 0, -- not before
	tries        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX outbox_by_queue ON outbox (queue, id);
CREATE INDEX outbox_by_message ON outbox (message);
CREATE INDEX outbox_by_group ON outbox (grp);

-- Messages of ours that failed, to be tried again.
CREATE TABLE unsent (
	message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE,
	body    BLOB    NOT NULL
) STRICT;

-- Ids of the last submissions, the newest last: the relay names one of them, or
-- this is a copy of the profile that others went on from.
CREATE TABLE submits (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	submit_id BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE key_packages (
	ref         BLOB    PRIMARY KEY,
	private     BLOB    NOT NULL,
	last_resort INTEGER NOT NULL,
	published   INTEGER NOT NULL DEFAULT 0,
	expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Envelopes of epochs or groups that have not begun here.
CREATE TABLE strays (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	group_id  BLOB    NOT NULL,
	epoch     INTEGER NOT NULL,
	kind      INTEGER NOT NULL,
	payload   BLOB    NOT NULL,
	list_hash BLOB    NOT NULL,
	stored_at INTEGER NOT NULL
) STRICT;

CREATE INDEX strays_by_group ON strays (group_id, epoch, id);

-- Groups whose envelopes come in though this device is not in them: it may have been,
-- before it was restored from a backup.
CREATE TABLE unknown_groups (
	group_id BLOB    PRIMARY KEY,
	seen_at  INTEGER NOT NULL,
	asked_at INTEGER NOT NULL DEFAULT 0, -- when its members were asked to take us in again
	asked    INTEGER NOT NULL DEFAULT 0, -- how often
	unwanted INTEGER NOT NULL DEFAULT 0  -- an invitation was refused: nobody is asked
) STRICT, WITHOUT ROWID;

-- Welcomes that wait for a decision about an account's key. With released set, it
-- was taken.
CREATE TABLE held (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	released    INTEGER NOT NULL DEFAULT 0,
	username    TEXT    NOT NULL,
	account_key BLOB    NOT NULL,
	group_id    BLOB    NOT NULL,
	payload     BLOB    NOT NULL,
	list_hash   BLOB    NOT NULL
) STRICT;

CREATE TABLE quarantine (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	hash        BLOB    NOT NULL UNIQUE,   -- SHA-256 of the payload
	size        INTEGER NOT NULL,
	reason      TEXT    NOT NULL,
	username    TEXT    NOT NULL DEFAULT '',
	received_at INTEGER NOT NULL
) STRICT;
