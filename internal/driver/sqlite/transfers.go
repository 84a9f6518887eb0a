package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// transferStore implements [transfer.Store].
type transferStore struct{ db *DB }

var _ transfer.Store = transferStore{}

// transferDocument is the stored form of what was asked for. Its own type: the
// stored names must not change when a field of the domain is renamed.
type transferDocument struct {
	Type               string `json:"type"`
	Input              string `json:"input,omitempty"`  // sealed
	Output             string `json:"output,omitempty"` // sealed
	InputName          string `json:"inputName,omitempty"`
	OutputName         string `json:"outputName,omitempty"`
	ExcludeKeys        bool   `json:"excludeKeys,omitempty"`
	Configurations     bool   `json:"configurations,omitempty"`
	ConfigurationsName string `json:"configurationsName,omitempty"`
	StorageAuth        string `json:"storageAuth,omitempty"`
}

// transferState is the stored form of how far a job is.
type transferState struct {
	Began       int64  `json:"began,omitempty"`
	Progress    int    `json:"progress,omitempty"`
	Reason      string `json:"reason,omitempty"`
	ETag        string `json:"etag,omitempty"`
	Offset      int64  `json:"offset,omitempty"`
	ErrorBlocks int    `json:"errorBlocks,omitempty"`
	Applied     int    `json:"applied,omitempty"`
	Failed      int    `json:"failed,omitempty"`
	DevicesDone bool   `json:"devicesDone,omitempty"`
}

const (
	selectTransfer = `SELECT hub, id, created, document, status, finished, state FROM transfers `
	unfinished     = `status IN ('enqueued', 'running')`
)

func stateText(s transfer.State) (string, error) {
	p := s.Position
	b, err := json.Marshal(transferState{
		Began: stamp(s.Began), Progress: s.Progress, Reason: s.Reason,
		ETag: p.ETag, Offset: p.Offset, ErrorBlocks: p.ErrorBlocks, Applied: p.Applied, Failed: p.Failed, DevicesDone: p.DevicesDone,
	})
	return string(b), err
}

func scanTransfer(r row) transfer.Job {
	var d transferDocument
	var s transferState
	err := json.Unmarshal([]byte(r.text(3)), &d)
	if err == nil {
		err = json.Unmarshal([]byte(r.text(6)), &s)
	}
	if err != nil {
		d, s = transferDocument{Type: string(transfer.Unknown)}, transferState{} // half of one is worse than none
	}
	return transfer.Job{
		Damaged: err,
		Hub:     r.text(0), ID: r.text(1), Type: transfer.Type(d.Type), Created: instant(r.int(2)),
		Input: causeway.Secret(d.Input), Output: causeway.Secret(d.Output), InputName: d.InputName, OutputName: d.OutputName,
		ExcludeKeys: d.ExcludeKeys, Configurations: d.Configurations, ConfigurationsName: d.ConfigurationsName, StorageAuth: d.StorageAuth,
		State: transfer.State{
			Status: transfer.Status(r.text(4)), Began: instant(s.Began), Finished: instant(r.int(5)), Progress: s.Progress, Reason: s.Reason,
			Position: transfer.Position{ETag: s.ETag, Offset: s.Offset, ErrorBlocks: s.ErrorBlocks, Applied: s.Applied, Failed: s.Failed, DevicesDone: s.DevicesDone},
		},
	}
}

// Create implements [transfer.Store].
func (s transferStore) Create(ctx context.Context, j transfer.Job) error {
	const op = "sqlite.CreateTransfer"
	doc, err := json.Marshal(transferDocument{
		Type: string(j.Type), Input: string(j.Input), Output: string(j.Output), InputName: j.InputName, OutputName: j.OutputName,
		ExcludeKeys: j.ExcludeKeys, Configurations: j.Configurations, ConfigurationsName: j.ConfigurationsName, StorageAuth: j.StorageAuth,
	})
	var state string
	if err == nil {
		state, err = stateText(j.State)
	}
	if err != nil {
		return border("CreateTransfer", fmt.Errorf("job %s of hub %s: %w", j.ID, j.Hub, err))
	}
	args := []any{j.Hub, j.ID, stamp(j.Created), string(doc), string(j.Status), stamp(j.Finished), state}
	return exec(ctx, s.db, "CreateTransfer", len(doc), func(c *conn) error {
		if _, ok, err := c.number("SELECT 1 FROM hubs WHERE name = ?", j.Hub); err != nil || !ok {
			if err == nil {
				err = causeway.Errorf(causeway.GenericNotFound, op, "hub %q does not exist", j.Hub)
			}
			return err
		}
		if _, busy, err := c.number("SELECT 1 FROM transfers WHERE hub = ? AND "+unfinished, j.Hub); err != nil || busy {
			if err == nil {
				err = causeway.Errorf(causeway.JobQuotaExceeded, op, "hub %q has an import or export that has not ended: wait for it, or cancel it", j.Hub)
			}
			return err
		}
		_, err := c.exec("INSERT INTO transfers (hub, id, created, document, status, finished, state) VALUES (?, ?, ?, ?, ?, ?, ?)", args...)
		if constraint(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return causeway.Errorf(causeway.JobAlreadyExists, op, "job %q exists already on hub %q", j.ID, j.Hub)
		}
		return err
	})
}

func (s transferStore) transfers(ctx context.Context, op, text string, args ...any) ([]transfer.Job, error) {
	return read(ctx, s.db, op, func(c *conn) (all []transfer.Job, err error) {
		err = c.query(text, func(r row) error {
			all = append(all, scanTransfer(r))
			return nil
		}, args...)
		return all, err
	})
}

// Get implements [transfer.Store].
func (s transferStore) Get(ctx context.Context, hub, id string) (transfer.Job, error) {
	all, err := s.transfers(ctx, "GetTransfer", selectTransfer+"WHERE hub = ? AND id = ?", hub, id)
	if err != nil {
		return transfer.Job{}, err
	}
	if len(all) == 0 {
		return transfer.Job{}, noJob(hub, id)
	}
	return all[0], nil
}

// List implements [transfer.Store].
func (s transferStore) List(ctx context.Context, hub string, limit int) ([]transfer.Job, error) {
	return s.transfers(ctx, "ListTransfers", selectTransfer+"WHERE hub = ? ORDER BY created DESC, id LIMIT ?", hub, int64(limit))
}

// Unfinished implements [transfer.Store].
func (s transferStore) Unfinished(ctx context.Context) ([]transfer.Job, error) {
	return s.transfers(ctx, "UnfinishedTransfers", selectTransfer+"WHERE "+unfinished+" ORDER BY hub, id")
}

// Save implements [transfer.Store].
func (s transferStore) Save(ctx context.Context, hub, id string, from transfer.Status, to transfer.State) (bool, error) {
	state, err := stateText(to)
	if err != nil {
		return false, border("SaveTransfer", fmt.Errorf("job %s of hub %s: %w", id, hub, err))
	}
	return write(ctx, s.db, "SaveTransfer", len(state), func(c *conn) (bool, error) {
		n, err := c.exec("UPDATE transfers SET status = ?, finished = ?, state = ? WHERE hub = ? AND id = ? AND status = ?",
			string(to.Status), stamp(to.Finished), state, hub, id, string(from))
		if err != nil || n == 1 {
			return n == 1, err
		}
		_, ok, err := c.number("SELECT 1 FROM transfers WHERE hub = ? AND id = ?", hub, id)
		if err == nil && !ok {
			err = noJob(hub, id)
		}
		return false, err
	})
}

// Expire implements [transfer.Store].
func (s transferStore) Expire(ctx context.Context, before time.Time, limit int) (int, error) {
	return write(ctx, s.db, "ExpireTransfers", 0, func(c *conn) (int, error) {
		n, err := c.exec(`DELETE FROM transfers WHERE (hub, id) IN
			(SELECT hub, id FROM transfers WHERE finished > 0 AND finished < ? AND NOT `+unfinished+` LIMIT ?)`, stamp(before), int64(limit))
		return int(n), err
	})
}
