package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// Put creates a configuration, or with match, the etag that the caller saw or
// "*", changes the target condition, priority, labels and metrics of one, and
// the content of one whose content makes no sense any more. It returns it as it
// is then, when that is durable; twins follow.
//
// Codes: ArgumentInvalid (id, labels, priority), InvalidConfigurationContent,
// InvalidConfigurationTargetCondition, InvalidConfigurationCustomMetricsQuery,
// ConfigurationAlreadyExists (no match was given), ConfigurationNotFound (one
// was), PreconditionFailed, CannotModifyImmutableConfigurationContent,
// ConfigurationCountLimitExceeded.
func (s *Service) Put(ctx context.Context, hub string, c Configuration, match string) (Configuration, error) {
	const op = "deploy.Put"
	if err := checkID(op, c.ID); err != nil {
		return Configuration{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fleet(hub)
	if f == nil {
		f = &fleet{hub: hub, stored: map[string]*Stored{}}
		f.book.Store(newBook(nil))
	}
	var old *compiled
	if old = f.book.Load().byID[c.ID]; match == "" && old != nil {
		return Configuration{}, causeway.Errorf(causeway.ConfigurationAlreadyExists, op,
			"configuration %q exists already; send its etag, or *, in If-Match to change it", c.ID)
	}
	next := c
	next.ETag, next.Updated, next.Problem = newETag(), timestamp(), ""
	if match != "" {
		if old == nil {
			return Configuration{}, missing(op, c.ID)
		}
		if err := checkMatch(op, &old.Configuration, match); err != nil {
			return Configuration{}, err
		}
		next.Created = old.Created
		if !old.opaque { // else there is nothing to keep
			if err := sameContent(op, &old.Configuration, &next); err != nil {
				return Configuration{}, err
			}
			next.Content, next.SchemaVersion = old.Content, old.SchemaVersion
		}
	} else {
		next.Created = next.Updated
		if was := f.stored[c.ID]; was != nil && !next.Created.After(was.Updated) {
			next.Created = was.Updated.Add(time.Microsecond) // generations are told apart by it
			next.Updated = next.Created
		}
	}
	one, err := check(&next)
	if err != nil {
		return Configuration{}, err
	}
	if old == nil {
		if err := s.admit(op, f.book.Load(), one.kind); err != nil {
			return Configuration{}, err
		}
	}
	st := &Stored{Hub: hub, Configuration: one.Configuration, Pending: true}
	if err := s.o.Store.PutConfiguration(context.WithoutCancel(ctx), *st); err != nil {
		return Configuration{}, fmt.Errorf("store configuration %s of hub %s: %w", c.ID, hub, err)
	}
	f.stored[c.ID] = st
	configs := maps.Clone(f.book.Load().byID)
	configs[c.ID] = one
	s.show(f, configs)
	return one.Configuration, nil
}

// Delete removes a configuration whose etag still is match ("" or "*" for any).
// What it set is taken from the twins afterwards. Codes: ConfigurationNotFound,
// PreconditionFailed.
func (s *Service) Delete(ctx context.Context, hub, id, match string) error {
	const op = "deploy.Delete"
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fleet(hub)
	if f == nil || f.book.Load().byID[id] == nil {
		return missing(op, id)
	}
	old := f.book.Load().byID[id]
	if match != "" {
		if err := checkMatch(op, &old.Configuration, match); err != nil {
			return err
		}
	}
	st := &Stored{Hub: hub, Configuration: old.Configuration, Pending: true, Leaving: true}
	st.ETag, st.Updated = newETag(), timestamp()
	if err := s.o.Store.PutConfiguration(context.WithoutCancel(ctx), *st); err != nil {
		return fmt.Errorf("store configuration %s of hub %s: %w", id, hub, err)
	}
	f.stored[id] = st
	configs := maps.Clone(f.book.Load().byID)
	delete(configs, id)
	s.show(f, configs)
	s.results.drop(hub, id)
	return nil
}

// show lets everybody see the configurations of a hub, and starts the rollout.
// The caller holds mu.
func (s *Service) show(f *fleet, configs map[string]*compiled) {
	all := make([]*compiled, 0, len(configs))
	for _, c := range configs {
		all = append(all, c)
	}
	f.book.Store(newBook(all))
	if s.fleet(f.hub) != f {
		s.swap(f.hub, f)
	}
	signal(s.rollouts.due)
}

// admit refuses one more configuration than a hub may have.
func (s *Service) admit(op string, b *book, k Kind) error {
	have, most, what := 0, s.o.MaxConfigurations, "configurations of devices and modules"
	if k == Edge {
		most, what = s.o.MaxDeployments, "edge deployments"
	}
	for _, c := range b.all {
		if (c.kind == Edge) == (k == Edge) {
			have++
		}
	}
	if have >= most {
		return causeway.Errorf(causeway.ConfigurationCountLimitExceeded, op, "the hub has %d %s, the most it may have: delete one first", have, what)
	}
	return nil
}

func checkMatch(op string, c *Configuration, match string) error {
	if match == "*" || match == c.ETag {
		return nil
	}
	return causeway.Errorf(causeway.PreconditionFailed, op, "the etag of configuration %q is not %q, it was changed meanwhile; read it again", c.ID, match)
}

// sameContent refuses another content than a configuration has. One that sends
// none keeps what there is.
func sameContent(op string, old, c *Configuration) error {
	if len(c.Content) == 0 {
		return nil
	}
	text, err := compact(c.Content)
	if err != nil {
		return err
	}
	// By value: clients write numbers that they have read in other forms.
	var was, is any
	if err := errors.Join(json.Unmarshal(old.Content, &was), json.Unmarshal(text, &is)); err != nil {
		return badContent("content", "%v", err)
	}
	if !reflect.DeepEqual(was, is) {
		return causeway.Errorf(causeway.CannotModifyImmutableConfigurationContent, op,
			"the content of configuration %q cannot be changed; create another configuration, of a higher priority, with the new content", c.ID)
	}
	return nil
}

// check completes a configuration and reports what is wrong with it.
func check(c *Configuration) (*compiled, error) {
	const op = "deploy.Put"
	if c.SchemaVersion == "" {
		c.SchemaVersion = defaultSchemaVersion
	}
	if len(c.SchemaVersion) > MaxSchemaVersion {
		return nil, invalid(op, "schemaVersion has %d characters, at most %d are allowed", len(c.SchemaVersion), MaxSchemaVersion)
	}
	if c.Priority < 0 {
		return nil, invalid(op, "priority is %d, it must be 0 or greater", c.Priority)
	}
	if len(c.Labels) > MaxLabels {
		return nil, invalid(op, "there are %d labels, at most %d are allowed", len(c.Labels), MaxLabels)
	}
	for name, value := range c.Labels {
		if utf8.RuneCountInString(name) > MaxLabel || utf8.RuneCountInString(value) > MaxLabel {
			return nil, invalid(op, "label %.40q has more than %d characters", name, MaxLabel)
		}
	}
	text, err := compact(c.Content)
	if err != nil && len(c.Content) > 0 {
		return nil, err
	}
	if len(c.Content) > 0 {
		c.Content = text
	}
	one, err := compile(c)
	if err != nil {
		return nil, err
	}
	return one, checkMetrics(c.Metrics)
}

// checkMetrics checks the queries of custom metrics.
func checkMetrics(metrics map[string]string) error {
	const op = "deploy.Put"
	if len(metrics) > MaxMetrics {
		return causeway.Errorf(causeway.InvalidConfigurationCustomMetricsQuery, op, "there are %d metrics, at most %d are allowed", len(metrics), MaxMetrics)
	}
	for _, name := range sortedNames(metrics) {
		if err := checkMetric(name, metrics[name]); err != nil {
			return &causeway.Error{Code: causeway.InvalidConfigurationCustomMetricsQuery, Op: op, Msg: fmt.Sprintf("metric %q: %s", name, causeway.MessageOf(err)), Err: err}
		}
	}
	return nil
}

func checkMetric(name, text string) error {
	const op = "deploy.metric"
	if name == "" || utf8.RuneCountInString(name) > MaxMetricName {
		return invalid(op, "the name of a metric has 1 to %d characters", MaxMetricName)
	}
	if strings.TrimSpace(text) == "" {
		return invalid(op, "the query is empty")
	}
	if len(text) > MaxCondition {
		return invalid(op, "the query has %d characters, at most %d are allowed", len(text), MaxCondition)
	}
	q, err := hubquery.Parse(text)
	if err == nil {
		_, err = hubquery.Compile(q)
	}
	if err != nil {
		return &causeway.Error{Code: causeway.ArgumentInvalid, Op: op, Msg: err.Error(), Err: err}
	}
	return nil
}

// condition compiles a target condition for a kind of configuration; it is nil
// for an empty one, which targets nothing.
func condition(k Kind, text string) (*hubquery.Condition, error) {
	bad := func(err error, format string, args ...any) error {
		return &causeway.Error{Code: causeway.InvalidConfigurationTargetCondition, Op: "deploy.condition", Msg: fmt.Sprintf(format, args...), Err: err}
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > MaxCondition {
		return nil, bad(nil, "targetCondition has %d characters, at most %d are allowed", len(text), MaxCondition)
	}
	c, err := hubquery.ParseCondition(strings.TrimSpace(text))
	if err != nil {
		return nil, bad(err, "targetCondition: %v", err)
	}
	switch {
	case k == Module && c.Collection() != hubquery.Modules:
		return nil, bad(nil, "targetCondition: a configuration with moduleContent needs a condition on modules: FROM devices.modules WHERE …")
	case k != Module && c.Collection() != hubquery.Devices:
		return nil, bad(nil, "targetCondition: a condition on modules needs moduleContent; write a condition on devices, without FROM")
	}
	return c, nil
}

// forbidden are the characters that an id cannot have beside capitals, blank and
// what is not printable.
const forbidden = "&^[]{}\\|\"<>/"

func checkID(op, id string) error {
	if id == "" || len(id) > MaxID {
		return invalid(op, "the id of a configuration has 1 to %d characters, this has %d", MaxID, len(id))
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || strings.IndexByte(forbidden, c) >= 0 {
			return invalid(op, "the id %q of a configuration has %q at character %d: use lower-case letters, digits and characters such as - + %% _ * ! '", id, c, i+1)
		}
	}
	return nil
}

func invalid(op, format string, args ...any) error {
	return causeway.Errorf(causeway.ArgumentInvalid, op, format, args...)
}

// Test reports what is wrong with a target condition, "" for nothing, and with
// queries of metrics, by their names.
func Test(condition string, metrics map[string]string) (wrong string, queries map[string]string) {
	queries = map[string]string{}
	switch text := strings.TrimSpace(condition); {
	case text == "":
	case len(text) > MaxCondition:
		wrong = fmt.Sprintf("it has %d characters, at most %d are allowed", len(text), MaxCondition)
	default:
		if _, err := hubquery.ParseCondition(text); err != nil {
			wrong = err.Error()
		}
	}
	for _, name := range sortedNames(metrics) {
		if err := checkMetric(name, metrics[name]); err != nil {
			queries[name] = causeway.MessageOf(err)
		}
	}
	return wrong, queries
}
