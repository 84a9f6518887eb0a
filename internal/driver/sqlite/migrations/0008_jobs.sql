-- Scheduled jobs, and what they did to each device. Statistics are asked often
-- while a job runs, and counting a million rows takes seconds: triggers keep them.
CREATE TABLE jobs (
	hub       TEXT NOT NULL,
	id        TEXT NOT NULL,
	type      TEXT NOT NULL,
	condition TEXT NOT NULL,
	document  TEXT NOT NULL, -- what is done: a twin, or a method
	created   INTEGER NOT NULL,
	start     INTEGER NOT NULL,
	window    INTEGER NOT NULL, -- nanoseconds
	status    TEXT NOT NULL,
	began     INTEGER NOT NULL,
	finished  INTEGER NOT NULL,
	selected  INTEGER NOT NULL,
	settled   INTEGER NOT NULL,
	reason    TEXT NOT NULL,
	message   TEXT NOT NULL,
	devices   INTEGER NOT NULL DEFAULT 0,
	pending   INTEGER NOT NULL DEFAULT 0,
	running   INTEGER NOT NULL DEFAULT 0,
	succeeded INTEGER NOT NULL DEFAULT 0,
	failed    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (hub, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_newest ON jobs (hub, created DESC, id);
CREATE INDEX jobs_unsettled ON jobs (hub, id) WHERE settled = 0;
CREATE INDEX jobs_old ON jobs (finished) WHERE settled = 1;

-- Status: 0 pending, 1 running, 2 completed, 3 failed, 4 canceled.
CREATE TABLE job_rows (
	hub     TEXT NOT NULL,
	job     TEXT NOT NULL,
	device  TEXT NOT NULL,
	module  TEXT NOT NULL,
	status  INTEGER NOT NULL,
	created INTEGER NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	updated INTEGER NOT NULL,
	answer  INTEGER, -- status that the device answered with, NULL for none
	payload TEXT NOT NULL,
	code    TEXT NOT NULL,
	text    TEXT NOT NULL,
	PRIMARY KEY (hub, job, device, module),
	FOREIGN KEY (hub, job) REFERENCES jobs ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX job_rows_status ON job_rows (hub, job, status, device, module);
CREATE INDEX job_rows_device ON job_rows (hub, device, job, module);

CREATE TRIGGER job_rows_added AFTER INSERT ON job_rows BEGIN
	UPDATE jobs SET devices = devices + 1, pending = pending + (new.status = 0), running = running + (new.status = 1),
		succeeded = succeeded + (new.status = 2), failed = failed + (new.status = 3)
		WHERE hub = new.hub AND id = new.job;
END;

CREATE TRIGGER job_rows_changed AFTER UPDATE OF status ON job_rows WHEN old.status <> new.status BEGIN
	UPDATE jobs SET pending = pending + (new.status = 0) - (old.status = 0), running = running + (new.status = 1) - (old.status = 1),
		succeeded = succeeded + (new.status = 2) - (old.status = 2), failed = failed + (new.status = 3) - (old.status = 3)
		WHERE hub = new.hub AND id = new.job;
END;

CREATE TRIGGER job_rows_dropped AFTER DELETE ON job_rows BEGIN
	UPDATE jobs SET devices = devices - 1, pending = pending - (old.status = 0), running = running - (old.status = 1),
		succeeded = succeeded - (old.status = 2), failed = failed - (old.status = 3)
		WHERE hub = old.hub AND id = old.job;
END;
