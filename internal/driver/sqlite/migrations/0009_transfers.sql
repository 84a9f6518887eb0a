-- Imports and exports of identities. The addresses in documents are sealed.
CREATE TABLE transfers (
	hub      TEXT NOT NULL,
	id       TEXT NOT NULL,
	created  INTEGER NOT NULL,
	document TEXT NOT NULL, -- what was asked for
	status   TEXT NOT NULL,
	finished INTEGER NOT NULL,
	state    TEXT NOT NULL, -- how far it is
	PRIMARY KEY (hub, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX transfers_newest ON transfers (hub, created DESC, id);
CREATE INDEX transfers_old ON transfers (finished) WHERE finished > 0;
