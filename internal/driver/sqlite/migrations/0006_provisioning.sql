-- Provisioning services. Ids are kept in lower case as keys, and as they were
-- spelled in the documents. Secrets in documents are sealed.
CREATE TABLE dps_services (
	name     TEXT NOT NULL PRIMARY KEY,
	document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dps_enrollments (
	service  TEXT NOT NULL,
	grouped  INTEGER NOT NULL, -- 1 for an enrollment group
	id       TEXT NOT NULL,
	etag     TEXT NOT NULL,
	document TEXT NOT NULL,
	PRIMARY KEY (service, grouped, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE dps_registrations (
	service   TEXT NOT NULL,
	id        TEXT NOT NULL,
	groupid   TEXT NOT NULL, -- '' for a device with an enrollment of its own
	assigning INTEGER NOT NULL,
	etag      TEXT NOT NULL,
	document  TEXT NOT NULL,
	PRIMARY KEY (service, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX dps_registrations_group ON dps_registrations (service, groupid, id) WHERE groupid <> '';
CREATE INDEX dps_registrations_assigning ON dps_registrations (service, id) WHERE assigning;

-- Counting a million enrollments takes too long.
CREATE TABLE dps_counts (
	service TEXT NOT NULL,
	grouped INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	PRIMARY KEY (service, grouped)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER dps_enrollments_created AFTER INSERT ON dps_enrollments BEGIN
	INSERT INTO dps_counts (service, grouped, number) VALUES (new.service, new.grouped, 1)
	ON CONFLICT (service, grouped) DO UPDATE SET number = number + 1;
END;

CREATE TRIGGER dps_enrollments_deleted AFTER DELETE ON dps_enrollments BEGIN
	UPDATE dps_counts SET number = number - 1 WHERE service = old.service AND grouped = old.grouped;
END;
