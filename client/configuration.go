package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/causeway-iot/causeway"
)

// Configuration says which desired properties the devices or modules under a
// condition have, or which modules edge devices run.
type Configuration struct {
	ID              string               `json:"id"`
	SchemaVersion   string               `json:"schemaVersion,omitempty"`
	Labels          map[string]string    `json:"labels,omitempty"`
	Content         ConfigurationContent `json:"content,omitzero"`
	ContentType     string               `json:"contentType,omitempty"`
	TargetCondition string               `json:"targetCondition"` // "" targets nothing, "*" all devices
	Created         Time                 `json:"createdTimeUtc,omitzero"`
	Updated         Time                 `json:"lastUpdatedTimeUtc,omitzero"`
	Priority        int                  `json:"priority"` // the greater wins
	SystemMetrics   *Metrics             `json:"systemMetrics,omitempty"`
	Metrics         *Metrics             `json:"metrics,omitempty"`
	ETag            string               `json:"etag,omitempty"`
	Problem         string               `json:"problem,omitempty"` // why it targets nothing new; only ever received
}

// ConfigurationContent is what a [Configuration] sets: one of the members. Keys
// of the first two are paths, such as "properties.desired.interval"; Modules has
// such paths by module, and "properties.desired" for all at once.
type ConfigurationContent struct {
	Device  map[string]json.RawMessage            `json:"deviceContent,omitempty"`
	Module  map[string]json.RawMessage            `json:"moduleContent,omitempty"`
	Modules map[string]map[string]json.RawMessage `json:"modulesContent,omitempty"`
}

// Metrics are queries and how many rows each has.
type Metrics struct {
	Results map[string]int    `json:"results,omitempty"`
	Queries map[string]string `json:"queries,omitempty"`
}

func configurationPath(id string) string { return "/configurations/" + url.PathEscape(id) }

// Configurations lists up to top configurations in the order of their ids; 0
// means all. Results of metrics may be some minutes old.
func (s *Service) Configurations(ctx context.Context, top int) ([]Configuration, error) {
	q := request{method: http.MethodGet, path: "/configurations", op: "list configurations", query: url.Values{"api-version": {apiVersion}}}
	if top > 0 {
		q.query.Set("top", strconv.Itoa(top))
	}
	var list []Configuration
	_, err := s.rest.do(ctx, q, &list)
	return list, err
}

// Configuration returns a configuration with the results of its metrics. Code:
// ConfigurationNotFound.
func (s *Service) Configuration(ctx context.Context, id string) (Configuration, error) {
	var c Configuration
	_, err := s.call(ctx, "get configuration", http.MethodGet, configurationPath(id), "", nil, &c)
	return c, err
}

// CreateConfiguration creates a configuration and returns it; twins follow.
// Codes: ConfigurationAlreadyExists, InvalidConfigurationContent (the message
// says where), InvalidConfigurationTargetCondition,
// InvalidConfigurationCustomMetricsQuery, ConfigurationCountLimitExceeded.
func (s *Service) CreateConfiguration(ctx context.Context, c Configuration) (Configuration, error) {
	var out Configuration
	_, err := s.call(ctx, "create configuration", http.MethodPut, configurationPath(c.ID), "", c, &out)
	return out, err
}

// UpdateConfiguration replaces the target condition, the priority, the labels
// and the metrics of a configuration if its etag still is match. Its content
// cannot be changed, unless it is what its Problem is about. Codes:
// ConfigurationNotFound, PreconditionFailed, and those of CreateConfiguration.
func (s *Service) UpdateConfiguration(ctx context.Context, c Configuration, match string) (Configuration, error) {
	var out Configuration
	_, err := s.call(ctx, "update configuration", http.MethodPut, configurationPath(c.ID), orAny(match), c, &out)
	return out, err
}

// DeleteConfiguration removes a configuration; what it set is taken from twins
// afterwards. Codes: ConfigurationNotFound, PreconditionFailed.
func (s *Service) DeleteConfiguration(ctx context.Context, id, match string) error {
	_, err := s.call(ctx, "delete configuration", http.MethodDelete, configurationPath(id), orAny(match), nil, nil)
	return err
}

// ConfigurationErrors is what is wrong with a target condition, "" for nothing,
// and with queries of metrics, by their names.
type ConfigurationErrors struct {
	Condition string            `json:"targetConditionError"`
	Queries   map[string]string `json:"customMetricQueryErrors"`
}

// TestConfiguration says what is wrong with a target condition and with queries
// of metrics, without making anything of them.
func (s *Service) TestConfiguration(ctx context.Context, condition string, metrics map[string]string) (ConfigurationErrors, error) {
	var out ConfigurationErrors
	body := map[string]any{"targetCondition": condition, "customMetricQueries": metrics}
	_, err := s.call(ctx, "test configuration", http.MethodPost, "/configurations/testQueries", "", body, &out)
	return out, err
}

// ApplyConfiguration brings a content to one device, at once and once. Codes:
// DeviceNotFound, InvalidConfigurationContent, ArgumentInvalid,
// TooManyModulesOnDevice, ApplyConfigurationAlreadyInProgressOnDevice.
func (s *Service) ApplyConfiguration(ctx context.Context, device string, c ConfigurationContent) error {
	path := devicePath("/devices/", causeway.Identity{Device: device}) + "/applyConfigurationContent"
	_, err := s.call(ctx, "apply configuration", http.MethodPost, path, "", c, nil)
	return err
}
