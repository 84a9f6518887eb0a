-- Times are nanoseconds since 1970 in UTC, 0 for none. Documents are JSON text.
-- A device has the empty module. Text compares byte by byte.

CREATE TABLE hubs (
	name       TEXT NOT NULL PRIMARY KEY,
	created    INTEGER NOT NULL,
	partitions INTEGER NOT NULL,
	document   TEXT NOT NULL -- hosts, policies (keys sealed), authorities, settings
) STRICT, WITHOUT ROWID;

-- Hubs whose identities are being forgotten, in several transactions.
CREATE TABLE hubs_leaving (
	name TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE identities (
	hub                TEXT NOT NULL,
	device             TEXT NOT NULL,
	module             TEXT NOT NULL,
	generation         TEXT NOT NULL,
	etag               TEXT NOT NULL,
	enabled            INTEGER NOT NULL,
	status_reason      TEXT NOT NULL,
	status_updated     INTEGER NOT NULL,
	created            INTEGER NOT NULL,
	auth_type          TEXT NOT NULL,
	key_primary        TEXT NOT NULL, -- sealed
	key_secondary      TEXT NOT NULL, -- sealed
	thumb_primary      TEXT NOT NULL,
	thumb_secondary    TEXT NOT NULL,
	edge               INTEGER NOT NULL,
	device_scope       TEXT NOT NULL,
	parent_scopes      TEXT NOT NULL, -- JSON array
	managed_by         TEXT NOT NULL,
	connected          INTEGER NOT NULL,
	connection_updated INTEGER NOT NULL,
	last_activity      INTEGER NOT NULL,
	PRIMARY KEY (hub, device, module)
) STRICT, WITHOUT ROWID;

-- A twin is kept in two rows: here what its device writes, often, and in
-- twins_desired what services write, seldom, so that a report does not write
-- tens of kilobytes of desired properties again. With a rowid: documents of some
-- kilobytes stay inside a page of a table, but not inside one of an index, and
-- an update need not touch the key.
CREATE TABLE twins (
	id                INTEGER NOT NULL PRIMARY KEY,
	hub               TEXT NOT NULL,
	device            TEXT NOT NULL,
	module            TEXT NOT NULL,
	version           INTEGER NOT NULL,
	etag              INTEGER NOT NULL,
	model             TEXT NOT NULL,
	desired_version   INTEGER NOT NULL,
	reported_version  INTEGER NOT NULL,
	reported          TEXT NOT NULL,
	reported_metadata TEXT NOT NULL,
	UNIQUE (hub, device, module),
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT;

CREATE TABLE twins_desired (
	twin             INTEGER NOT NULL PRIMARY KEY REFERENCES twins ON DELETE CASCADE,
	tags             TEXT NOT NULL,
	desired          TEXT NOT NULL,
	desired_metadata TEXT NOT NULL
) STRICT;

-- Statistics are asked often, and counting a million rows takes seconds.
CREATE TABLE registry_counts (
	hub        TEXT NOT NULL PRIMARY KEY,
	identities INTEGER NOT NULL, -- devices and modules
	devices    INTEGER NOT NULL,
	enabled    INTEGER NOT NULL  -- devices
) STRICT, WITHOUT ROWID;

CREATE TRIGGER identities_created AFTER INSERT ON identities BEGIN
	INSERT INTO registry_counts (hub, identities, devices, enabled)
	VALUES (new.hub, 1, new.module = '', new.module = '' AND new.enabled)
	ON CONFLICT (hub) DO UPDATE SET
		identities = identities + excluded.identities,
		devices    = devices + excluded.devices,
		enabled    = enabled + excluded.enabled;
END;

CREATE TRIGGER identities_deleted AFTER DELETE ON identities BEGIN
	UPDATE registry_counts SET
		identities = identities - 1,
		devices    = devices - (old.module = ''),
		enabled    = enabled - (old.module = '' AND old.enabled)
	WHERE hub = old.hub;
END;

CREATE TRIGGER identities_enabled AFTER UPDATE OF enabled ON identities
WHEN old.module = '' AND old.enabled <> new.enabled BEGIN
	UPDATE registry_counts SET enabled = enabled + new.enabled - old.enabled WHERE hub = old.hub;
END;

-- Cloud-to-device messages. Positions are never used twice, so that one handed
-- out before a restart cannot mean another message after it.
CREATE TABLE commands (
	position   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	hub        TEXT NOT NULL,
	device     TEXT NOT NULL,
	module     TEXT NOT NULL,
	expires    INTEGER NOT NULL,
	deliveries INTEGER NOT NULL, -- abandoned so far
	ack        TEXT NOT NULL,
	message_id TEXT NOT NULL,
	generation TEXT NOT NULL,
	message    BLOB NOT NULL,    -- envelope
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT;

CREATE INDEX commands_queue ON commands (hub, device, module, position);
CREATE INDEX commands_expiry ON commands (expires);

CREATE TABLE feedback (
	position   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	hub        TEXT NOT NULL,
	device     TEXT NOT NULL,
	module     TEXT NOT NULL,
	message_id TEXT NOT NULL,
	generation TEXT NOT NULL,
	status     TEXT NOT NULL,
	time       INTEGER NOT NULL,
	expires    INTEGER NOT NULL,
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT;

CREATE INDEX feedback_hub ON feedback (hub, position);
CREATE INDEX feedback_identity ON feedback (hub, device, module);
CREATE INDEX feedback_expiry ON feedback (expires);

-- Subscriptions of persistent MQTT sessions.
CREATE TABLE sessions (
	hub     TEXT NOT NULL,
	device  TEXT NOT NULL,
	module  TEXT NOT NULL,
	filters TEXT NOT NULL, -- JSON array of [filter, qos]
	PRIMARY KEY (hub, device, module),
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
