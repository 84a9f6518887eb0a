-- What hubs have to say to their back ends: messages of feedback, whose records
-- point here, and file notifications. Positions are never used twice.
CREATE TABLE outbox (
	position   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	hub        TEXT NOT NULL,
	kind       TEXT NOT NULL,
	message_id TEXT NOT NULL,
	enqueued   INTEGER NOT NULL,
	expires    INTEGER NOT NULL,
	deliveries INTEGER NOT NULL, -- abandoned so far
	content    TEXT NOT NULL     -- JSON; empty for feedback
) STRICT;

CREATE INDEX outbox_queue ON outbox (hub, kind, position);
CREATE INDEX outbox_expiry ON outbox (expires);

-- A record expires with the message it is in. It is in none (NULL) until enough
-- others are there or it has waited long enough.
DROP INDEX feedback_hub;
DROP INDEX feedback_expiry;
ALTER TABLE feedback DROP COLUMN expires;
ALTER TABLE feedback ADD COLUMN message INTEGER REFERENCES outbox ON DELETE CASCADE;

CREATE INDEX feedback_pending ON feedback (hub, position) WHERE message IS NULL;
CREATE INDEX feedback_message ON feedback (message) WHERE message IS NOT NULL;
