package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
)

const (
	insertRow = `INSERT INTO job_rows (hub, job, device, module, status, created, started, ended, updated, payload, code, text)
		VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0, ?5, '', '', '') ON CONFLICT DO NOTHING`

	selectRow = `SELECT hub, job, device, module, status, created, started, ended, updated, answer, payload, code, text FROM job_rows `

	rowChanges = `UPDATE job_rows SET status = ?, ended = ?, updated = ?, answer = ?, payload = ?, code = ?, text = ?`

	updateRow = rowChanges + `, started = ? WHERE hub = ? AND job = ? AND device = ? AND module = ? AND status < 2`

	closeRows = rowChanges + ` WHERE hub = ? AND job = ? AND status = ? AND (device, module) IN
		(SELECT device, module FROM job_rows WHERE hub = ? AND job = ? AND status = ? ORDER BY device, module LIMIT ?)`

	dropRows = `DELETE FROM job_rows WHERE hub = ?1 AND job = ?2 AND (device, module) IN
		(SELECT device, module FROM job_rows WHERE hub = ?1 AND job = ?2 LIMIT ?3)`

	selectDeviceJob = `SELECT r.hub, r.job, r.device, r.module, r.status, r.created, r.started, r.ended, r.updated, r.answer, r.payload, r.code, r.text, j.type
		FROM job_rows r JOIN jobs j ON j.hub = r.hub AND j.id = r.job WHERE r.hub = ? `
	inOrder = ` AND (r.job, r.device, r.module) > (?, ?, ?) ORDER BY r.job, r.device, r.module LIMIT ?`
)

// scanJobRow reads a row of selectRow.
func scanJobRow(r row) job.Row {
	out := job.Row{
		ID: causeway.Identity{Hub: r.text(0), Device: r.text(2), Module: r.text(3)}, Job: r.text(1), Status: job.RowStatus(r.int(4)),
		Created: instant(r.int(5)), Started: instant(r.int(6)), Ended: instant(r.int(7)), Updated: instant(r.int(8)),
		Code: r.text(11), Text: r.text(12),
	}
	if status, ok := r[9].(int64); ok {
		out.Answered, out.Answer.Status = true, int(status)
	}
	if p := r.text(10); p != "" {
		out.Answer.Payload = []byte(p)
	}
	return out
}

// changes are the values of rowChanges. They share no memory with r.
func changes(r *job.Row) []any {
	var answer any
	if r.Answered {
		answer = int64(r.Answer.Status)
	}
	return []any{int64(r.Status), stamp(r.Ended), stamp(r.Updated), answer, string(r.Answer.Payload), r.Code, r.Text}
}

// AddRows implements [job.Store].
func (s jobStore) AddRows(ctx context.Context, hub, id string, at time.Time, targets ...causeway.Identity) error {
	when := stamp(at)
	ids := slices.Clone(targets)
	return exec(ctx, s.db, "AddJobRows", 0, func(c *conn) error {
		if err := jobExists(c, hub, id); err != nil {
			return err
		}
		return c.atomic(func() error {
			for _, t := range ids {
				if _, err := c.exec(insertRow, hub, id, t.Device, t.Module, when); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// DropRows implements [job.Store].
func (s jobStore) DropRows(ctx context.Context, hub, id string, limit int) (int, error) {
	return write(ctx, s.db, "DropJobRows", 0, func(c *conn) (int, error) {
		n, err := c.exec(dropRows, hub, id, int64(limit))
		return int(n), err
	})
}

// Rows implements [job.Store].
func (s jobStore) Rows(ctx context.Context, hub, id string, status job.RowStatus, after causeway.Identity, limit int) ([]job.Row, error) {
	return read(ctx, s.db, "JobRows", func(c *conn) (rows []job.Row, err error) {
		err = c.query(selectRow+"WHERE hub = ? AND job = ? AND status = ? AND (device, module) > (?, ?) ORDER BY device, module LIMIT ?", func(r row) error {
			rows = append(rows, scanJobRow(r))
			return nil
		}, hub, id, int64(status), after.Device, after.Module, int64(limit))
		return rows, err
	})
}

// SetRows implements [job.Store].
func (s jobStore) SetRows(ctx context.Context, hub, id string, rows ...job.Row) (int, error) {
	all := make([][]any, len(rows))
	size := 0
	for i := range rows {
		r := &rows[i]
		all[i] = append(changes(r), stamp(r.Started), hub, id, r.ID.Device, r.ID.Module)
		size += len(r.Answer.Payload)
	}
	return write(ctx, s.db, "SetJobRows", size, func(c *conn) (int, error) {
		total := 0
		err := c.atomic(func() error {
			for _, args := range all {
				n, err := c.exec(updateRow, args...)
				if err != nil {
					return err
				}
				total += int(n)
			}
			return nil
		})
		return total, err
	})
}

// CloseRows implements [job.Store].
func (s jobStore) CloseRows(ctx context.Context, hub, id string, from job.RowStatus, end job.Row, limit int) (int, error) {
	args := append(changes(&end), hub, id, int64(from), hub, id, int64(from), int64(limit))
	return write(ctx, s.db, "CloseJobRows", 0, func(c *conn) (int, error) {
		n, err := c.exec(closeRows, args...)
		return int(n), err
	})
}

// Query implements [job.Store].
func (s jobStore) Query(ctx context.Context, hub string, f job.RowFilter, after job.RowCursor, limit int) ([]job.DeviceJob, error) {
	text, args := selectDeviceJob, []any{hub}
	if f.Job != "" {
		text, args = text+" AND r.job = ?", append(args, f.Job)
	}
	if f.Device != "" {
		text, args = text+" AND r.device = ?", append(args, f.Device)
	}
	args = append(args, after.Job, after.Device, after.Module, int64(limit))
	return read(ctx, s.db, "DeviceJobs", func(c *conn) (out []job.DeviceJob, err error) {
		err = c.query(text+inOrder, func(r row) error {
			out = append(out, job.DeviceJob{Row: scanJobRow(r), Type: job.Type(r.text(13))})
			return nil
		}, args...)
		return out, err
	})
}
