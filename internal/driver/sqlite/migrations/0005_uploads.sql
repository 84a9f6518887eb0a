-- Rights of devices to upload a file, until they are completed; expired ones are
-- forgotten after a while.
CREATE TABLE uploads (
	hub         TEXT NOT NULL,
	device      TEXT NOT NULL,
	correlation TEXT NOT NULL,
	module      TEXT NOT NULL DEFAULT '', -- always empty: what the reference below needs
	host        TEXT NOT NULL,
	container   TEXT NOT NULL,
	blob        TEXT NOT NULL,
	expires     INTEGER NOT NULL,
	PRIMARY KEY (hub, device, correlation),
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_identity ON uploads (hub, device, module);
CREATE INDEX uploads_expiry ON uploads (expires);
