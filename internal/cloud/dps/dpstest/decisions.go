package dpstest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// PutDecisions implements [dps.DecisionStore].
func (m *Memory) PutDecisions(_ context.Context, service string, d ...dps.Decision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decide(service, d)
	return nil
}

// decide appends decisions; the mutex is held.
func (m *Memory) decide(service string, list []dps.Decision) {
	k := m.service(service)
	for _, d := range list {
		m.decided++
		d = clone(d)
		d.Seq = m.decided
		k.decisions = append(k.decisions, d)
	}
}

// Decisions implements [dps.DecisionStore].
func (m *Memory) Decisions(_ context.Context, service string, q dps.DecisionQuery) (list []dps.Decision, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Clone(m.service(service).decisions)
	if !q.Ascending {
		slices.Reverse(all)
	}
	for _, d := range all {
		switch {
		case q.Registration != "" && !strings.EqualFold(d.Registration, q.Registration), d.At.Before(q.Since),
			q.Ascending && d.Seq <= q.After, !q.Ascending && q.Before > 0 && d.Seq >= q.Before, len(list) == q.Limit:
		default:
			list = append(list, clone(d))
		}
	}
	return list, nil
}

// PruneDecisions implements [dps.DecisionStore].
func (m *Memory) PruneDecisions(_ context.Context, service string, before time.Time, keep, limit int) (n int, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.service(service)
	for n < limit && n < len(k.decisions) && (len(k.decisions)-n > keep || k.decisions[n].At.Before(before)) {
		n++
	}
	k.decisions = k.decisions[n:]
	return n, nil
}

func decisionOf(id string, at int) dps.Decision {
	return dps.Decision{
		At: stamp(at), Registration: id, Operation: "5.x", Enrollment: "g", Group: true, Kind: dps.X509, Transport: "mqtt", Remote: "10.0.0.1:7", Client: "c",
		Outcome: dps.Assigned, Hub: "h1", From: "h0", DeviceID: "d", Substatus: dps.DataMigrated, Code: 7, Message: "m", Took: time.Second, Skipped: 3,
		Why: dps.Why{Policy: dps.GeoLatency, Reason: "r", Region: "eu", Webhook: 200, Candidates: []dps.Candidate{{Host: "h1", Weight: 2, Region: "eu", Latency: -1, Unhealthy: true}, {Host: "h2"}}},
	}
}

// decisions keeps what was decided, in order, and forgets the oldest.
func decisions(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	ok(t, s.PutInstance(ctx, instance("other")))
	ok(t, s.PutDecisions(ctx, "s", decisionOf("A", 0), decisionOf("b", 1)))
	ok(t, s.PutDecisions(ctx, "other", decisionOf("a", 0)))
	r := registration("A", "g")
	ok(t, s.PutRegistration(ctx, "s", r, "", decisionOf("a", 2)))
	r.ETag = "2"
	code(t, "a registration that has changed", s.PutRegistration(ctx, "s", r, "stale", decisionOf("a", 3)), dps.CodePrecondition)
	for n := range 3 {
		ok(t, s.PutDecisions(ctx, "s", decisionOf("c", 10+n)))
	}
	s = open(t)

	get := func(q dps.DecisionQuery) (list []dps.Decision, ids string) {
		t.Helper()
		if q.Limit == 0 {
			q.Limit = dps.MaxPage
		}
		list, err := s.Decisions(ctx, "s", q)
		ok(t, err)
		for _, d := range list {
			ids += d.Registration
		}
		return list, ids
	}
	all, ids := get(dps.DecisionQuery{Ascending: true})
	if ids != "Abaccc" {
		t.Fatalf("decisions %s", ids)
	}
	for k := range all[1:] {
		if all[k].Seq >= all[k+1].Seq {
			t.Errorf("position %d comes before %d", all[k].Seq, all[k+1].Seq)
		}
	}
	want := decisionOf("A", 0)
	want.Seq = all[0].Seq
	same(t, "decision", all[0], want)
	for want, q := range map[string]dps.DecisionQuery{
		"cccabA": {}, "aA": {Registration: "a"}, "Aa": {Registration: "A", Ascending: true}, "ccca": {Since: stamp(2)}, "accc": {Since: stamp(2), Ascending: true},
		"cc": {Limit: 2}, "ab": {Before: all[3].Seq, Limit: 2}, "cc ": {}, "c": {Ascending: true, After: all[4].Seq}, "": {Registration: "z"},
	} {
		if want == "cc " { // from one on
			want, q = "cc", dps.DecisionQuery{Ascending: true, After: all[3].Seq}
		}
		if _, got := get(q); got != want {
			t.Errorf("%+v: %s, want %s", q, got, want)
		}
	}

	prune := func(before, keep, limit, want int, left string) {
		t.Helper()
		n, err := s.PruneDecisions(ctx, "s", stamp(before), keep, limit)
		if _, got := get(dps.DecisionQuery{Ascending: true}); err != nil || n != want || got != left {
			t.Errorf("prune before %d, keep %d, limit %d: %d, %v, left %s, want %d and %s", before, keep, limit, n, err, got, want, left)
		}
	}
	prune(0, 100, 10, 0, "Abaccc")
	prune(1, 100, 10, 1, "baccc")
	prune(0, 4, 10, 1, "accc")
	prune(100, 100, 2, 2, "cc")
	prune(0, 1, 10, 1, "c")
	if list, err := s.Decisions(ctx, "other", dps.DecisionQuery{Limit: 10}); err != nil || len(list) != 1 {
		t.Errorf("another service has %d, %v", len(list), err)
	}
	ok(t, s.DeleteInstance(ctx, "s"))
	if _, left := get(dps.DecisionQuery{}); left != "" {
		t.Errorf("the service was deleted, its decisions %s were not", left)
	}
}
