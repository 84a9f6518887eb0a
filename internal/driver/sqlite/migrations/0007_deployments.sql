-- Configurations of automatic device management and edge deployments. One that
-- is leaving is deleted, but what it set may still be in twins.
CREATE TABLE deployments (
	hub      TEXT NOT NULL,
	id       TEXT NOT NULL,
	created  INTEGER NOT NULL,
	updated  INTEGER NOT NULL,
	etag     TEXT NOT NULL,
	pending  INTEGER NOT NULL, -- twins may not be as it wants
	leaving  INTEGER NOT NULL,
	document TEXT NOT NULL,
	PRIMARY KEY (hub, id)
) STRICT, WITHOUT ROWID;

-- What configurations have set on twins, so that it can be taken away again.
CREATE TABLE deployment_traces (
	hub     TEXT NOT NULL,
	device  TEXT NOT NULL,
	module  TEXT NOT NULL,
	edge    TEXT NOT NULL,    -- JSON array of paths
	own     TEXT NOT NULL,    -- JSON array of paths
	manual  TEXT NOT NULL,
	PRIMARY KEY (hub, device, module),
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- How the work on twins ended: one row.
CREATE TABLE deployment_work (
	one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	clean   INTEGER NOT NULL,
	waiting TEXT NOT NULL -- JSON array of [hub, device]
) STRICT;

INSERT INTO deployment_work VALUES (1, 1, '[]');
