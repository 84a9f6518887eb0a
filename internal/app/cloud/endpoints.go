package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/endpoint"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/core/durable"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/head/admin"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// queueSegment is the size of the files of queues: their space comes back one by
// one.
const queueSegment = 8 << 20

// custom finds the custom endpoints of a hub for its routes.
type custom struct{ *endpoint.Set }

var _ routing.Endpoints = custom{}

// Endpoint returns an endpoint of the hub.
func (c custom) Endpoint(_, name string) (routing.Endpoint, bool) { return c.Set.Endpoint(name) }

// openEndpoints makes the custom endpoints of a hub.
func (h *hubs) openEndpoints(d directory.Hub, r *running) (*endpoint.Set, error) {
	if err := h.sweepEndpoints(d); err != nil {
		return nil, err
	}
	metrics, log := obs.NewDelivery(r.metrics, d.Name), h.log
	dir := func(name string) string { return filepath.Join(h.dir, d.Name, EndpointsDir, name) }
	// Logs of endpoints have no metrics of their own: there may be many.
	set := endpoint.New(endpoint.Options{
		Hub: d.Name, Sinks: h.sinks, Metrics: metrics, Log: log,
		Env: func(name string) plugin.Env {
			return plugin.Env{
				Hub: d.Name, Endpoint: name, Host: d.Hosts[0], Dial: plugin.Dialer{PublicOnly: !h.custom.Private}.DialContext,
				Container: func(name string) (plugin.Container, error) { return container{r.blobs, name}, nil },
				Log:       log.With(obs.KeyHub, d.Name, obs.KeyEndpoint, name),
			}
		},
		Queue: func(name string) (delivery.Log, error) {
			if err := h.claim(dir(name), queueLog); err != nil {
				return nil, err
			}
			return h.openLog(dir(name), d.Partitions, seglog.Options{SegmentBytes: queueSegment})
		},
		EventHub: func(name string, c endpoint.EventHubConfig) (endpoint.EventLog, error) {
			n := c.Partitions
			if n == 0 {
				n = d.Partitions
			}
			if err := h.claim(dir(name), eventsLog); err != nil {
				return nil, err
			}
			l, err := h.openLog(dir(name), n, seglog.Options{
				SegmentBytes: int64(h.events.SegmentBytes), RetentionTime: time.Duration(c.Retention), RetentionBytes: c.RetentionBytes,
			})
			if err != nil {
				return nil, err
			}
			return eventHubLog{l}, nil
		},
		Remove: func(name string) error { return durable.Discard(dir(name)) },
		DeadLetters: func() (delivery.Log, error) {
			return h.openLog(filepath.Join(h.dir, d.Name, DeadLettersDir), 1, seglog.Options{
				RetentionTime: time.Duration(h.custom.DeadLetters), RetentionBytes: int64(h.custom.DeadLetterBytes),
			})
		},
	})
	set.Apply(h.ctx, d.Settings.Routing)
	return set, nil
}

// openLog opens a log, or makes one with so many partitions.
func (h *hubs) openLog(dir string, partitions int, o seglog.Options) (*seglog.Log, error) {
	if !state.Exists(filepath.Join(dir, seglog.MetaFile)) {
		o.Partitions = partitions
	}
	o.Log = h.log
	return seglog.Open(dir, o)
}

// eventHubLog is the log of an event hub.
type eventHubLog struct{ *seglog.Log }

// Configure changes how long messages are kept.
func (l eventHubLog) Configure(c endpoint.EventHubConfig) {
	l.SetRetention(time.Duration(c.Retention), c.RetentionBytes)
}

// eventHub finds the log of an event hub: that of the hub's events, or one of a
// custom endpoint.
func (h *hubs) eventHub(hub, entity string) (eventlog.Log, bool) {
	h.mu.Lock()
	r := h.running[hub]
	h.mu.Unlock()
	if r == nil {
		return nil, false
	}
	return r.endpoints.EventHub(entity)
}

// adminEndpoints finds the endpoints of a hub for the administration.
func (h *hubs) adminEndpoints(hub string) (admin.Endpoints, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.running[hub]
	if r == nil {
		return nil, false
	}
	return r.endpoints, true
}

// container is a container of the hub's blobs that is made when it is first
// written to.
type container struct {
	store blob.Store
	name  string
}

// ofMetadata is the metadata of a blob that says what an endpoint made it of.
const ofMetadata = "chunk"

// Put makes a blob, or replaces one of the same. Whatever else has the name stays:
// the file of another endpoint, or of one that had the name of this one before.
func (c container) Put(ctx context.Context, name, contentType, of string, body io.Reader) error {
	o := blob.Options{
		Properties: blob.Properties{ContentType: contentType, Metadata: map[string]string{ofMetadata: of}},
		Check: func(now *blob.Attrs) error {
			if now != nil && now.Metadata[ofMetadata] != of {
				return fmt.Errorf("blob %q: %w", name, plugin.ErrTaken)
			}
			return nil
		},
	}
	if _, err := c.store.Stat(ctx, c.name); errors.Is(err, blob.ErrNoContainer) {
		if err := c.store.Create(ctx, c.name); err != nil && !errors.Is(err, blob.ErrExists) {
			return err
		}
	}
	_, err := c.store.Container(c.name).Put(ctx, name, body, o)
	return err
}
