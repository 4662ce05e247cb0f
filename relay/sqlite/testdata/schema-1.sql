-- A database of schema 1, as the first version of the relay left it. Never edited.
CREATE TABLE account (
	id         INTEGER PRIMARY KEY,
	username   TEXT NOT NULL UNIQUE,
	key        BLOB NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE device (
	mailbox       INTEGER PRIMARY KEY,
	account       INTEGER NOT NULL REFERENCES account(id),
	id            BLOB NOT NULL UNIQUE,
	key           BLOB NOT NULL,
	record        BLOB NOT NULL,
	registered_at INTEGER NOT NULL
) STRICT;
CREATE INDEX device_account ON device(account);
CREATE TABLE payload (
	id   INTEGER PRIMARY KEY,
	body BLOB NOT NULL
) STRICT;
CREATE TABLE entry (
	sequence    INTEGER PRIMARY KEY,
	mailbox     INTEGER NOT NULL REFERENCES device(mailbox),
	accepted_at INTEGER NOT NULL,
	kind        INTEGER NOT NULL,
	size        INTEGER NOT NULL,
	shared      INTEGER REFERENCES payload(id),
	body        BLOB,
	CHECK ((shared IS NULL) <> (body IS NULL))
) STRICT;
CREATE INDEX entry_mailbox ON entry(mailbox);
CREATE INDEX entry_shared ON entry(shared) WHERE shared IS NOT NULL;
CREATE TABLE submission_recent (
	number      INTEGER PRIMARY KEY,
	mailbox     INTEGER NOT NULL,
	id          BLOB NOT NULL,
	accepted_at INTEGER NOT NULL
) STRICT;
CREATE TABLE submission (
	mailbox     INTEGER NOT NULL,
	id          BLOB NOT NULL,
	accepted_at INTEGER NOT NULL,
	PRIMARY KEY (mailbox, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE sequence_reserved (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	upto INTEGER NOT NULL
) STRICT;
INSERT INTO sequence_reserved VALUES (1, 0);
INSERT INTO account VALUES (1, 'alice', zeroblob(32), 1000), (2, 'bob', zeroblob(32), 1000);
INSERT INTO device VALUES
	(1, 1, x'000102030405060708090a0b0c0d0e0f', zeroblob(32), CAST('record of alice' AS BLOB), 1000),
	(2, 2, x'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', zeroblob(32), CAST('record of bob' AS BLOB), 1000);
INSERT INTO payload VALUES (1, CAST('for both' AS BLOB));
INSERT INTO entry VALUES
	(1, 2, 1000, 1, 7, NULL, CAST('for bob' AS BLOB)),
	(2, 1, 1000, 2, 8, 1, NULL),
	(3, 2, 1000, 2, 8, 1, NULL);
INSERT INTO submission_recent VALUES (1, 1, x'11111111111111111111111111111111', 1000);
INSERT INTO submission VALUES (1, x'22222222222222222222222222222222', 1000);
UPDATE sequence_reserved SET upto = 1048577;
PRAGMA user_version = 1;
