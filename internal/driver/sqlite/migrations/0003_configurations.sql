-- Which configurations target or have been applied to an identity. A row each,
-- so that the identities of a configuration are found; the identity has them all
-- as one object, so that a record is read without looking here.
ALTER TABLE identities ADD COLUMN configurations TEXT NOT NULL DEFAULT '{}';

CREATE TABLE configured (
	hub           TEXT NOT NULL,
	device        TEXT NOT NULL,
	module        TEXT NOT NULL,
	configuration TEXT NOT NULL,
	status        TEXT NOT NULL,
	PRIMARY KEY (hub, device, module, configuration),
	FOREIGN KEY (hub, device, module) REFERENCES identities ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX configured_status ON configured (hub, configuration, status, device, module);

-- Merge patches: a name may have any character, and null takes a member out.
CREATE TRIGGER configured_inserted AFTER INSERT ON configured BEGIN
	UPDATE identities SET configurations = json_patch(configurations, json_object(new.configuration, new.status))
	WHERE hub = new.hub AND device = new.device AND module = new.module;
END;

CREATE TRIGGER configured_updated AFTER UPDATE OF status ON configured BEGIN
	UPDATE identities SET configurations = json_patch(configurations, json_object(new.configuration, new.status))
	WHERE hub = new.hub AND device = new.device AND module = new.module;
END;

CREATE TRIGGER configured_deleted AFTER DELETE ON configured BEGIN
	UPDATE identities SET configurations = json_patch(configurations, json_object(old.configuration, NULL))
	WHERE hub = old.hub AND device = old.device AND module = old.module;
END;
