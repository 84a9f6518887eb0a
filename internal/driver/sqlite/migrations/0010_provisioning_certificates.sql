-- Certificates of provisioning: those that are revoked, and those that were issued
-- to devices.
CREATE TABLE dps_revocations (
	service   TEXT NOT NULL,
	id        TEXT NOT NULL,
	authority TEXT NOT NULL, -- in lower case; '' for none
	listed    INTEGER NOT NULL, -- 1 when it came with a list of the authority
	document  TEXT NOT NULL,
	PRIMARY KEY (service, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX dps_revocations_listed ON dps_revocations (service, authority, id) WHERE listed;

CREATE TABLE dps_issued (
	service      TEXT NOT NULL,
	serial       TEXT NOT NULL,
	registration TEXT NOT NULL, -- in lower case
	ends         INTEGER NOT NULL, -- microseconds since 1970
	document     TEXT NOT NULL,
	PRIMARY KEY (service, serial)
) STRICT, WITHOUT ROWID;

CREATE INDEX dps_issued_registration ON dps_issued (service, registration, serial);
CREATE INDEX dps_issued_ends ON dps_issued (service, ends);

-- Who refers to an authority or to a credential policy.
CREATE INDEX dps_enrollments_authority ON dps_enrollments (service, lower(document ->> 'authority')) WHERE document ->> 'authority' IS NOT NULL;
CREATE INDEX dps_enrollments_second_authority ON dps_enrollments (service, lower(document ->> 'secondAuthority')) WHERE document ->> 'secondAuthority' IS NOT NULL;
CREATE INDEX dps_enrollments_credential_policy ON dps_enrollments (service, lower(document ->> 'credentialPolicy')) WHERE document ->> 'credentialPolicy' IS NOT NULL;
