-- How queries find identities without reading all. Devices by their status,
-- edge devices, modules by their names, and who was connected when the program
-- ended.
CREATE INDEX identities_status ON identities (hub, enabled, device) WHERE module = '';
CREATE INDEX identities_edge ON identities (hub, device) WHERE edge = 1 AND module = '';
CREATE INDEX identities_modules ON identities (hub, device, module) WHERE module <> '';
CREATE INDEX identities_module ON identities (hub, module, device) WHERE module <> '';
CREATE INDEX identities_connected ON identities (hub) WHERE connected = 1;
CREATE INDEX configured_identities ON configured (hub, configuration, device, module);

-- Twins by their tags. A hash of the hub, whether it is a module's, the names
-- that lead to a value, and the value: a tag costs some thirty bytes, whatever
-- is in it. Two tags of one hash are told apart by looking at the twins.
CREATE TABLE tag_hashes (
	hash   INTEGER NOT NULL,
	device TEXT NOT NULL,
	module TEXT NOT NULL,
	twin   INTEGER NOT NULL REFERENCES twins ON DELETE CASCADE,
	PRIMARY KEY (hash, device, module)
) STRICT, WITHOUT ROWID;

CREATE INDEX tag_hashes_twin ON tag_hashes (twin);

-- The twins from before that have no hashes yet: those with an id above done, up
-- to last. The program makes them when it opens the database.
CREATE TABLE tags_unhashed (
	done INTEGER NOT NULL,
	last INTEGER NOT NULL
) STRICT;

INSERT INTO tags_unhashed SELECT 0, max(id) FROM twins HAVING max(id) IS NOT NULL;
