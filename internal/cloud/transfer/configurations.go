package transfer

import (
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Deployments is what [Deployed] asks of deploy.Service; see there.
type Deployments interface {
	List(hub string, top int) []deploy.Configuration
	Put(ctx context.Context, hub string, c deploy.Configuration, match string) (deploy.Configuration, error)
	Delete(ctx context.Context, hub, id, match string) error
}

// Deployed is the configurations of hubs as files have them.
type Deployed struct{ Deployments Deployments }

var _ Configurations = Deployed{}

// configurationLine is a configuration in a file. Members that the hub decides,
// such as results of metrics, are not in it, and ignored when they are.
type configurationLine struct {
	ID              string            `json:"id"`
	SchemaVersion   string            `json:"schemaVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Content         json.RawMessage   `json:"content,omitempty"`
	ContentType     string            `json:"contentType,omitempty"`
	TargetCondition string            `json:"targetCondition"`
	Priority        int               `json:"priority"`
	Metrics         *metricsLine      `json:"metrics,omitempty"`
	ETag            string            `json:"etag,omitempty"`
	ImportMode      string            `json:"importMode,omitempty"`
}

type metricsLine struct {
	Queries map[string]string `json:"queries"`
}

// Export implements [Configurations].
func (d Deployed) Export(_ context.Context, hub string, f func(line []byte) error) error {
	for _, c := range d.Deployments.List(hub, 0) {
		line := configurationLine{
			ID: c.ID, SchemaVersion: c.SchemaVersion, Labels: c.Labels, Content: c.Content, ContentType: deploy.ContentType,
			TargetCondition: c.TargetCondition, Priority: c.Priority, ETag: c.ETag,
		}
		if len(c.Metrics) > 0 {
			line.Metrics = &metricsLine{c.Metrics}
		}
		b, err := hubjson.Marshal(line)
		if err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

// Import implements [Configurations]. Modes are those of identities but for
// twins; without one a configuration is created, or updated when it is there.
func (d Deployed) Import(ctx context.Context, hub string, text []byte) error {
	const op = "transfer.Import"
	if !utf8.Valid(text) {
		return causeway.Errorf(causeway.DeserializationError, op, "the line is not UTF-8")
	}
	var in configurationLine
	if err := json.Unmarshal(text, &in); err != nil {
		return &causeway.Error{Code: causeway.DeserializationError, Op: op, Msg: "the line is not a configuration in JSON", Err: err}
	}
	if in.ContentType != "" && in.ContentType != deploy.ContentType {
		return invalid(op, "contentType is %.40q, it must be %q", in.ContentType, deploy.ContentType)
	}
	c := deploy.Configuration{
		ID: in.ID, SchemaVersion: in.SchemaVersion, Labels: in.Labels, Content: in.Content, TargetCondition: in.TargetCondition, Priority: in.Priority,
	}
	if in.Metrics != nil {
		c.Metrics = in.Metrics.Queries
	}
	var err error
	switch strings.ToLower(in.ImportMode) {
	case "", "createorupdate", "createorupdateifmatchetag":
		if _, err = d.Deployments.Put(ctx, hub, c, ""); causeway.CodeOf(err) == causeway.ConfigurationAlreadyExists {
			match := "*"
			if strings.EqualFold(in.ImportMode, "createOrUpdateIfMatchETag") && in.ETag != "" {
				match = in.ETag
			}
			_, err = d.Deployments.Put(ctx, hub, c, match)
		}
	case "create":
		_, err = d.Deployments.Put(ctx, hub, c, "")
	case "update":
		_, err = d.Deployments.Put(ctx, hub, c, "*")
	case "updateifmatchetag":
		_, err = d.Deployments.Put(ctx, hub, c, in.ETag)
	case "delete":
		err = d.Deployments.Delete(ctx, hub, in.ID, "*")
	case "deleteifmatchetag":
		err = d.Deployments.Delete(ctx, hub, in.ID, in.ETag)
	default:
		err = invalid(op, "importMode is %.40q, it must be create, update, createOrUpdate or delete, or one of these with IfMatchETag", in.ImportMode)
	}
	return err
}
