package deploy

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// Metrics are the figures of a configuration, and the queries they come from.
type Metrics struct {
	SystemQueries, CustomQueries map[string]string
	System, Custom               map[string]int
}

// Names of the system metrics.
const (
	targetedCount           = "targetedCount"
	appliedCount            = "appliedCount"
	reportedSuccessfulCount = "reportedSuccessfulCount"
	reportedFailedCount     = "reportedFailedCount"
)

// systemQueries returns the queries of the system metrics. Tools send them as
// they are.
func systemQueries(c *compiled) map[string]string {
	condition := strings.TrimSpace(c.TargetCondition)
	switch c.kind {
	case Module:
		return map[string]string{
			targetedCount: "select deviceId, moduleId " + fromModules(condition),
			appliedCount:  "select deviceId, moduleId from devices.modules where configurations.[[" + c.ID + "]].status = 'Applied'",
		}
	case Edge:
		applied := "select deviceId from devices.modules where moduleId = '$edgeAgent' and configurations.[[" + c.ID + "]].status = 'Applied'"
		targeted := "select deviceId from devices where capabilities.iotEdge = true"
		if condition == "" {
			targeted += " and false"
		} else if condition != "*" {
			targeted += " and " + enclose(condition)
		}
		return map[string]string{
			targetedCount:           targeted,
			appliedCount:            applied,
			reportedSuccessfulCount: applied + " and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code = 200",
			reportedFailedCount:     applied + " and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code != 200",
		}
	}
	targeted := "select deviceId from devices"
	if condition == "" {
		targeted += " where false"
	} else if condition != "*" {
		targeted += " where " + condition
	}
	return map[string]string{
		targetedCount: targeted,
		appliedCount:  "select deviceId from devices where configurations.[[" + c.ID + "]].status = 'Applied'",
	}
}

// fromModules is the part of a query behind its projection.
func fromModules(condition string) string {
	switch condition {
	case "":
		return "from devices.modules where false"
	case "*":
		return "from devices.modules"
	}
	return condition
}

var or = regexp.MustCompile(`(?i)\bor\b`)

// enclose puts a condition that AND would take apart into parentheses.
func enclose(condition string) string {
	if or.MatchString(condition) {
		return "(" + condition + ")"
	}
	return condition
}

// results are the last figures of configurations.
type results struct {
	query Query

	mu    sync.Mutex
	last  map[[2]string]*figures // by hub and configuration
	busy  map[[2]string]bool
	asked map[[2]string]time.Time // when somebody looked last
}

type figures struct {
	etag           string
	at             time.Time // zero when they are known to be old
	system, custom map[string]int
}

func (r *results) init(q Query) {
	r.query, r.last, r.busy, r.asked = q, map[[2]string]*figures{}, map[[2]string]bool{}, map[[2]string]time.Time{}
}

// stale says that the figures of a configuration have changed.
func (r *results) stale(hub, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.last[[2]string{hub, id}]; f != nil {
		f.at = time.Time{}
	}
}

func (r *results) drop(hub, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, [2]string{hub, id})
	delete(r.asked, [2]string{hub, id})
}

func (r *results) forget(hub string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ofHub := func(k [2]string) bool { return k[0] == hub }
	maps.DeleteFunc(r.last, func(k [2]string, _ *figures) bool { return ofHub(k) })
	maps.DeleteFunc(r.asked, func(k [2]string, _ time.Time) bool { return ofHub(k) })
}

// want takes note that somebody looks at a configuration.
func (r *results) want(hub, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[[2]string{hub, id}] = time.Now()
}

// wanted reports whether somebody has looked at a configuration lately.
func (r *results) wanted(hub, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.asked[[2]string{hub, id}]
	return ok && time.Since(at) <= metricsWanted
}

// get returns the last figures, nil when there are none, and whether they are
// older than age.
func (r *results) get(hub string, c *compiled, age time.Duration) (*figures, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.last[[2]string{hub, c.ID}]
	if f == nil || f.etag != c.ETag {
		return nil, true
	}
	return &figures{etag: f.etag, at: f.at, system: f.system, custom: f.custom}, time.Since(f.at) > age
}

// count counts the figures of a configuration anew, unless somebody does.
func (r *results) count(ctx context.Context, hub string, c *compiled) error {
	key := [2]string{hub, c.ID}
	r.mu.Lock()
	if r.busy[key] {
		r.mu.Unlock()
		return nil
	}
	r.busy[key] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.busy, key)
		r.mu.Unlock()
	}()
	next := &figures{etag: c.ETag, at: time.Now(), system: map[string]int{}, custom: map[string]int{}}
	for _, x := range []struct {
		queries map[string]string
		into    map[string]int
	}{{systemQueries(c), next.system}, {c.Metrics, next.custom}} {
		for _, name := range sortedNames(x.queries) {
			n, err := r.query.Count(ctx, hub, x.queries[name])
			if c.broken != nil && causeway.CodeOf(err) == causeway.ArgumentInvalid {
				n, err = 0, nil // the others are figures all the same
			}
			if err != nil {
				return err
			}
			x.into[name] = n
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[key] = next
	return nil
}

// Metrics returns the figures of a configuration. With fresh they are not older
// than some seconds, unless counting them takes too long; else they may be some
// minutes old. Code: ConfigurationNotFound.
func (s *Service) Metrics(ctx context.Context, hub, id string, fresh bool) (Metrics, error) {
	var c *compiled
	if f := s.fleet(hub); f != nil {
		c = f.book.Load().byID[id]
	}
	if c == nil {
		return Metrics{}, missing("deploy.Metrics", id)
	}
	s.results.want(hub, id)
	now, old := s.results.get(hub, c, metricsFresh)
	if fresh && old {
		within, cancel := context.WithTimeout(ctx, metricsWait)
		err := s.results.count(within, hub, c)
		cancel()
		if err != nil {
			s.log.Debug("the metrics of a configuration were not counted", "configuration", id, "error", err)
		}
		now, _ = s.results.get(hub, c, metricsFresh)
	}
	m := Metrics{SystemQueries: systemQueries(c), CustomQueries: c.Configuration.Metrics, System: map[string]int{}, Custom: map[string]int{}}
	for name := range m.SystemQueries {
		m.System[name] = 0
	}
	for name := range m.CustomQueries {
		m.Custom[name] = 0
	}
	if now != nil {
		m.System, m.Custom = now.system, now.custom
	}
	return m, nil
}

// runResults counts old figures that somebody looks at anew until ctx ends, one
// after the other: each may be a look at all devices.
func (s *Service) runResults(ctx context.Context) {
	tick := time.NewTicker(metricsAge)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for hub, f := range *s.fleets.Load() {
			for _, c := range f.book.Load().all {
				if _, old := s.results.get(hub, c, metricsAge); !old || !s.results.wanted(hub, c.ID) {
					continue
				}
				if err := s.results.count(ctx, hub, c); err != nil && ctx.Err() == nil {
					s.log.Debug("the metrics of a configuration were not counted", "configuration", c.ID, "error", err)
				}
			}
		}
	}
}
