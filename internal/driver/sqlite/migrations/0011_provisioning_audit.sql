-- What provisioning services decided, and why.
CREATE TABLE dps_decisions (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	service      TEXT NOT NULL,
	registration TEXT NOT NULL, -- in lower case
	at           INTEGER NOT NULL, -- microseconds since 1970
	document     TEXT NOT NULL
) STRICT;

CREATE INDEX dps_decisions_service ON dps_decisions (service, seq);
CREATE INDEX dps_decisions_registration ON dps_decisions (service, registration, seq);
