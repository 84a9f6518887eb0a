package iothub

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// Configurations is what this head asks of deploy.Service; see there.
type Configurations interface {
	Get(hub, id string) (deploy.Configuration, error)
	List(hub string, top int) []deploy.Configuration
	Put(ctx context.Context, hub string, c deploy.Configuration, match string) (deploy.Configuration, error)
	Delete(ctx context.Context, hub, id, match string) error
	Metrics(ctx context.Context, hub, id string, fresh bool) (deploy.Metrics, error)
	ApplyContent(ctx context.Context, device causeway.Identity, content []byte) error
}

// Bounds of requests about configurations.
const (
	maxConfigurations = 200 // in a list
	maxTestQueries    = 100 // in one test
)

// configurationBody is a configuration as it is sent here. What is not named is
// ignored, so that one that was read can be sent back.
type configurationBody struct {
	ID              *string           `json:"id"`
	SchemaVersion   *string           `json:"schemaVersion"`
	Labels          map[string]string `json:"labels"`
	Content         json.RawMessage   `json:"content"`
	ContentType     *string           `json:"contentType"`
	TargetCondition *string           `json:"targetCondition"`
	Priority        int               `json:"priority"`
	Metrics         *struct {
		Queries map[string]string `json:"queries"`
	} `json:"metrics"`
}

// configurationView is a configuration as clients see it.
type configurationView struct {
	ID              string            `json:"id"`
	SchemaVersion   string            `json:"schemaVersion"`
	Labels          map[string]string `json:"labels"`
	Content         json.RawMessage   `json:"content"`
	ContentType     string            `json:"contentType"`
	TargetCondition string            `json:"targetCondition"`
	Created         string            `json:"createdTimeUtc"`
	Updated         string            `json:"lastUpdatedTimeUtc"`
	Priority        int               `json:"priority"`
	SystemMetrics   metricsView       `json:"systemMetrics"`
	Metrics         metricsView       `json:"metrics"`
	ETag            string            `json:"etag"`
	Problem         string            `json:"problem,omitempty"` // own: why it targets nothing new
}

type metricsView struct {
	Results map[string]int    `json:"results"`
	Queries map[string]string `json:"queries"`
}

func (h *handler) listConfigurations(c *call) (reply, error) {
	top := maxConfigurations
	if v := c.r.URL.Query().Get("top"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return reply{}, causeway.Errorf(causeway.ArgumentInvalid, "iothub.list", "the query parameter top is %q, it must be a number from 1", clip(v))
		}
		top = min(top, n)
	}
	list := h.configurations.List(c.hub.Name(), top)
	views := make([]configurationView, 0, len(list))
	for i := range list {
		view, err := h.configurationView(c, &list[i], false)
		if causeway.CodeOf(err) == causeway.ConfigurationNotFound {
			continue // deleted this moment
		}
		if err != nil {
			return reply{}, err
		}
		views = append(views, view)
	}
	return reply{status: http.StatusOK}.json(views)
}

func (h *handler) getConfiguration(c *call) (reply, error) {
	conf, err := h.configurations.Get(c.hub.Name(), c.params.configuration)
	if err != nil {
		return reply{}, err
	}
	return h.configurationReply(c, &conf, http.StatusOK)
}

// putConfiguration creates without If-Match and updates with it.
func (h *handler) putConfiguration(c *call) (reply, error) {
	const op = "iothub.putConfiguration"
	var body configurationBody
	if err := readJSON(c, causeway.MaxRequestBody, &body); err != nil {
		return reply{}, err
	}
	id := c.params.configuration
	if body.ID != nil && *body.ID != id {
		return reply{}, causeway.Errorf(causeway.ArgumentInvalid, op, "id is %q in the body and %q in the path", clip(*body.ID), clip(id))
	}
	if t := text(body.ContentType); t != "" && t != deploy.ContentType {
		return reply{}, causeway.Errorf(causeway.ArgumentInvalid, op, "contentType is %q, it must be %q", clip(t), deploy.ContentType)
	}
	conf := deploy.Configuration{
		ID: id, SchemaVersion: text(body.SchemaVersion), Labels: body.Labels, Content: body.Content,
		TargetCondition: text(body.TargetCondition), Priority: body.Priority,
	}
	if isNull(conf.Content) {
		conf.Content = nil
	}
	if body.Metrics != nil {
		conf.Metrics = body.Metrics.Queries
	}
	match, status, what := ifMatch(c.r.Header), http.StatusOK, "configuration updated"
	if match == "" {
		status, what = http.StatusCreated, "configuration created"
	}
	conf, err := h.configurations.Put(c.r.Context(), c.hub.Name(), conf, match)
	if err != nil {
		return reply{}, err
	}
	h.auditConfiguration(c, what)
	return h.configurationReply(c, &conf, status)
}

func (h *handler) deleteConfiguration(c *call) (reply, error) {
	if err := h.configurations.Delete(c.r.Context(), c.hub.Name(), c.params.configuration, ifMatch(c.r.Header)); err != nil {
		return reply{}, err
	}
	h.auditConfiguration(c, "configuration deleted")
	return reply{status: http.StatusNoContent}, nil
}

// testConfiguration says what is wrong with a target condition and with queries
// of metrics. That something is, is no error.
func (h *handler) testConfiguration(c *call) (reply, error) {
	var body struct {
		TargetCondition *string            `json:"targetCondition"`
		Queries         map[string]*string `json:"customMetricQueries"`
	}
	if err := readJSON(c, causeway.MaxRequestBody, &body); err != nil {
		return reply{}, err
	}
	if len(body.Queries) > maxTestQueries {
		return reply{}, causeway.Errorf(causeway.ArgumentInvalid, "iothub.testQueries", "customMetricQueries has %d queries, at most %d are allowed", len(body.Queries), maxTestQueries)
	}
	queries := make(map[string]string, len(body.Queries))
	for name, q := range body.Queries {
		queries[name] = text(q)
	}
	wrong, errors := deploy.Test(text(body.TargetCondition), queries)
	var out struct {
		Condition *string           `json:"targetConditionError"`
		Queries   map[string]string `json:"customMetricQueryErrors"`
	}
	if out.Queries = errors; wrong != "" {
		out.Condition = &wrong
	}
	return reply{status: http.StatusOK}.json(out)
}

func (h *handler) applyContent(c *call) (reply, error) {
	body, err := readBody(c, causeway.MaxRequestBody, causeway.GenericRequestEntityTooLarge)
	if err != nil {
		return reply{}, err
	}
	var content json.RawMessage
	if err := parseJSON(body, &content); err != nil {
		return reply{}, err
	}
	if err := h.configurations.ApplyContent(c.r.Context(), c.id, content); err != nil {
		return reply{}, err
	}
	h.audit(c, "configuration content applied")
	return reply{status: http.StatusNoContent}, nil
}

func (h *handler) configurationReply(c *call, conf *deploy.Configuration, status int) (reply, error) {
	view, err := h.configurationView(c, conf, status == http.StatusOK)
	if err != nil {
		return reply{}, err
	}
	return reply{status: status, etag: conf.ETag}.json(view)
}

// configurationView renders a configuration. With fresh its metrics are counted.
func (h *handler) configurationView(c *call, conf *deploy.Configuration, fresh bool) (configurationView, error) {
	m, err := h.configurations.Metrics(c.r.Context(), c.hub.Name(), conf.ID, fresh)
	if err != nil {
		return configurationView{}, err
	}
	return configurationView{
		ID: conf.ID, SchemaVersion: conf.SchemaVersion, Labels: orEmpty(conf.Labels), Content: conf.Content, ContentType: deploy.ContentType,
		TargetCondition: conf.TargetCondition, Created: hubhttp.Time(conf.Created), Updated: hubhttp.Time(conf.Updated), Priority: conf.Priority,
		SystemMetrics: metricsView{orEmpty(m.System), orEmpty(m.SystemQueries)}, Metrics: metricsView{orEmpty(m.Custom), orEmpty(m.CustomQueries)},
		ETag: conf.ETag, Problem: conf.Problem,
	}, nil
}

// orEmpty returns a map that is {} in JSON, never null.
func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// auditConfiguration records a change of a configuration.
func (h *handler) auditConfiguration(c *call, what string) {
	h.log.Info(what, obs.KeyHub, c.hub.Name(), "configuration", c.params.configuration, "by", c.who, obs.KeyRequest, c.request, obs.KeyRemote, c.r.RemoteAddr)
}
