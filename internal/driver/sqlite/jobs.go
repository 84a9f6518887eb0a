package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
)

// jobStore implements [job.Store].
type jobStore struct{ db *DB }

var _ job.Store = jobStore{}

// jobDocument is the stored form of what a job does. Its own type: the stored
// names must not change when a field of the domain is renamed.
type jobDocument struct {
	ETag     string          `json:"etag,omitempty"`
	Tags     json.RawMessage `json:"tags,omitempty"`
	Desired  json.RawMessage `json:"desired,omitempty"`
	Method   string          `json:"method,omitempty"`
	Payload  json.RawMessage `json:"payload,omitempty"`
	Response time.Duration   `json:"response,omitempty"`
	Connect  time.Duration   `json:"connect,omitempty"`
}

const (
	insertJob = `INSERT INTO jobs (hub, id, type, condition, document, created, start, window, status, began, finished, selected, settled, reason, message)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15 WHERE EXISTS (SELECT 1 FROM hubs WHERE name = ?1)`

	selectJob = `SELECT hub, id, type, condition, document, created, start, window, status, began, finished, selected, settled, reason, message,
		devices, pending, running, succeeded, failed FROM jobs `

	// The cursor is a row value of mixed directions, which has to be spelled out.
	listJobs = selectJob + `WHERE hub = ?1 AND (?2 = '' OR type = ?2) AND (?3 = '' OR status = ?3)
		AND created <= ?4 AND (created < ?4 OR id > ?5) ORDER BY created DESC, id LIMIT ?6`

	advanceJob = `UPDATE jobs SET status = ?, began = ?, finished = ?, selected = ?, settled = ?, reason = ?, message = ?
		WHERE hub = ? AND id = ? AND status = ? AND settled = 0`
)

// forgetJobs delete up to some rows, then jobs, of a hub that leaves.
var forgetJobs = []string{
	`DELETE FROM job_rows WHERE hub = ?1 AND (job, device, module) IN (SELECT job, device, module FROM job_rows WHERE hub = ?1 LIMIT ?2)`,
	`DELETE FROM jobs WHERE hub = ?1 AND id IN (SELECT id FROM jobs WHERE hub = ?1 LIMIT ?2)`,
	`DELETE FROM transfers WHERE hub = ?1 AND id IN (SELECT id FROM transfers WHERE hub = ?1 LIMIT ?2)`,
}

// Create implements [job.Store].
func (s jobStore) Create(ctx context.Context, j job.Job) error {
	doc, err := json.Marshal(jobDocument{
		ETag: j.Twin.ETag, Tags: j.Twin.Tags, Desired: j.Twin.Desired,
		Method: j.Method.Name, Payload: j.Method.Payload, Response: j.Method.ResponseWait, Connect: j.Method.PickWait,
	})
	if err != nil {
		return border("CreateJob", fmt.Errorf("job %s of hub %s: %w", j.ID, j.Hub, err))
	}
	args := []any{
		j.Hub, j.ID, string(j.Type), j.Condition, string(doc), stamp(j.Created), stamp(j.Start), int64(j.Window),
		string(j.Status), stamp(j.Began), stamp(j.Finished), flag(j.Selected), flag(j.Settled), j.Reason, j.Message,
	}
	return exec(ctx, s.db, "CreateJob", len(doc), func(c *conn) error {
		n, err := c.exec(insertJob, args...)
		switch {
		case constraint(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return causeway.Errorf(causeway.JobAlreadyExists, "sqlite.CreateJob", "job %q exists already on hub %q", j.ID, j.Hub)
		case err == nil && n == 0:
			return causeway.Errorf(causeway.GenericNotFound, "sqlite.CreateJob", "hub %q does not exist", j.Hub)
		}
		return err
	})
}

// scanJob reads a row of selectJob.
func scanJob(r row) job.Job {
	var d jobDocument
	damaged := json.Unmarshal([]byte(r.text(4)), &d)
	if damaged != nil {
		d = jobDocument{} // half of one is worse than none
	}
	return job.Job{
		Damaged: damaged,
		Hub:     r.text(0), ID: r.text(1), Type: job.Type(r.text(2)), Condition: r.text(3),
		Twin:    job.Twin{ETag: d.ETag, Tags: d.Tags, Desired: d.Desired},
		Method:  job.Method{Name: d.Method, Payload: d.Payload, ResponseWait: d.Response, PickWait: d.Connect},
		Created: instant(r.int(5)), Start: instant(r.int(6)), Window: time.Duration(r.int(7)),
		State: job.State{
			Status: job.Status(r.text(8)), Began: instant(r.int(9)), Finished: instant(r.int(10)),
			Selected: r.bool(11), Settled: r.bool(12), Reason: r.text(13), Message: r.text(14),
		},
		Statistics: job.Statistics{Devices: int(r.int(15)), Pending: int(r.int(16)), Running: int(r.int(17)), Succeeded: int(r.int(18)), Failed: int(r.int(19))},
	}
}

// jobs runs a query of selectJob.
func (s jobStore) jobs(ctx context.Context, op, text string, args ...any) ([]job.Job, error) {
	return read(ctx, s.db, op, func(c *conn) (all []job.Job, err error) {
		err = c.query(text, func(r row) error {
			all = append(all, scanJob(r))
			return nil
		}, args...)
		return all, err
	})
}

func noJob(hub, id string) error {
	return causeway.Errorf(causeway.JobNotFound, "sqlite.Job", "job %q does not exist on hub %q", id, hub)
}

// Get implements [job.Store].
func (s jobStore) Get(ctx context.Context, hub, id string) (job.Job, error) {
	all, err := s.jobs(ctx, "GetJob", selectJob+"WHERE hub = ? AND id = ?", hub, id)
	if err != nil {
		return job.Job{}, err
	}
	if len(all) == 0 {
		return job.Job{}, noJob(hub, id)
	}
	return all[0], nil
}

// List implements [job.Store].
func (s jobStore) List(ctx context.Context, hub string, f job.Filter, after job.Cursor, limit int) ([]job.Job, error) {
	at := stamp(after.Created)
	if after.ID == "" {
		at = 1<<63 - 1
	}
	return s.jobs(ctx, "ListJobs", listJobs, hub, string(f.Type), string(f.Status), at, after.ID, int64(limit))
}

// Unsettled implements [job.Store].
func (s jobStore) Unsettled(ctx context.Context) ([]job.Job, error) {
	return s.jobs(ctx, "UnsettledJobs", selectJob+"WHERE settled = 0 ORDER BY hub, id")
}

// Old implements [job.Store].
func (s jobStore) Old(ctx context.Context, before time.Time, limit int) ([]job.Job, error) {
	return s.jobs(ctx, "OldJobs", selectJob+"WHERE settled = 1 AND finished < ? ORDER BY finished LIMIT ?", stamp(before), int64(limit))
}

// Advance implements [job.Store].
func (s jobStore) Advance(ctx context.Context, hub, id string, from job.Status, to job.State) (bool, error) {
	return write(ctx, s.db, "AdvanceJob", 0, func(c *conn) (bool, error) {
		n, err := c.exec(advanceJob, string(to.Status), stamp(to.Began), stamp(to.Finished), flag(to.Selected), flag(to.Settled), to.Reason, to.Message,
			hub, id, string(from))
		if err != nil || n == 1 {
			return n == 1, err
		}
		return false, jobExists(c, hub, id)
	})
}

func jobExists(c *conn, hub, id string) error {
	_, ok, err := c.number("SELECT 1 FROM jobs WHERE hub = ? AND id = ?", hub, id)
	if err == nil && !ok {
		err = noJob(hub, id)
	}
	return err
}

// Delete implements [job.Store].
func (s jobStore) Delete(ctx context.Context, hub, id string) (bool, error) {
	return write(ctx, s.db, "DeleteJob", 0, func(c *conn) (bool, error) {
		if _, err := c.exec("DELETE FROM jobs WHERE hub = ? AND id = ? AND settled = 1 AND devices = 0", hub, id); err != nil {
			return false, err
		}
		_, left, err := c.number("SELECT 1 FROM jobs WHERE hub = ? AND id = ?", hub, id)
		return !left, err
	})
}
