package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// dpsDecisionDocument is the stored form of a decision.
type dpsDecisionDocument struct {
	ID         string                 `json:"id"`
	Operation  string                 `json:"operation,omitempty"`
	Enrollment string                 `json:"enrollment,omitempty"`
	Group      bool                   `json:"group,omitempty"`
	Kind       dps.Kind               `json:"kind,omitempty"`
	Transport  string                 `json:"transport,omitempty"`
	Remote     string                 `json:"remote,omitempty"`
	Client     string                 `json:"client,omitempty"`
	Outcome    dps.Status             `json:"outcome"`
	Hub        string                 `json:"hub,omitempty"`
	From       string                 `json:"from,omitempty"`
	DeviceID   string                 `json:"deviceId,omitempty"`
	Substatus  dps.Substatus          `json:"substatus,omitempty"`
	Code       int                    `json:"code,omitempty"`
	Message    string                 `json:"message,omitempty"`
	Policy     dps.Policy             `json:"policy,omitempty"`
	Reason     string                 `json:"reason,omitempty"`
	Region     string                 `json:"region,omitempty"`
	Webhook    int                    `json:"webhook,omitempty"`
	Candidates []dpsCandidateDocument `json:"candidates,omitempty"`
	Took       time.Duration          `json:"took,omitempty"`
	Skipped    int                    `json:"skipped,omitempty"`
}

type dpsCandidateDocument struct {
	Host      string `json:"host"`
	Weight    int    `json:"weight"`
	Region    string `json:"region,omitempty"`
	Latency   int    `json:"latency"`
	Unhealthy bool   `json:"unhealthy,omitempty"`
}

const insertDecision = "INSERT INTO dps_decisions (service, registration, at, document) VALUES (?, ?, ?, ?)"

// decisionRows are the values of decisions as in insertDecision. They share no
// memory with d.
func decisionRows(service string, d []dps.Decision) (rows [][4]any, size int, err error) {
	for k := range d {
		v := &d[k]
		doc := dpsDecisionDocument{
			ID: v.Registration, Operation: v.Operation, Enrollment: v.Enrollment, Group: v.Group, Kind: v.Kind, Transport: v.Transport, Remote: v.Remote,
			Client: v.Client, Outcome: v.Outcome, Hub: v.Hub, From: v.From, DeviceID: v.DeviceID, Substatus: v.Substatus, Code: v.Code, Message: v.Message,
			Policy: v.Why.Policy, Reason: v.Why.Reason, Region: v.Why.Region, Webhook: v.Why.Webhook, Took: v.Took, Skipped: v.Skipped,
		}
		for _, c := range v.Why.Candidates {
			doc.Candidates = append(doc.Candidates, dpsCandidateDocument(c))
		}
		text, err := json.Marshal(doc)
		if err != nil {
			return nil, 0, fmt.Errorf("write decision: %w", err)
		}
		rows = append(rows, [4]any{service, strings.ToLower(v.Registration), v.At.UnixMicro(), string(text)})
		size += len(text)
	}
	return rows, size, nil
}

func insertDecisions(c *conn, rows [][4]any) error {
	for _, r := range rows {
		if _, err := c.exec(insertDecision, r[:]...); err != nil {
			return err
		}
	}
	return nil
}

// PutDecisions implements [dps.DecisionStore].
func (s dpsStore) PutDecisions(ctx context.Context, service string, d ...dps.Decision) error {
	rows, size, err := decisionRows(service, d)
	if err != nil {
		return err
	}
	return exec(ctx, s.db, "PutDecisions", size, func(c *conn) error { return insertDecisions(c, rows) })
}

// Decisions implements [dps.DecisionStore].
func (s dpsStore) Decisions(ctx context.Context, service string, q dps.DecisionQuery) ([]dps.Decision, error) {
	where, args := "service = ?", []any{service}
	if q.Registration != "" {
		where, args = where+" AND registration = ?", append(args, strings.ToLower(q.Registration))
	}
	order := "DESC"
	if q.Ascending {
		where, args, order = where+" AND seq > ?", append(args, q.After), "ASC"
	} else if q.Before > 0 {
		where, args = where+" AND seq < ?", append(args, q.Before)
	}
	if !q.Since.IsZero() {
		where, args = where+" AND at >= ?", append(args, q.Since.UnixMicro())
	}
	return read(ctx, s.db, "Decisions", func(c *conn) ([]dps.Decision, error) {
		return some(c, q.Limit, "SELECT seq, at, CAST(document AS BLOB) FROM dps_decisions WHERE "+where+" ORDER BY seq "+order, func(r row) (dps.Decision, error) {
			d, err := readDecision(r.blob(2))
			d.Seq, d.At = r.int(0), time.UnixMicro(r.int(1)).UTC()
			if err != nil {
				err = fmt.Errorf("decision %d of %s: %w", d.Seq, service, err)
			}
			return d, err
		}, args...)
	})
}

func readDecision(text []byte) (dps.Decision, error) {
	var d dpsDecisionDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return dps.Decision{}, fmt.Errorf("document of a decision: %w", err)
	}
	v := dps.Decision{
		Registration: d.ID, Operation: d.Operation, Enrollment: d.Enrollment, Group: d.Group, Kind: d.Kind, Transport: d.Transport, Remote: d.Remote,
		Client: d.Client, Outcome: d.Outcome, Hub: d.Hub, From: d.From, DeviceID: d.DeviceID, Substatus: d.Substatus, Code: d.Code, Message: d.Message,
		Why: dps.Why{Policy: d.Policy, Reason: d.Reason, Region: d.Region, Webhook: d.Webhook}, Took: d.Took, Skipped: d.Skipped,
	}
	for _, c := range d.Candidates {
		v.Why.Candidates = append(v.Why.Candidates, dps.Candidate(c))
	}
	return v, nil
}

// PruneDecisions implements [dps.DecisionStore].
func (s dpsStore) PruneDecisions(ctx context.Context, service string, before time.Time, keep, limit int) (int, error) {
	// The first that may stay is looked for by a reader: that takes a while.
	first, err := read(ctx, s.db, "PruneDecisions", func(c *conn) (int64, error) {
		byNumber, _, err := c.number("SELECT seq FROM dps_decisions WHERE service = ? ORDER BY seq DESC LIMIT 1 OFFSET ?", service, int64(keep-1))
		if err != nil {
			return 0, err
		}
		byAge, _, err := c.number("SELECT coalesce(max(seq), 0) + 1 FROM (SELECT seq, at FROM dps_decisions WHERE service = ? ORDER BY seq LIMIT ?) WHERE at < ?", service, int64(limit), before.UnixMicro())
		return max(byNumber, byAge), err
	})
	if err != nil || first <= 1 {
		return 0, err
	}
	return write(ctx, s.db, "PruneDecisions", 0, func(c *conn) (int, error) {
		n, err := c.exec("DELETE FROM dps_decisions WHERE seq IN (SELECT seq FROM dps_decisions WHERE service = ? AND seq < ? ORDER BY seq LIMIT ?)", service, first, int64(limit))
		return int(n), err
	})
}
